//! `skala reload`: the policy files are read now, and the answer is whether they were taken. Blocking on purpose: it is
//! the unit's ExecReload.

use super::client::Daemon;
use super::{Exit, Out};
use skala::api::answers::{ReloadAsk, ReloadedAnswer};
use std::io::Write;

/// Have the daemon read its policies now; fails when they are refused and the last good ones stay in force
#[derive(Debug, clap::Args)]
pub struct Reload {
    /// Take a set that loses more than 20 % of the fleets
    #[arg(long)]
    allow_removal: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Reload {
    /// Asks the daemon.
    pub fn run(self, out: &mut Out) -> anyhow::Result<Exit> {
        let ask = ReloadAsk { allow_removal: self.allow_removal };
        let done: ReloadedAnswer = self.daemon.post("/v1/reload", &ask)?;
        let what = if done.changed { "now in force" } else { "in force already" };
        writeln!(out, "policies {} with {} fleets are {what}", done.revision, done.fleets)?;
        Ok(Exit::Ok)
    }
}
