//! `skala test`: runs the `[[test]]` tables of policy files and shows each decision that is not as expected.

use super::check::counted;
use super::{Exit, invalid};
use clap::Args;
use policies::policy::PolicySet;
use policies::policy::testing::{self, TestResult};
use policies::policy::units::duration_text;
use skala::config::{self, diagnostics};
use std::io::Write;
use std::path::PathBuf;

/// Run the [[test]] tables of the policy files below DIR
#[derive(Debug, Args)]
pub struct Test {
    /// The policy directory; skala.toml is not needed
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

impl Test {
    /// Runs the command.
    pub fn run(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        let (set, report) = config::load_policies(&self.directory, None);
        if report.has_errors() {
            return Err(invalid(format!("{}the policies are invalid; nothing was run", diagnostics::render(&report))));
        }
        let results = testing::run(&set);
        for result in &results {
            show(&set, result, out)?;
        }
        let failed = results.iter().filter(|result| !result.failures.is_empty()).count();
        match (results.len(), failed) {
            (0, _) => writeln!(out, "no [[test]] table below {}", self.directory.display())?,
            (all, 0) => writeln!(out, "ok: {}", counted(all, "test"))?,
            (all, _) => writeln!(out, "failed: {failed} of {}", counted(all, "test"))?,
        }
        Ok(if failed > 0 { Exit::Failed } else { Exit::Ok })
    }
}

fn show(set: &PolicySet, result: &TestResult, out: &mut impl Write) -> std::io::Result<()> {
    let word = if result.failures.is_empty() { "ok" } else { "FAILED" };
    writeln!(out, "{word} {}: {} ({})", result.fleet, result.name, counted(result.decisions as usize, "decision"))?;
    for failure in &result.failures {
        let at = duration_text(failure.at);
        writeln!(out, "  at {at}, {}:{}", set.file(failure.place), failure.place.line)?;
        writeln!(out, "    expected {}", failure.expected)?;
        writeln!(out, "    got      {}", failure.got)?;
        for line in failure.trace.lines() {
            writeln!(out, "      {line}")?;
        }
    }
    Ok(())
}
