//! What the metrics store recorded of a fleet: its load and other readings by the fleet's own queries, and what skala's
//! own /metrics said of it: the real capacity, and what was recommended and held at the time.

use super::super::backtest::recorded::{Recorded, Recording};
use super::super::usage;
use super::matching::{Matcher, joined, selector};
use anyhow::{Context, bail};
use contract::Timestamp;
use policies::policy::units::duration_text;
use policies::policy::{Metric, Policy, Unit};
use skala::backtest::observed::Observed;
use skala::backtest::{Model, Series, is_averaged, is_utilization};
use skala::sources::prometheus::RangeSeries;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Runtime;

/// skala's own samples count for two steps, and for no less than this: two scrapes at Prometheus's default interval.
const SCRAPES: Duration = Duration::from_secs(120);

/// What comes of a metric without a series.
const BLIND: &str = "its rules never have a reading in the replay, which blocks scale-in";

/// Which time is asked for; all on the grid of the model's step.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Where the history before the window begins.
    pub history: Timestamp,
    /// Where what is scored begins.
    pub start: Timestamp,
    /// Where it ends.
    pub end: Timestamp,
}

/// What was recorded.
#[derive(Debug)]
pub struct Asked {
    /// Series by the metric's index, the load's among them.
    pub series: Vec<(u16, Series)>,
    /// The real capacity, and what the daemon made of it.
    pub observed: Observed,
    /// Steps of the window in which the daemon said that the fleet's mode is this.
    pub modes: BTreeMap<String, usize>,
    /// Steps of the window in which a hold kept capacity, by its reason.
    pub holds: BTreeMap<String, usize>,
    /// What could not be had, in sentences.
    pub notes: Vec<String>,
}

impl Asked {
    /// The series, but those without a value while there is load, which are noted.
    pub fn overlapping(&mut self, policy: &Policy, model: &Model) -> Vec<(u16, Series)> {
        let mut series = std::mem::take(&mut self.series);
        let Some((_, load)) = series.iter().find(|(at, _)| *at == model.metric).cloned() else { return series };
        let mut times = Vec::new();
        let mut time = load.start;
        for value in &load.values {
            times.extend(value.map(|_| time));
            time = time.after(load.step);
        }
        series.retain(|(at, one)| {
            let without = times.iter().filter(|time| one.at(**time).is_none()).count();
            let name = policy.metrics.get(usize::from(*at)).map_or("?", |metric| &metric.name);
            let share = 100.0 * without as f64 / times.len().max(1) as f64;
            let none = without == times.len() && !times.is_empty();
            if none {
                self.notes.push(format!("metric `{name}` has no value while there is load: {BLIND}"));
            } else if without > 0 {
                self.notes.push(format!(
                    "metric `{name}` has no value in {:.1} % of the steps with a load: its rules have no reading there, which \
                     blocks scale-in",
                    share.max(0.1)
                ));
            }
            *at == model.metric || !none
        });
        series
    }
}

/// Whom to ask, and about what.
pub struct Ask<'a> {
    /// The fleet.
    pub policy: &'a Policy,
    /// What its load is.
    pub model: &'a Model,
    /// The skala.toml that has the sources.
    pub config: &'a Path,
    /// The source to ask for everything, instead of the load's own.
    pub source: Option<&'a str>,
    /// What skala's own series must carry beside the fleet.
    pub matchers: &'a [Matcher],
    /// The time.
    pub window: Window,
}

impl Ask<'_> {
    /// Asks for everything.
    ///
    /// # Errors
    /// When the source, the load, or the real capacity cannot be had.
    pub fn run(&self) -> anyhow::Result<Asked> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let load_at = usize::from(self.model.metric);
        let load_metric = self.policy.metrics.get(load_at).context("the model's metric is not the fleet's")?;
        self.check_load(load_metric)?;
        let name = self.source.unwrap_or(&load_metric.source);
        let source = self.connect(name, &runtime)?;
        let observed = Observed {
            serving: self.own(&source, "serving")?,
            current: self.own(&source, "current")?,
            desired: self.own(&source, "desired")?,
            recommended: self.own(&source, "recommended_stabilized")?,
        };
        let mut notes = Vec::new();
        let load = self.metric(&source, load_metric, load_at, &observed)?;
        let mut series = vec![(self.model.metric, load)];
        for (index, metric) in self.policy.metrics.iter().enumerate() {
            // What an average over instances showed was another capacity's: the replay works it out.
            if index == load_at || is_utilization(self.policy, index) {
                continue;
            }
            if metric.by.is_some() {
                let name = &metric.name;
                notes.push(format!("metric `{name}` has one value for each instance, which is not replayed: {BLIND}"));
                continue;
            }
            match self.other(&source, metric, index, &observed) {
                Ok(one) => series.push((u16::try_from(index).unwrap_or(u16::MAX), one)),
                Err(why) => notes.push(format!("{why:#}: {BLIND}")),
            }
        }
        let modes = self.counted(&source, "skala_fleet_info", "mode")?;
        let holds = self.counted(&source, "skala_hold_active", "reason")?;
        Ok(Asked { series, observed, modes, holds, notes })
    }

    fn connect<'a>(&'a self, name: &'a str, runtime: &'a Runtime) -> anyhow::Result<Source<'a>> {
        let last = self.window.end.since(self.window.history);
        let recorded = Recorded { config: self.config, source: name, last };
        Ok(Source { server: recorded.connect()?, recorded, runtime })
    }

    /// A load of one value for each instance has no total that a series could show.
    fn check_load(&self, metric: &Metric) -> anyhow::Result<()> {
        if metric.by.is_none() {
            return Ok(());
        }
        let hint = "give a --model whose metric is the fleet's total, or an average over its instances";
        Err(usage(format!("metric `{}` has one value for each instance: {hint}", metric.name)))
    }

    /// A metric that is not the load, of its own source unless everything is asked of one.
    fn other(&self, source: &Source<'_>, metric: &Metric, index: usize, observed: &Observed) -> anyhow::Result<Series> {
        if self.source.is_some() || *metric.source == *source.recorded.source {
            return self.metric(source, metric, index, observed);
        }
        self.metric(&self.connect(&metric.source, source.runtime)?, metric, index, observed)
    }

    /// A metric's series, history included. It begins with its first sample: what was not recorded yet is no gap.
    fn metric(
        &self,
        source: &Source<'_>,
        metric: &Metric,
        index: usize,
        observed: &Observed,
    ) -> anyhow::Result<Series> {
        let (window, step) = (self.window, self.model.step);
        let answer = source
            .range(&metric.query, window.history, window.end, step)
            .with_context(|| format!("metric `{}` of source `{}`", metric.name, source.recorded.source))?;
        let samples = ends_to_begins(source.recorded.pick(metric, answer)?, step);
        let first = samples.first().map_or(window.start, |first| first.0).max(window.history);
        let mut series = Series::from_samples(first, window.end, step, &samples);
        if index == usize::from(self.model.metric) && is_averaged(self.policy, index) {
            self.total(metric, &mut series, observed);
        }
        Ok(series)
    }

    /// Work out of an average over instances: what each did, times those that served. Unknown where either is.
    fn total(&self, metric: &Metric, series: &mut Series, observed: &Observed) {
        let full = match metric.unit {
            Unit::Ratio => self.model.capacity_per_instance,
            Unit::Percent => self.model.capacity_per_instance / 100.0,
            Unit::Count | Unit::Seconds => 1.0,
        };
        let mut at = series.start;
        for value in &mut series.values {
            let serving = observed.serving.at(at);
            *value = value.zip(serving).map(|(each, serving)| each * full * serving);
            at = at.after(series.step);
        }
    }

    /// One of skala's own numbers of the fleet. Without any sample the series is empty.
    fn own(&self, source: &Source<'_>, family: &str) -> anyhow::Result<Series> {
        let name = format!("skala_fleet_{family}");
        let (window, step) = (self.window, self.model.step);
        let found = source
            .range(&self.recent(&name), window.history, window.end, step)
            .with_context(|| format!("{name} of source `{}`", source.recorded.source))?;
        let samples = joined(&name, found, step).map_err(usage)?;
        Ok(Series::from_samples(window.history, window.end, step, &ends_to_begins(samples, step)))
    }

    /// How many steps of the window each value of a label was there, whoever said it.
    fn counted(&self, source: &Source<'_>, name: &str, label: &str) -> anyhow::Result<BTreeMap<String, usize>> {
        let query = format!("max by ({label}) ({})", self.recent(name));
        let (window, step) = (self.window, self.model.step);
        let found = source
            .range(&query, window.start, window.end, step)
            .with_context(|| format!("{name} of source `{}`", source.recorded.source))?;
        let counted = found.into_iter().filter_map(|mut one| Some((one.labels.remove(label)?, one.samples.len())));
        Ok(counted.collect())
    }

    /// A series of the fleet as far as it is known: gone at once where Prometheus marked it as gone, as after a stop that it
    /// saw, and after two scrapes where it could not. Prometheus itself would go on to show it for five minutes.
    fn recent(&self, name: &str) -> String {
        let series = selector(name, &self.policy.id, self.matchers);
        let range = (self.model.step * 2).max(SCRAPES).as_secs();
        format!("{series} and last_over_time({series}[{range}s])")
    }

    /// Says what to do about a real capacity that nobody recorded.
    pub fn nothing_recorded(&self, asked: &Asked) -> anyhow::Result<()> {
        let last = duration_text(self.window.end.since(self.window.start));
        for (family, series) in [("current", &asked.observed.current), ("serving", &asked.observed.serving)] {
            let name = format!("skala_fleet_{family}");
            let mut time = self.window.start;
            let mut known = false;
            while time < self.window.end {
                known |= series.at(time).is_some();
                time = time.after(self.model.step);
            }
            if !known {
                bail!(
                    "there is no {} in the last {last}: the store must scrape skala's /metrics (address: [api] listen of \
                     {}) while skala runs, with mode = \"observe\" for this fleet",
                    selector(&name, &self.policy.id, self.matchers),
                    self.config.display(),
                );
            }
        }
        Ok(())
    }
}

/// A server and the runtime to ask it on.
struct Source<'a> {
    recorded: Recorded<'a>,
    server: Recording,
    runtime: &'a Runtime,
}

impl Source<'_> {
    /// A query at the end of each step from `from` to `to`.
    fn range(&self, query: &str, from: Timestamp, to: Timestamp, step: Duration) -> anyhow::Result<Vec<RangeSeries>> {
        self.runtime.block_on(self.server.range(query, from.after(step), to, step))
    }
}

/// A value belongs to the step that ends when the query is evaluated.
fn ends_to_begins(samples: Vec<(Timestamp, f64)>, step: Duration) -> Vec<(Timestamp, f64)> {
    samples.into_iter().map(|(at, value)| (at.before(step), value)).collect()
}
