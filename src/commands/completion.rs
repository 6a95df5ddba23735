//! `skala completion`: a shell's completion script.

use super::{Exit, Out};
use std::io::Write;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub struct Completion {
    /// Which shell
    shell: clap_complete::Shell,
}

impl Completion {
    /// Prints it.
    pub fn run(self, out: &mut Out) -> anyhow::Result<Exit> {
        // The generator panics when its writer fails, so it writes into memory.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::definition(), "skala", &mut script);
        out.write_all(&script)?;
        Ok(Exit::Ok)
    }
}
