//! `skala backtest`: replays recorded load through the same core as the daemon, and shows how it would have gone beside the
//! alternatives. Nothing is observed and nothing is changed.

pub mod arguments;
pub mod recorded;
mod show;

use super::{Exit, Out};
use anyhow::Context;
use arguments::ReplayArgs;
use skala::backtest::{Backtest, Outcome, TARGET};
use skala::clock::{Clock, SystemClock};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A shorter run shows no progress.
const QUIET: Duration = Duration::from_millis(300);
/// Steps between two looks at the clock.
const STEPS_BETWEEN: usize = 512;

/// Replay recorded load through a fleet's policy and score it
#[derive(Debug, clap::Args)]
pub struct BacktestArgs {
    #[command(flatten)]
    replay: ReplayArgs,
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

fn ratio(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a ratio above 0, up to 1");
    text.parse().ok().filter(|ratio| *ratio > 0.0 && *ratio <= 1.0).ok_or_else(wrong)
}

impl BacktestArgs {
    /// Runs the command.
    pub fn run(self, out: &mut Out) -> anyhow::Result<Exit> {
        let backtest = self.replay.backtest(&self.replay.read()?)?;
        let (mut progress, steps) = (Progress::new("replaying"), backtest.scene().steps());
        let outcome = backtest.run(self.rival_target, &mut |step| {
            if step.is_multiple_of(STEPS_BETWEEN) {
                progress.at(step, steps);
            }
        });
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
pub struct Progress {
    clock: Option<SystemClock>,
    word: &'static str,
    shown: Option<usize>,
}

impl Progress {
    /// A bar that is not shown yet; `word` is what goes on.
    pub fn new(word: &'static str) -> Self {
        Self { clock: io::stderr().is_terminal().then(SystemClock::new), word, shown: None }
    }

    /// So many of so many are done.
    pub fn at(&mut self, done: usize, of: usize) {
        let Some(clock) = self.clock.as_ref() else { return };
        let percent = done * 100 / of.max(1);
        if self.shown == Some(percent) || (self.shown.is_none() && clock.monotonic() < QUIET) {
            return;
        }
        self.shown = Some(percent);
        // A terminal that has gone is no reason to stop.
        let _ = write!(io::stderr(), "\r{}", bar(self.word, percent));
    }

    /// Takes the bar away.
    pub fn end(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(io::stderr(), "\r{}\r", " ".repeat(bar(self.word, 100).len()));
        }
    }
}

fn bar(word: &str, percent: usize) -> String {
    let full = percent.min(100) * 40 / 100;
    format!("{word} [{}{}] {percent:>3} %", "#".repeat(full), " ".repeat(40 - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_from_left_to_right() {
        assert_eq!(bar("replaying", 0), format!("replaying [{}]   0 %", " ".repeat(40)));
        assert_eq!(bar("replaying", 50), format!("replaying [{}{}]  50 %", "#".repeat(20), " ".repeat(20)));
        assert_eq!(bar("replaying", 100), format!("replaying [{}] 100 %", "#".repeat(40)));
    }

    #[test]
    fn ratios() {
        assert_eq!(ratio("0.5"), Ok(0.5));
        for wrong in ["0", "1.1", "NaN", "x", "-1"] {
            assert!(ratio(wrong).is_err(), "{wrong}");
        }
    }
}
