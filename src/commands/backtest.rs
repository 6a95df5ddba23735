//! `skala backtest`: replays recorded load through the same core as the daemon, and shows how it would have gone beside the
//! alternatives. Nothing is observed and nothing is changed.

pub mod recorded;
mod show;

use super::check::CONFIG_DEFAULT;
use super::{Exit, Out, invalid, usage};
use anyhow::Context;
use policies::policy::{Diagnostic, Policy, PolicySet, SourceFile, nearest};
use skala::backtest::{Backtest, Model, Outcome, Series, TARGET, is_utilization};
use skala::clock::{Clock, SystemClock};
use skala::config::{Report, diagnostics, read_file};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A larger file of a series is refused: five years of minutes fit in it.
const SERIES_BYTES_MAX: u64 = 256 << 20;
/// A shorter run shows no progress.
const QUIET: Duration = Duration::from_millis(300);
/// Steps between two looks at the clock.
const STEPS_BETWEEN: usize = 512;

/// Replay recorded load through a fleet's policy and score it
#[derive(Debug, clap::Args)]
pub struct BacktestArgs {
    /// The directory of the policies; skala.toml is not needed
    #[arg(long, value_name = "DIR")]
    policies: PathBuf,
    /// The fleet whose policy is replayed
    #[arg(long, value_name = "FLEET")]
    fleet: String,
    /// A metric's recorded values: CSV with the columns timestamp_s and value
    #[arg(long, value_name = "METRIC=FILE.csv", required_unless_present = "from", value_parser = named_file)]
    series: Vec<(String, PathBuf)>,
    /// Ask this source of skala.toml for the metrics that have no --series
    #[arg(long, value_name = "SOURCE", requires = "last")]
    from: Option<String>,
    /// How much of the past to ask it for
    #[arg(long, value_name = "DURATION", requires = "from", value_parser = super::duration)]
    last: Option<Duration>,
    /// The skala.toml that has the source
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    config: PathBuf,
    /// What an instance can do, costs, and how long it boots
    #[arg(long, value_name = "FILE.toml")]
    model: PathBuf,
    /// Write demand, supply and what was paid for, step by step, as CSV
    #[arg(long, value_name = "SUPPLY.csv")]
    out: Option<PathBuf>,
    /// Write a page with charts; it needs no network
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// The utilization that the alternatives are told to keep
    #[arg(long, value_name = "RATIO", default_value_t = TARGET, value_parser = ratio)]
    rival_target: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((metric, file)) if !metric.is_empty() && !file.is_empty() => Ok((metric.into(), file.into())),
        _ => Err(format!("`{text}` is not METRIC=FILE.csv")),
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a ratio above 0, up to 1");
    text.parse().ok().filter(|ratio| *ratio > 0.0 && *ratio <= 1.0).ok_or_else(wrong)
}

impl BacktestArgs {
    /// Runs the command.
    pub fn run(self, out: &mut Out) -> anyhow::Result<Exit> {
        let set = super::policies_of(&self.policies)?;
        let policy = self.policy(&set)?;
        let backtest = self.read(policy)?;
        let unfed = backtest.unfed();
        for metric in &unfed {
            writeln!(
                io::stderr(),
                "warning: metric `{metric}` has no series: its rules never have a reading, which blocks scale-in; give \
                 --series {metric}=FILE.csv"
            )?;
        }
        for (name, _) in self.series.iter().filter(|(name, _)| self.is_others_utilization(&backtest, name)) {
            writeln!(
                io::stderr(),
                "warning: the utilization in --series {name} is the recorded fleet's, not this one's; without it, it is \
                 worked out from load and capacity"
            )?;
        }
        let mut progress = Progress::new(backtest.scene().steps());
        let outcome = backtest.run(self.rival_target, &mut |step| progress.at(step));
        progress.end();
        if let Some(path) = &self.out {
            write_file(path, supply_csv(&backtest, &outcome).as_bytes())?;
        }
        if let Some(path) = &self.report {
            let page = skala::backtest::report::page(&backtest, &outcome, self.rival_target);
            write_file(path, page.as_bytes())?;
        }
        if self.json {
            serde_json::to_writer_pretty(&mut *out, &show::Json::new(&backtest, &outcome, self.rival_target))?;
            writeln!(out)?;
        } else {
            show::text(&backtest, &outcome, out)?;
        }
        Ok(Exit::Ok)
    }

    /// Whether a series is of a utilization, which depends on the capacity that was there when it was recorded.
    fn is_others_utilization(&self, backtest: &Backtest, name: &str) -> bool {
        let (policy, load) = (backtest.policy(), usize::from(backtest.scene().model.metric));
        let mut metrics = policy.metrics.iter().enumerate();
        metrics.any(|(at, metric)| metric.name.as_ref() == name && at != load && is_utilization(policy, at))
    }

    fn policy<'s>(&self, set: &'s PolicySet) -> anyhow::Result<&'s Arc<Policy>> {
        set.fleet(&self.fleet).ok_or_else(|| {
            let known = || set.fleets.iter().map(|policy| policy.id.as_ref());
            usage(match nearest(&self.fleet, known()) {
                Some(near) => format!("no policy for fleet `{}`; did you mean `{near}`?", self.fleet),
                None => format!("no policy for fleet `{}` below {}", self.fleet, self.policies.display()),
            })
        })
    }

    fn read(&self, policy: &Policy) -> anyhow::Result<Backtest> {
        let (file, trouble) = read_file(&self.model);
        let (model, mut found) = match trouble {
            Some(trouble) => (None, vec![trouble]),
            None => Model::parse(&file, policy),
        };
        let Some(model) = model else {
            return Err(refused(file, std::mem::take(&mut found)));
        };
        let mut series: Vec<(u16, Series)> = Vec::new();
        for (name, path) in &self.series {
            let metric = metric(policy, name)?;
            if series.iter().any(|(known, _)| *known == metric) {
                return Err(usage(format!("--series {name} is given twice")));
            }
            series.push((metric, read_series(path, model.step)?));
        }
        if let Some((source, last)) = self.from.as_ref().zip(self.last) {
            series = recorded::Recorded { config: &self.config, source, last }.read(policy, &model, series)?;
        }
        Backtest::new(policy, model, series).map_err(|error| invalid(format!("{}: {error}", self.model.display())))
    }
}

fn metric(policy: &Policy, name: &str) -> anyhow::Result<u16> {
    let names = || policy.metrics.iter().map(|metric| metric.name.as_ref());
    let at = names().position(|known| known == name).and_then(|at| u16::try_from(at).ok());
    at.ok_or_else(|| {
        let known = match nearest(name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("its metrics: {}", names().collect::<Vec<_>>().join(", ")),
        };
        usage(format!("--series {name}: fleet `{}` has no such metric; {known}", policy.id))
    })
}

fn refused(file: SourceFile, diagnostics: Vec<Diagnostic>) -> anyhow::Error {
    invalid(diagnostics::render(&Report { files: vec![file], diagnostics }).trim_end())
}

/// Reads a series; a pipe will do.
fn read_series(path: &Path, step: Duration) -> anyhow::Result<Series> {
    let unreadable = |error: io::Error| invalid(format!("{} cannot be read: {error}", path.display()));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(SERIES_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > SERIES_BYTES_MAX {
        return Err(invalid(format!("{} is larger than {} MiB", path.display(), SERIES_BYTES_MAX >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
        invalid(format!("{}:{line}: not UTF-8 text", path.display()))
    })?;
    let file = SourceFile { name: path.display().to_string().into(), text };
    Series::parse(&file, step).map_err(|wrong| refused(file, vec![*wrong]))
}

fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// The scored steps: what was needed, what served, what was billed.
fn supply_csv(backtest: &Backtest, outcome: &Outcome) -> String {
    let scene = backtest.scene();
    let mut text = String::from("timestamp_s,demand,supply,paid\n");
    for step in scene.first_scored()..scene.steps() {
        let (ready, paid) = (outcome.supply.ready[step], outcome.supply.paid[step]);
        // Writing into a String has no way to fail.
        let _ = writeln!(text, "{},{},{ready},{paid}", scene.time(step), scene.demand[step]);
    }
    text
}

/// A bar on standard error, for a person who waits: only on a terminal, and only when it takes a while.
struct Progress {
    clock: Option<SystemClock>,
    steps: usize,
    shown: Option<usize>,
}

impl Progress {
    fn new(steps: usize) -> Self {
        Self { clock: io::stderr().is_terminal().then(SystemClock::new), steps, shown: None }
    }

    fn at(&mut self, step: usize) {
        let Some(clock) = self.clock.as_ref().filter(|_| step.is_multiple_of(STEPS_BETWEEN)) else { return };
        let percent = step * 100 / self.steps.max(1);
        if self.shown == Some(percent) || (self.shown.is_none() && clock.monotonic() < QUIET) {
            return;
        }
        self.shown = Some(percent);
        // A terminal that has gone is no reason to stop.
        let _ = write!(io::stderr(), "\r{}", bar(percent));
    }

    fn end(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(io::stderr(), "\r{}\r", " ".repeat(bar(100).len()));
        }
    }
}

fn bar(percent: usize) -> String {
    let full = percent.min(100) * 40 / 100;
    format!("replaying [{}{}] {percent:>3} %", "#".repeat(full), " ".repeat(40 - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_from_left_to_right() {
        assert_eq!(bar(0), format!("replaying [{}]   0 %", " ".repeat(40)));
        assert_eq!(bar(50), format!("replaying [{}{}]  50 %", "#".repeat(20), " ".repeat(20)));
        assert_eq!(bar(100), format!("replaying [{}] 100 %", "#".repeat(40)));
    }

    #[test]
    fn arguments_of_series_and_ratios() {
        assert_eq!(named_file("rps=a=b.csv"), Ok(("rps".into(), "a=b.csv".into())));
        for wrong in ["rps", "=a.csv", "rps="] {
            assert!(named_file(wrong).is_err(), "{wrong}");
        }
        assert_eq!(ratio("0.5"), Ok(0.5));
        for wrong in ["0", "1.1", "NaN", "x", "-1"] {
            assert!(ratio(wrong).is_err(), "{wrong}");
        }
    }
}
