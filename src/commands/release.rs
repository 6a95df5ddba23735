//! `skala release`: a fleet's hold or pin ends now; `--all` ends the hold of everything, also with the daemon down.

use super::client::Daemon;
use super::{Exit, Out};
use anyhow::Context;
use skala::api::answers::{ReleaseAsk, Released};
use skala::store::hold_all;
use std::io::Write;

/// End a fleet's hold or pin now, or the hold of everything with --all
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["fleet", "all"]))]
pub struct Release {
    /// The fleet
    fleet: Option<String>,
    /// The hold of everything; fleets' own holds and pins stay
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Release {
    /// Releases. That there was nothing to release is no failure, and it is said.
    pub fn run(self, out: &mut Out) -> anyhow::Result<Exit> {
        let Some(fleet) = &self.fleet else {
            let path = super::hold::file(&self.daemon)?;
            let removed = hold_all::remove(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            writeln!(out, "{}", if removed { "everything is released" } else { "nothing held everything" })?;
            return Ok(Exit::Ok);
        };
        let done: Released = self.daemon.post("/v1/release", &ReleaseAsk { fleet: fleet.clone() })?;
        match done.released {
            Some(row) => writeln!(out, "{fleet} is released from its {} by {}: {}", row.kind, row.by, row.reason)?,
            None => writeln!(out, "{fleet} had no hold or pin")?,
        }
        Ok(Exit::Ok)
    }
}
