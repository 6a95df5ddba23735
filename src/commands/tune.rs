//! `skala tune`: searches a policy's settings on the first part of recorded load, judges them on the rest, and prints what
//! is worth choosing from, and the diff that makes the chosen point of the policy's files. It writes no file.

mod show;

use super::backtest::Progress;
use super::backtest::arguments::ReplayArgs;
use super::{Exit, Out, invalid, usage};
use anyhow::bail;
use policies::policy::SourceFile;
use skala::backtest::tune::{Candidate, Search, Tuned, Tuning};
use std::io::{self, Write};
use std::path::{Component, Path};

/// The share of the load that is searched on when nobody says.
const TRAIN_DEFAULT: f64 = 2.0 / 3.0;

/// Search a policy's settings on recorded load: the front of shortage against cost, and a diff for the point you pick
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("choice").args(["pick", "max_shortage"])))]
pub struct Tune {
    #[command(flatten)]
    replay: ReplayArgs,
    /// The share of the load, from its beginning, that is searched on; the rest judges [default: two thirds]
    #[arg(long, value_name = "RATIO", value_parser = part)]
    train: Option<f64>,
    /// Candidates that are tried, at most; up to 24 of them are judged
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u16).range(1..=376))]
    replays: u16,
    /// Pick this point of the front
    #[arg(long, value_name = "N")]
    pick: Option<usize>,
    /// Pick the cheapest point that is short for at most this share of the time, on either part
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    max_shortage: Option<f64>,
    /// Print nothing but the diff, for `git apply` or `patch -p1`; of an absolute path for `patch -p1 -d /`
    #[arg(long, requires = "choice", conflicts_with = "json")]
    diff: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was picked: its number on the front from 1, and the diff.
struct Picked {
    number: usize,
    diff: String,
    failing: Vec<String>,
}

fn part(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a ratio above 0 and below 1, such as 0.7");
    text.parse().ok().filter(|ratio| *ratio > 0.0 && *ratio < 1.0).ok_or_else(wrong)
}

fn percent(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a percentage from 0 to 100, such as 1 or 0.5%");
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    number.parse().ok().filter(|percent| (0.0..=100.0).contains(percent)).ok_or_else(wrong)
}

impl Tune {
    /// Runs the command.
    pub fn run(self, out: &mut Out) -> anyhow::Result<Exit> {
        let mut read = self.replay.read()?;
        read.files.iter_mut().for_each(settle_name);
        let backtest = self.replay.backtest(&read)?;
        let search = Search {
            train: self.train.unwrap_or(TRAIN_DEFAULT),
            replays: usize::from(self.replays),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            short_max: self.max_shortage,
        };
        let tuning = Tuning::new(&read.files, &read.set, &read.policy, &read.model, &read.series, search);
        let tuning = tuning.map_err(|error| invalid(error.0))?;
        for (name, why) in tuning.left_out() {
            writeln!(io::stderr(), "warning: {name} is not searched: {why}")?;
        }
        let mut progress = Progress::new("tuning");
        let tuned = tuning.run(&mut |done, of| progress.at(done, of));
        progress.end();
        let tuned = tuned?;
        let picked = match self.choose(&tuned) {
            Some(Ok(at)) => Some(pick(&tuning, &tuned.front[at], at + 1)?),
            Some(Err(error)) if self.json || self.diff => return Err(error),
            Some(Err(error)) => {
                show::text(&self.replay.fleet, backtest.scene(), &tuning, &tuned, out)?;
                out.flush()?;
                return Err(error);
            }
            None => None,
        };
        if let Some(picked) = &picked {
            self.warn(picked)?;
        }
        if self.json {
            let json = show::Json::new(backtest.scene(), &tuning, &tuned, picked.as_ref(), &self.replay.fleet);
            serde_json::to_writer_pretty(&mut *out, &json)?;
            writeln!(out)?;
            return Ok(Exit::Ok);
        }
        if !self.diff {
            show::text(&self.replay.fleet, backtest.scene(), &tuning, &tuned, out)?;
        }
        if let Some(picked) = &picked {
            if !self.diff {
                let apply = if read.files.iter().any(|file| file.name.starts_with('/')) {
                    "`patch -p1 -d /`"
                } else {
                    "`git apply` or `patch -p1`"
                };
                writeln!(out, "\npicked {}; for {apply}:\n", picked.number)?;
            }
            write!(out, "{}", picked.diff)?;
        }
        Ok(Exit::Ok)
    }

    /// The place on the front of what was asked for.
    fn choose(&self, tuned: &Tuned) -> Option<anyhow::Result<usize>> {
        let count = tuned.front.len();
        if let Some(number) = self.pick {
            let at = number.checked_sub(1).filter(|at| *at < count);
            return Some(at.ok_or_else(|| usage(format!("--pick {number}: the front's points are 1 to {count}"))));
        }
        let most = self.max_shortage?;
        let able = |one: &Candidate| one.short() <= most;
        // From least short to cheapest.
        Some(match tuned.front.iter().rposition(able) {
            Some(at) => Ok(at),
            None => {
                let least = tuned.front.first().map_or(0.0, Candidate::short);
                try_least(most, least)
            }
        })
    }

    fn warn(&self, picked: &Picked) -> io::Result<()> {
        if picked.diff.is_empty() {
            writeln!(io::stderr(), "note: {} is the present setting: there is nothing to change", picked.number)?;
        }
        for test in &picked.failing {
            writeln!(
                io::stderr(),
                "warning: the test \"{test}\" expects the present setting, and fails with this one"
            )?;
        }
        Ok(())
    }
}

/// No tool applies a diff to a path that goes up: such a name becomes the file's own, from the root.
fn settle_name(file: &mut SourceFile) {
    let path = Path::new(file.name.as_ref());
    if path.components().any(|part| part == Component::ParentDir)
        && let Ok(real) = path.canonicalize()
    {
        file.name = real.display().to_string().into();
    }
}

fn try_least(most: f64, least: f64) -> anyhow::Result<usize> {
    bail!("--max-shortage {most}: no point found is short so seldom; the least is {least:.2} %")
}

fn pick(tuning: &Tuning<'_>, candidate: &Candidate, number: usize) -> anyhow::Result<Picked> {
    let (diff, failing) = tuning.patch(candidate)?;
    Ok(Picked { number, diff, failing })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_and_percentages() {
        assert_eq!(
            (part("0.7"), percent("1"), percent("0.5%"), percent("100 %")),
            (Ok(0.7), Ok(1.0), Ok(0.5), Ok(100.0))
        );
        for wrong in ["0", "1", "NaN", "x", "-1", ""] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
        for wrong in ["101", "NaN", "x", "-1", "", "%"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }
}
