//! `skala pin`: a fleet's capacity set by a person, for a time.

use super::client::Daemon;
use super::{Exit, Out, duration};
use contract::{CAPACITY_MAX, Capacity};
use skala::api::answers::{OverrideStatus, PinAsk};
use std::io::Write;
use std::time::Duration;

/// Set a fleet's capacity for a time, within its limits, pace and the brakes
#[derive(Debug, clap::Args)]
pub struct Pin {
    /// The fleet
    fleet: String,
    /// Its capacity
    #[arg(value_parser = clap::value_parser!(u32).range(0..=i64::from(CAPACITY_MAX)))]
    n: Capacity,
    /// For how long: 90s, 5m, 1h30m
    #[arg(long = "for", value_name = "D", value_parser = duration)]
    lasts: Duration,
    /// Why; shown wherever the fleet is
    #[arg(long, value_name = "T")]
    reason: String,
    /// At once: the pace does not apply
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Pin {
    /// Asks the daemon; the answer comes after it is durable.
    pub fn run(self, out: &mut Out) -> anyhow::Result<Exit> {
        let ask = PinAsk {
            fleet: self.fleet.clone(),
            n: self.n,
            for_secs: self.lasts.as_secs(),
            reason: self.reason,
            now: self.now,
        };
        let done: OverrideStatus = self.daemon.post("/v1/pin", &ask)?;
        writeln!(out, "{} {}", self.fleet, super::hold::told(&done, self.lasts))?;
        Ok(Exit::Ok)
    }
}
