//! `skala check`: validates skala.toml and the policies offline and shows everything that is wrong at once.

use super::{Exit, usage};
use clap::Args;
use skala::config::{self, Kinds, Report, SkalaToml, diagnostics};
use std::io::Write;
use std::path::PathBuf;

/// Where skala.toml is when nobody says.
pub const CONFIG_DEFAULT: &str = "/etc/skala/skala.toml";

/// Validate skala.toml and the policy files; nothing is asked and nothing is changed
#[derive(Debug, Args)]
pub struct Check {
    /// The daemon's configuration [default: /etc/skala/skala.toml, unless --policies is given]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The policy directory, instead of the one that the configuration names
    #[arg(long, value_name = "DIR")]
    pub policies: Option<PathBuf>,
    /// Only skala.toml, as before a start: the daemon can run on its last good policies
    #[arg(long, conflicts_with = "policies")]
    pub config_only: bool,
    /// Print a list for programs: severity, file, line, column, message, hint
    #[arg(long)]
    pub json: bool,
}

impl Check {
    /// Runs the command.
    pub fn run(self, kinds: Kinds<'_>, out: &mut impl Write) -> anyhow::Result<Exit> {
        let mut reports = Vec::new();
        let mut skala_toml: Option<SkalaToml> = None;
        let default = (self.policies.is_none()).then(|| PathBuf::from(CONFIG_DEFAULT));
        if let Some(path) = self.config.clone().or(default) {
            let (found, report) = config::load_skala_toml(&path, kinds);
            skala_toml = found;
            reports.push(report);
        }
        let named = || match &skala_toml {
            Some(found) => Some(found.daemon.policies.clone()),
            None => reports.first().and_then(config::policies_of),
        };
        let directory = self.policies.clone().or_else(named);
        let mut fleets = 0;
        if let (Some(directory), false) = (&directory, self.config_only) {
            let (set, report) = config::load_policies(directory, skala_toml.as_ref());
            fleets = set.fleets.len();
            reports.push(report);
        } else if reports.is_empty() {
            return Err(usage("give --config FILE, --policies DIR, or both"));
        }
        self.show(&reports, fleets, out)
    }

    fn show(&self, reports: &[Report], fleets: usize, out: &mut impl Write) -> anyhow::Result<Exit> {
        let errors: usize = reports.iter().map(Report::errors).sum();
        let warnings: usize = reports.iter().map(Report::warnings).sum();
        let files: usize = reports.iter().map(|report| report.files.len()).sum();
        if self.json {
            let list: Vec<_> = reports.iter().flat_map(diagnostics::json).collect();
            serde_json::to_writer_pretty(&mut *out, &list)?;
            writeln!(out)?;
        } else {
            for report in reports {
                write!(out, "{}", diagnostics::render(report))?;
            }
            let (files, fleets) = (counted(files, "file"), counted(fleets, "fleet"));
            match (errors, warnings) {
                (0, 0) => writeln!(out, "ok: {files}, {fleets}")?,
                (0, _) => writeln!(out, "ok: {files}, {fleets}, {}", counted(warnings, "warning"))?,
                _ => writeln!(out, "invalid: {}, {}", counted(errors, "error"), counted(warnings, "warning"))?,
            }
        }
        Ok(if errors > 0 { Exit::Invalid } else { Exit::Ok })
    }
}

/// `1 file`, `2 files`.
pub(super) fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::KINDS;
    use std::fs;
    use std::path::Path;

    const SKALA_TOML: &str =
        "[daemon]\npolicies = \"policies\"\n[provider.a]\nkind = \"sim\"\n[source.s]\nkind = \"sim\"\n";
    const POLICY: &str = "[fleet.web]\nmode = \"on\"\nmin = 1\nmax = 5\n[[fleet.web.group]]\nprovider = \"a\"\n\
        group = \"web\"\n[fleet.web.metric.cpu]\nsource = \"s\"\nquery = \"cpu\"\nunit = \"ratio\"\n\
        [[fleet.web.rule]]\nkind = \"utilization\"\nmetric = \"cpu\"\ntarget = 0.5\n";

    fn directory(skala_toml: &str, policy: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("policies")).unwrap();
        fs::write(dir.path().join("skala.toml"), skala_toml).unwrap();
        fs::write(dir.path().join("policies/web.toml"), policy).unwrap();
        dir
    }

    fn run(check: Check) -> (Exit, String) {
        let mut out = Vec::new();
        let exit = check.run(KINDS, &mut out).unwrap();
        (exit, String::from_utf8(out).unwrap())
    }

    fn of(dir: &Path) -> Check {
        Check { config: Some(dir.join("skala.toml")), policies: None, config_only: false, json: false }
    }

    #[test]
    fn a_sound_configuration_is_ok() {
        let dir = directory(SKALA_TOML, POLICY);
        assert_eq!(run(of(dir.path())), (Exit::Ok, "ok: 2 files, 1 fleet\n".into()));
        let json = Check { json: true, ..of(dir.path()) };
        assert_eq!(run(json), (Exit::Ok, "[]\n".into()));
    }

    #[test]
    fn both_files_mistakes_come_at_once() {
        let dir =
            directory(&SKALA_TOML.replace("[provider.a]", "interval = 5\n[provider.a]"), &POLICY.replace("0.5", "0"));
        let (exit, text) = run(of(dir.path()));
        assert_eq!(exit, Exit::Invalid);
        assert!(text.contains("skala.toml:3:12") && text.contains("policies/web.toml:15:10"), "{text}");
        assert!(text.ends_with("invalid: 2 errors, 0 warnings\n"), "{text}");
        let (exit, text) = run(Check { json: true, ..of(dir.path()) });
        let list: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!((exit, list.len()), (Exit::Invalid, 2));
        assert_eq!(list[1]["line"], 15);
    }

    #[test]
    fn a_broken_policy_does_not_stop_a_start() {
        let dir = directory(SKALA_TOML, "x");
        assert_eq!(run(of(dir.path())).0, Exit::Invalid);
        let (exit, _) = run(Check { config_only: true, ..of(dir.path()) });
        assert_eq!(exit, Exit::Ok);
    }

    #[test]
    fn policies_alone_need_no_configuration() {
        let dir = directory("", POLICY);
        let policies = Some(dir.path().join("policies"));
        let check = Check { config: None, policies, config_only: false, json: false };
        assert_eq!(run(check), (Exit::Ok, "ok: 1 file, 1 fleet\n".into()));
    }
}
