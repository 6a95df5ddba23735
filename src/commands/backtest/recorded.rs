//! Series from a live Prometheus: the fleet's own queries over the past, one value for each step.

use super::super::{invalid, outfit, usage};
use anyhow::{Context, bail};
use contract::Timestamp;
use policies::policy::{Metric, Policy, query_for};
use skala::backtest::{Model, Series, is_averaged, is_utilization};
use skala::clock::{Clock, SystemClock};
use skala::config::{SourceConfig, SourceKind};
use skala::http::FetchSettings;
use skala::sources::prometheus::{Prometheus, RangeSeries};
use std::path::Path;
use std::time::Duration;

/// A range of weeks takes longer than one reading: the source gets at least this long for each piece.
const TIMEOUT_LEAST: Duration = Duration::from_secs(60);
/// The shortest past that says anything.
const STEPS_LEAST: u128 = 2;

/// Where the past is recorded, and how much of it to take.
pub struct Recorded<'a> {
    /// The skala.toml that has the source.
    pub config: &'a Path,
    /// The source's name.
    pub source: &'a str,
    /// How long ago it begins.
    pub last: Duration,
}

/// Refuses a recorded load that rules take for an average over instances: over how many is not recorded, so nobody knows
/// the total.
///
/// # Errors
/// With what to do instead: exit 78.
pub fn check_total(policy: &Policy, model: &Model) -> anyhow::Result<()> {
    let at = usize::from(model.metric);
    let Some(metric) = policy.metrics.get(at).filter(|_| is_averaged(policy, at)) else { return Ok(()) };
    let name = &metric.name;
    Err(invalid(format!(
        "fleet `{}`: metric `{name}` is the load, and its rules take it for an average over instances: what was recorded of it \
         is not the fleet's total. Name a metric of the total in the model, as metric = \"NAME\", or give the total as \
         --series {name}=FILE.csv",
        policy.id
    )))
}

/// A server that is asked, and its name in skala.toml.
pub struct Recording {
    name: Box<str>,
    server: Prometheus,
}

impl Recording {
    /// As [`Prometheus::range`], of what a metric's query has for this server.
    pub async fn range(
        &self,
        query: &str,
        from: Timestamp,
        to: Timestamp,
        step: Duration,
    ) -> anyhow::Result<Vec<RangeSeries>> {
        let Some(own) = query_for(query, &self.name) else {
            bail!("its query has no text for `{}`, which records", self.name);
        };
        Ok(self.server.range(&own, from, to, step).await?)
    }
}

impl Recorded<'_> {
    /// Adds the metrics of this source that have no series yet. A metric with one value for each instance, or of a
    /// `utilization` rule, is left out: what it showed was another capacity's.
    pub fn read(
        &self,
        policy: &Policy,
        model: &Model,
        series: Vec<(u16, Series)>,
    ) -> anyhow::Result<Vec<(u16, Series)>> {
        self.read_until(SystemClock::new().now(), policy, model, series)
    }

    /// As [`Recorded::read`], up to a time.
    pub fn read_until(
        &self,
        until: Timestamp,
        policy: &Policy,
        model: &Model,
        mut series: Vec<(u16, Series)>,
    ) -> anyhow::Result<Vec<(u16, Series)>> {
        if self.last.as_micros() < STEPS_LEAST * model.step.as_micros() {
            return Err(usage("--last is shorter than two steps of the model"));
        }
        let source = self.connect()?;
        let step = contract::micros(model.step);
        let end = Timestamp(until.0.div_euclid(step) * step);
        let start = Timestamp(end.before(self.last).0.div_euclid(step) * step);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        for (index, metric) in policy.metrics.iter().enumerate() {
            let at = u16::try_from(index).unwrap_or(u16::MAX);
            let known = series.iter().any(|(known, _)| *known == at);
            let elsewhere = metric.source.as_ref() != self.source || metric.by.is_some();
            if known || elsewhere || (is_utilization(policy, index) && at != model.metric) {
                continue;
            }
            if at == model.metric {
                check_total(policy, model)?;
            }
            // A value belongs to the step that ends when the query is evaluated.
            let (from, to) = (start.after(model.step), end);
            let answer = runtime
                .block_on(source.range(&metric.query, from, to, model.step))
                .with_context(|| format!("metric `{}` of source `{}`", metric.name, self.source))?;
            let samples = self.pick(metric, answer)?;
            let samples: Vec<_> = samples.into_iter().map(|(at, value)| (at.before(model.step), value)).collect();
            // What was not recorded yet is no gap: the load's series begins with its first sample.
            let first = samples.first().map_or(start, |first| first.0).max(start);
            series.push((at, Series::from_samples(first, end, model.step, &samples)));
        }
        Ok(series)
    }

    /// The source, ready to be asked; of one that asks others, the first that records.
    pub fn connect(&self) -> anyhow::Result<Recording> {
        let config = outfit::read_config(self.config)?;
        let Some(source) = config.sources.iter().find(|source| source.name.as_ref() == self.source) else {
            return Err(usage(format!("{} has no [source.{}]", self.config.display(), self.source)));
        };
        let mut plain = match &source.kind {
            SourceKind::Composite { sources, .. } => {
                let find = |name: &str| config.sources.iter().find(|source| &*source.name == name);
                sources.iter().filter_map(|part| find(part)).collect()
            }
            _ => vec![source],
        }
        .into_iter();
        let records = |source: &SourceConfig| match &source.kind {
            SourceKind::Prometheus { url, settings } => Some((source.name.clone(), url.clone(), settings.clone())),
            _ => None,
        };
        let Some((name, url, settings)) = plain.find_map(records) else {
            return Err(usage(format!("[source.{}] of {} records nothing", self.source, self.config.display())));
        };
        let settings = FetchSettings { timeout: settings.timeout.max(TIMEOUT_LEAST), ..settings };
        let server = Prometheus::new(&name, &url, settings)
            .map_err(|error| invalid(format!("[source.{name}] of {}: {error}", self.config.display())))?;
        Ok(Recording { name, server })
    }

    /// The one series that the metric selects.
    pub fn pick(&self, metric: &Metric, answer: Vec<RangeSeries>) -> anyhow::Result<Vec<(Timestamp, f64)>> {
        let selected = |one: &RangeSeries| {
            metric
                .select
                .iter()
                .all(|(label, value)| one.labels.get(label.as_ref()).is_some_and(|own| **own == **value))
        };
        let mut matching: Vec<RangeSeries> = answer.into_iter().filter(selected).collect();
        match (matching.pop(), matching.len()) {
            (Some(one), 0) if one.samples.len() > 1 => Ok(one.samples),
            (None, _) | (Some(_), 0) => {
                bail!("metric `{}`: source `{}` has no series of it in that time", metric.name, self.source)
            }
            (Some(_), others) => {
                bail!("metric `{}` has {} series in that time: `select` must pick one", metric.name, others + 1)
            }
        }
    }
}
