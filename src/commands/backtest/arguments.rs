//! What commands that replay recorded load are told: whose policy, which load, which model. Files come in; policies, a
//! model and series go out, or what is wrong with them.

use super::super::check::CONFIG_DEFAULT;
use super::super::{invalid, usage};
use super::recorded::Recorded;
use policies::policy::{Diagnostic, Policy, PolicySet, SourceFile, nearest};
use skala::backtest::{Backtest, Model, Series, is_utilization};
use skala::config::{Report, diagnostics, read_file};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A larger file of a series is refused: five years of minutes fit in it.
const SERIES_BYTES_MAX: u64 = 256 << 20;

/// A fleet's policy, recorded load and a model.
#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// The directory of the policies; skala.toml is not needed
    #[arg(long, value_name = "DIR")]
    pub policies: PathBuf,
    /// The fleet whose policy is replayed
    #[arg(long, value_name = "FLEET")]
    pub fleet: String,
    /// A metric's recorded values: CSV with the columns timestamp_s and value
    #[arg(long, value_name = "METRIC=FILE.csv", required_unless_present = "from", value_parser = named_file)]
    series: Vec<(String, PathBuf)>,
    /// Ask this source of skala.toml for the metrics that have no --series
    #[arg(long, value_name = "SOURCE", requires = "last")]
    from: Option<String>,
    /// How much of the past to ask it for
    #[arg(long, value_name = "DURATION", requires = "from", value_parser = super::super::duration)]
    last: Option<Duration>,
    /// The skala.toml that has the source
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    config: PathBuf,
    /// What an instance can do, costs, and how long it boots
    #[arg(long, value_name = "FILE.toml")]
    pub model: PathBuf,
}

/// What the arguments name, read.
pub struct Replayable {
    /// All policies of the directory.
    pub set: PolicySet,
    /// Their files.
    pub files: Vec<SourceFile>,
    /// The fleet's policy.
    pub policy: Arc<Policy>,
    /// The model.
    pub model: Model,
    /// The series, by the metric's index.
    pub series: Vec<(u16, Series)>,
}

impl ReplayArgs {
    /// Reads everything.
    ///
    /// # Errors
    /// With what is wrong, and exit 64 or 78.
    pub fn read(&self) -> anyhow::Result<Replayable> {
        let (set, report) = super::super::read_policies(&self.policies)?;
        let policy = Arc::clone(fleet(&set, &self.fleet, &self.policies)?);
        let model = read_model(&self.model, &policy)?;
        let mut series = read_all(&policy, &self.series, &model)?;
        if let Some((source, last)) = self.from.as_ref().zip(self.last) {
            series = Recorded { config: &self.config, source, last }.read(&policy, &model, series)?;
        }
        Ok(Replayable { set, files: report.files, policy, model, series })
    }

    /// The backtest of the policy as it is, and warnings of what it lacks.
    ///
    /// # Errors
    /// When the series do not suffice: exit 78.
    pub fn backtest(&self, read: &Replayable) -> anyhow::Result<Backtest> {
        let made = Backtest::new(&read.policy, read.model.clone(), read.series.clone());
        let backtest = made.map_err(|error| invalid(format!("{}: {error}", self.model.display())))?;
        warn(&backtest, self.series.iter().map(|(name, _)| name.as_str()))?;
        Ok(backtest)
    }
}

/// A metric and its file.
///
/// # Errors
/// With what would be right, for clap to show.
pub fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((metric, file)) if !metric.is_empty() && !file.is_empty() => Ok((metric.into(), file.into())),
        _ => Err(format!("`{text}` is not METRIC=FILE.csv")),
    }
}

/// Warns of metrics that nothing feeds, of series that lack values, and of a utilization that is somebody else's.
pub fn warn<'n>(backtest: &Backtest, named: impl Iterator<Item = &'n str>) -> io::Result<()> {
    for metric in &backtest.unfed() {
        writeln!(
            io::stderr(),
            "warning: metric `{metric}` has no series: its rules never have a reading, which blocks scale-in; give \
             --series {metric}=FILE.csv"
        )?;
    }
    for (metric, share) in backtest.patchy() {
        writeln!(
            io::stderr(),
            "warning: the series of metric `{metric}` has no value in {:.1} % of the steps in which the load has one: its \
             rules have no reading there, which blocks scale-in",
            (100.0 * share).max(0.1)
        )?;
    }
    for name in named.filter(|name| is_others_utilization(backtest, name)) {
        writeln!(
            io::stderr(),
            "warning: the utilization in --series {name} is the recorded fleet's, not this one's; without it, it is \
             worked out from load and capacity"
        )?;
    }
    Ok(())
}

/// Whether a series is of a utilization, which depends on the capacity that was there when it was recorded.
fn is_others_utilization(backtest: &Backtest, name: &str) -> bool {
    let (policy, load) = (backtest.policy(), usize::from(backtest.scene().model.metric));
    let mut metrics = policy.metrics.iter().enumerate();
    metrics.any(|(at, metric)| metric.name.as_ref() == name && at != load && is_utilization(policy, at))
}

/// The policy of a fleet; `directory` is where it was looked for.
///
/// # Errors
/// When there is none: exit 64.
pub fn fleet<'s>(set: &'s PolicySet, fleet: &str, directory: &Path) -> anyhow::Result<&'s Arc<Policy>> {
    set.fleet(fleet).ok_or_else(|| {
        let known = || set.fleets.iter().map(|policy| policy.id.as_ref());
        usage(match nearest(fleet, known()) {
            Some(near) => format!("no policy for fleet `{fleet}`; did you mean `{near}`?"),
            None => format!("no policy for fleet `{fleet}` below {}", directory.display()),
        })
    })
}

/// The model in a file, for a policy.
///
/// # Errors
/// With everything that is wrong, and exit 78.
pub fn read_model(path: &Path, policy: &Policy) -> anyhow::Result<Model> {
    let (file, trouble) = read_file(path);
    let (model, found) = match trouble {
        Some(trouble) => (None, vec![trouble]),
        None => Model::parse(&file, policy),
    };
    model.ok_or_else(|| refused(file, found))
}

fn read_all(policy: &Policy, named: &[(String, PathBuf)], model: &Model) -> anyhow::Result<Vec<(u16, Series)>> {
    let mut series: Vec<(u16, Series)> = Vec::new();
    for (name, path) in named {
        let metric = metric(policy, name)?;
        if series.iter().any(|(known, _)| *known == metric) {
            return Err(usage(format!("--series {name} is given twice")));
        }
        series.push((metric, read_series(path, model.step)?));
    }
    Ok(series)
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
///
/// # Errors
/// With what is wrong and where, and exit 78.
pub fn read_series(path: &Path, step: Duration) -> anyhow::Result<Series> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_series() {
        assert_eq!(named_file("rps=a=b.csv"), Ok(("rps".into(), "a=b.csv".into())));
        for wrong in ["rps", "=a.csv", "rps="] {
            assert!(named_file(wrong).is_err(), "{wrong}");
        }
    }
}
