//! `skala hold`: capacity is kept, for a time. `--all` needs no daemon: it is a file beside the store.

use super::client::Daemon;
use super::{Exit, Out, duration, usage};
use anyhow::Context;
use skala::api::answers::{HoldAsk, OverrideStatus, span};
use skala::clock::{Clock, SystemClock};
use skala::store::hold_all::{self, HoldAll};
use skala::store::url::StoreUrl;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Keep a fleet's capacity as it is for a time, or everything with --all, also while the daemon is down
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["fleet", "all"]))]
pub struct Hold {
    /// The fleet
    fleet: Option<String>,
    /// All fleets
    #[arg(long)]
    all: bool,
    /// For how long: 90s, 5m, 1h30m
    #[arg(long = "for", value_name = "D", value_parser = duration)]
    lasts: Duration,
    /// Why; shown wherever the fleet is
    #[arg(long, value_name = "T")]
    reason: String,
    /// Hold scale-in alone
    #[arg(long)]
    scale_in_only: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Hold {
    /// Holds; what it prints is in force and survives a restart.
    pub fn run(self, out: &mut Out) -> anyhow::Result<Exit> {
        match &self.fleet {
            Some(fleet) => self.one(fleet, out),
            None => self.all(out),
        }
    }

    fn one(&self, fleet: &str, out: &mut Out) -> anyhow::Result<Exit> {
        let ask = HoldAsk {
            fleet: fleet.into(),
            for_secs: self.lasts.as_secs(),
            reason: self.reason.clone(),
            scale_in_only: self.scale_in_only,
        };
        let done: OverrideStatus = self.daemon.post("/v1/hold", &ask)?;
        writeln!(out, "{fleet} {}", told(&done, self.lasts))?;
        Ok(Exit::Ok)
    }

    fn all(&self, out: &mut Out) -> anyhow::Result<Exit> {
        if self.lasts.is_zero() || self.reason.trim().is_empty() {
            return Err(usage("a hold needs a duration and a reason"));
        }
        let path = file(&self.daemon)?;
        let now = SystemClock::new().now();
        let hold = HoldAll {
            by: person(),
            at: now,
            until: now.after(self.lasts),
            reason: self.reason.clone(),
            scale_in_only: self.scale_in_only,
        };
        hold_all::write(&path, &hold).with_context(|| format!("cannot write {}", path.display()))?;
        let what = if self.scale_in_only { "scale-in of every fleet is held" } else { "every fleet is held" };
        writeln!(out, "{what} for {} ({}): {}", span(self.lasts), path.display(), self.reason)?;
        Ok(Exit::Ok)
    }
}

/// An override that was just taken, for people.
pub fn told(done: &OverrideStatus, lasts: Duration) -> String {
    let what = match (done.kind.as_str(), done.n) {
        ("pin", Some(n)) => format!("is pinned to {n}"),
        ("hold-scale-in", _) => "keeps what it has or more".into(),
        _ => "is held".into(),
    };
    format!("{what} for {} by {}: {}", span(lasts), done.by, done.reason)
}

/// The file that holds everything: beside the store that the configuration names.
pub fn file(daemon: &Daemon) -> anyhow::Result<PathBuf> {
    let url = daemon.store_url()?;
    match url.parse::<StoreUrl>() {
        Ok(StoreUrl::Sqlite(path)) => Ok(hold_all::path(&path)),
        Ok(StoreUrl::Memory) => Err(usage("a store in memory has no place for a hold of everything")),
        Err(error) => Err(super::invalid(format!("{}: [store] url: {error}", daemon.config.display()))),
    }
}

/// Whoever runs this command, by name.
pub fn person() -> String {
    let uid = nix::unistd::getuid();
    match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => format!("uid {uid}"),
    }
}
