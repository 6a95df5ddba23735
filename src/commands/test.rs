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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const POLICY: &str = "[fleet.web]\nmode = \"on\"\nmin = 1\nmax = 50\n[[fleet.web.group]]\nprovider = \"a\"\n\
        group = \"web\"\n[fleet.web.metric.rps]\nsource = \"s\"\nquery = \"rps\"\n\
        [[fleet.web.rule]]\nkind = \"per-instance\"\nmetric = \"rps\"\ntarget = 10\n\
        [[test]]\nname = \"double\"\nfleet = \"web\"\n[[test.cycle]]\nat = \"0s\"\ncurrent = 5\n\
        readings = { rps = 100 }\ndesired = 10\n";

    fn run(policy: &str) -> (anyhow::Result<Exit>, String) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("web.toml"), policy).unwrap();
        let mut out = Vec::new();
        let exit = Test { directory: dir.path().to_owned() }.run(&mut out);
        (exit, String::from_utf8(out).unwrap().replace(&dir.path().display().to_string(), "DIR"))
    }

    #[test]
    fn a_test_that_passes() {
        let (exit, text) = run(POLICY);
        assert_eq!((exit.unwrap(), text.as_str()), (Exit::Ok, "ok web: double (1 decision)\nok: 1 test\n"));
    }

    #[test]
    fn a_test_that_fails_shows_the_decision() {
        let (exit, text) = run(&POLICY.replace("desired = 10", "desired = 11"));
        assert_eq!(exit.unwrap(), Exit::Failed);
        let begin = "FAILED web: double (1 decision)\n  at 0s, DIR/web.toml:18\n    expected desired 11\n    got      desired 10";
        assert!(text.starts_with(begin) && text.ends_with("failed: 1 of 1 test\n"), "{text}");
    }

    #[test]
    fn invalid_policies_are_not_run() {
        let (exit, text) = run(&POLICY.replace("max = 50", "max = 0"));
        assert_eq!((super::super::exit_of(&exit.unwrap_err()), text.as_str()), (Exit::Invalid, ""));
    }
}
