//! Readings from Azure Monitor: one metric's newest whole period, for each series. In comes a query's text (its language is
//! in `query`); out go points with the dimensions that were asked for as labels, or a typed error.
//!
//! Azure stamps a value with the beginning of its period. A value says something up to the period's end, so that is the
//! time it gets here; and a period that has not ended by `now` is left out, since its value still grows.
//!
//! Null is no value. But for periods whose data has not arrived yet, which takes up to three minutes, Azure answers many
//! metrics with 0 instead, and later with another value for the same period. So a 0 counts only when its period ended a
//! while ago, and until then the newest value before it does: unknown is never 0. Such a metric needs a `max_age` longer
//! than that. Other values may still grow while their data arrives: a metric of which that is known is asked for with
//! the policy's `offset`, which moves `now`.

mod query;

use crate::Clock;
use crate::arm::{METRICS, Metric, MetricValue, MetricsAnswer, TimeSeries, time};
use crate::errors::{cut, nonsense};
use crate::wire::{Answer, Wire};
use contract::{BoxFuture, Metrics, Point, ProviderError, Timestamp};
use query::{Aggregation, Dimension, Query};
use std::collections::BTreeSet;
use std::time::Duration;

/// The permission that reading needs, as a custom role spells it.
pub const METRICS_PERMISSION: &str = "Microsoft.Insights/metrics/read";

const OPERATION: &str = "GetMetrics";
/// How far back a newest value is looked for; in periods, where that is longer.
const BACK: Duration = Duration::from_secs(15 * 60);
const BACK_PERIODS: i64 = 3;
/// A 0 counts when its period ended this long ago.
const ZERO_SETTLES: Duration = Duration::from_secs(3 * 60);
/// Most series of one query. Azure gives ten unless it is told, and does not say when it left some out.
const SERIES_MAX: usize = 500;
/// The largest answer; a query over minutes with that many series is a quarter of it.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// Whether a text is an Azure Monitor query; asks nobody.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub fn check_query(text: &str) -> Result<(), String> {
    Query::parse(text).map(|_| ())
}

/// The metrics of what one subscription's credentials may read.
pub(crate) struct AzureMonitor {
    wire: Wire,
    subscription: String,
    now: Clock,
}

impl AzureMonitor {
    pub fn new(wire: Wire, subscription: String, now: Clock) -> Self {
        Self { wire, subscription, now }
    }

    async fn answer(&self, text: &str, now: Timestamp) -> Result<Vec<Point>, ProviderError> {
        let query = Query::parse(text).map_err(|what| ProviderError::Invalid { what: what.into() })?;
        let (timespan, top) = (timespan(&query, now)?, (SERIES_MAX + 1).to_string());
        let filter = query.filter();
        let mut asked = vec![
            ("metricnames", query.metric.as_str()),
            ("aggregation", query.aggregation.asked()),
            ("interval", query.period.iso),
            ("timespan", timespan.as_str()),
        ];
        asked.extend(query.namespace.as_deref().map(|namespace| ("metricnamespace", namespace)));
        if let Some(filter) = &filter {
            asked.extend([("$filter", filter.as_str()), ("top", top.as_str())]);
        }
        let path = format!("{}/providers/Microsoft.Insights/metrics", query.resource.path(&self.subscription));
        let url = self.wire.url(&path, METRICS, &asked);
        let answer = self.wire.read(OPERATION, &url, self.wire.soon()).await?;
        // What has arrived is as of the real time, however old the values are that are asked for.
        let settled = (self.now)().max(now).before(ZERO_SETTLES);
        series(&query, &answer)?.iter().filter_map(|one| newest(&query, one, now, settled).transpose()).collect()
    }
}

impl Metrics for AzureMonitor {
    fn query<'a>(&'a self, query: &'a str, now: Timestamp) -> BoxFuture<'a, Result<Vec<Point>, ProviderError>> {
        Box::pin(self.answer(query, now))
    }
}

/// Whole periods, the last of which ends by now.
fn timespan(query: &Query, now: Timestamp) -> Result<String, ProviderError> {
    let (period, secs) = (i64::from(query.period.secs), now.0.div_euclid(1_000_000));
    let to = secs.div_euclid(period) * period;
    let back = i64::try_from(BACK.as_secs()).unwrap_or(i64::MAX).max(BACK_PERIODS * period);
    let from = (to - back).div_euclid(period) * period;
    let text = |secs: i64| {
        let at = azure_core::time::OffsetDateTime::from_unix_timestamp(secs);
        let at = at.map_err(|error| ProviderError::Invalid { what: format!("now is no time: {error}").into() });
        at.map(|at| azure_core::time::to_rfc3339(&at))
    };
    Ok(format!("{}/{}", text(from)?, text(to)?))
}

/// The series of the one metric that was asked for, each with its labels.
fn series(query: &Query, answer: &Answer) -> Result<Vec<(Labels, TimeSeries)>, ProviderError> {
    if answer.body().len() > ANSWER_MAX {
        return Err(unknown(&format!("the answer is larger than {ANSWER_MAX} bytes")));
    }
    let answer: MetricsAnswer = answer.json(OPERATION)?;
    let interval = answer.interval.as_deref().unwrap_or("none");
    // A value's time is the end of its period, so another period is another time.
    if !query.period.is(interval) {
        return Err(unknown(&format!("asked in periods of {}, answered in {}", query.period.iso, cut(interval, 20))));
    }
    let [metric] = <[Metric; 1]>::try_from(answer.value)
        .map_err(|metrics| unknown(&format!("asked for one metric, answered with {}", metrics.len())))?;
    whole(query, &metric)?;
    if metric.timeseries.len() > SERIES_MAX {
        let why = format!("more than {SERIES_MAX} series, so some may be left out: name fewer values of a dimension");
        return Err(unknown(&why));
    }
    let mut known = BTreeSet::new();
    metric
        .timeseries
        .into_iter()
        .map(|one| {
            let labels = labels(query, &one)?;
            if !known.insert(labels.clone()) {
                return Err(unknown("one series comes twice"));
            }
            Ok((labels, one))
        })
        .collect()
}

/// A metric can fail by itself in an answer that is a success.
fn whole(query: &Query, metric: &Metric) -> Result<(), ProviderError> {
    if !metric.name.value.eq_ignore_ascii_case(&query.metric) {
        return Err(unknown(&format!("asked for {query}, answered with {}", cut(&metric.name.value, 100))));
    }
    let code = metric.error_code.as_deref().unwrap_or("Success");
    let message = metric.error_message.as_deref().unwrap_or_default();
    let what = cut(&format!("{OPERATION}: {query}: {code}: {message}"), 300);
    match code {
        "Success" => Ok(()),
        "InvalidSamplingType" => Err(ProviderError::Invalid {
            what: format!("{what}; the metric has no {}, ask for another aggregation", query.aggregation.asked())
                .into(),
        }),
        "Unauthorized" | "Forbidden" | "AuthorizationFailed" => {
            Err(ProviderError::Denied { what: format!("{what}; allow {METRICS_PERMISSION}").into() })
        }
        "Throttled" | "TooManyRequests" => Err(ProviderError::Throttled { retry_after: None }),
        _ => Err(nonsense(what)),
    }
}

type Labels = Box<[(Box<str>, Box<str>)]>;

/// The dimensions of a series, by the names that the query has for them.
fn labels(query: &Query, series: &TimeSeries) -> Result<Labels, ProviderError> {
    let given = series.metadatavalues.as_deref().unwrap_or_default();
    let label = |dimension: &Dimension| {
        let is_it = |one: &&crate::arm::Metadata| one.name.value.eq_ignore_ascii_case(&dimension.name);
        let given = given.iter().find(is_it).map(|one| one.value.as_str());
        let value = match (given, dimension.value.as_deref()) {
            (Some(given), Some(asked)) if !given.eq_ignore_ascii_case(asked) => {
                let other = format!("asked for {}=\"{asked}\", answered with \"{}\"", dimension.name, cut(given, 100));
                return Err(unknown(&other));
            }
            // As it was asked for: a policy's `select` compares exactly.
            (_, Some(asked)) => asked,
            (Some(given), None) => given,
            (None, None) => return Err(unknown(&format!("a series does not say its {}", dimension.name))),
        };
        Ok((dimension.name.as_str().into(), value.into()))
    };
    query.dimensions.iter().map(label).collect()
}

/// The value of the newest period that has ended and has one.
fn newest(
    query: &Query,
    (labels, series): &(Labels, TimeSeries),
    now: Timestamp,
    settled: Timestamp,
) -> Result<Option<Point>, ProviderError> {
    let period = Duration::from_secs(query.period.secs.into());
    let mut begins = BTreeSet::new();
    let mut newest: Option<(Timestamp, f64)> = None;
    for one in &series.data {
        let begin = time(Some(&one.time_stamp))
            .ok_or_else(|| unknown(&format!("`{}` is no time", cut(&one.time_stamp, 40))))?;
        if !begins.insert(begin) {
            return Err(unknown("one period has two values"));
        }
        let end = begin.after(period);
        let Some(value) = value(query, one).filter(|_| end <= now) else { continue };
        if (value != 0.0 || end <= settled) && newest.is_none_or(|(known, _)| known < end) {
            newest = Some((end, value));
        }
    }
    Ok(newest.map(|(at, value)| Point { labels: labels.clone(), value, at }))
}

fn value(query: &Query, one: &MetricValue) -> Option<f64> {
    match query.aggregation {
        Aggregation::Average => one.average,
        Aggregation::Total => one.total,
        Aggregation::Minimum => one.minimum,
        Aggregation::Maximum => one.maximum,
        Aggregation::Count => one.count,
        Aggregation::Rate => one.total.map(|total| total / f64::from(query.period.secs)),
    }
}

/// A read without a usable answer.
fn unknown(why: &str) -> ProviderError {
    nonsense(format!("{OPERATION}: {why}"))
}
