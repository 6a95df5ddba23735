//! Azure Monitor's metrics, made of samples that a test sets: summed up in periods, split by the dimensions that a filter
//! names and added up over the others. As at Azure, a filter gives ten series unless it says `top`, a dimension's name comes
//! back in lower case, and a period without samples has no value or, for some metrics, the value 0.

use super::{Azure, LOCATION};
use crate::azure::refusals::error;
use crate::request::{Reply, Request};
use contract::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Series of a filter that does not say how many it wants.
const TOP: usize = 10;
const AGGREGATIONS: [&str; 5] = ["average", "count", "maximum", "minimum", "total"];

/// Samples of one metric with one value of each of its dimensions.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// The resource's ARM id.
    pub resource: String,
    /// The metric's name.
    pub metric: String,
    /// Its unit, in Azure's word.
    pub unit: String,
    /// Its dimensions and their values.
    pub dimensions: Vec<(String, String)>,
    /// When it was measured, and what.
    pub samples: Vec<(Timestamp, f64)>,
    /// Whether a period without samples is answered with 0.
    pub zeroes: bool,
}

/// The metrics of everything; clones share them.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Vec<Series>>>);

impl Metrics {
    /// Adds a series.
    pub fn put(&self, series: Series) {
        self.lock().push(series);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Series>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is asked.
struct Asked {
    aggregations: Vec<String>,
    period: i64,
    interval: String,
    from: i64,
    to: i64,
    /// Dimensions and their value; `*` is each.
    filter: Vec<(String, String)>,
    top: usize,
}

impl Azure {
    /// Answers for the resource of this path.
    pub(super) fn list_metrics(&self, request: &Request, resource: &str) -> Reply {
        let all = self.metrics.lock();
        let of_resource: Vec<&Series> =
            all.iter().filter(|series| series.resource.eq_ignore_ascii_case(resource)).collect();
        if of_resource.is_empty() {
            return error(404, "ResourceNotFound", &format!("The Resource '{resource}' was not found."));
        }
        let asked = match Asked::of(request) {
            Ok(asked) => asked,
            Err(what) => return bad(&what),
        };
        let mut value = Vec::new();
        for name in request.param("metricnames").unwrap_or_default().split(',') {
            let of_metric: Vec<&Series> =
                of_resource.iter().copied().filter(|series| series.metric.eq_ignore_ascii_case(name)).collect();
            let Some(first) = of_metric.first() else {
                return bad(&format!("Failed to find metric configuration for metric: {name}"));
            };
            if let Some((dimension, _)) = asked.filter.iter().find(|(key, _)| dimension(first, key).is_none()) {
                return bad(&format!("Metric {name} does not support requested dimension combination: {dimension}"));
            }
            value.push(json!({
                "id": format!("{}/providers/Microsoft.Insights/metrics/{}", first.resource, first.metric),
                "type": "Microsoft.Insights/metrics",
                "name": { "value": first.metric, "localizedValue": first.metric },
                "displayDescription": format!("{} of the resource", first.metric),
                "unit": first.unit,
                "timeseries": asked.timeseries(&of_metric),
                "errorCode": "Success",
            }));
        }
        let types = resource.split("/providers/").last().unwrap_or_default();
        let kept = types.split('/').enumerate().filter(|(index, _)| *index == 0 || index % 2 == 1);
        let namespace: Vec<&str> = kept.map(|(_, part)| part).collect();
        Reply::json(
            200,
            &json!({
                "cost": 59,
                "timespan": format!("{}/{}", date(asked.from), date(asked.to)),
                "interval": asked.interval,
                "value": value,
                "namespace": request.param("metricnamespace").unwrap_or(&namespace.join("/")),
                "resourceregion": LOCATION,
            }),
        )
    }
}

impl Asked {
    fn of(request: &Request) -> Result<Self, String> {
        let param = |name: &str| request.param(name).ok_or_else(|| format!("{name} is missing"));
        let aggregations: Vec<String> =
            param("aggregation")?.split(',').map(|word| word.trim().to_ascii_lowercase()).collect();
        if let Some(other) = aggregations.iter().find(|word| !AGGREGATIONS.contains(&word.as_str())) {
            return Err(format!("Detected invalid aggregation input: {other}"));
        }
        let interval = param("interval")?.to_owned();
        let period = match interval.as_str() {
            "PT1M" => 60,
            "PT5M" => 300,
            "PT15M" => 900,
            "PT30M" => 1_800,
            "PT1H" => 3_600,
            "PT6H" => 21_600,
            "PT12H" => 43_200,
            "P1D" => 86_400,
            other => return Err(format!("Detected invalid time grain input: {other}")),
        };
        let timespan = param("timespan")?;
        let instant = |text: &str| text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second);
        let ends = timespan.split_once('/').map(|(from, to)| (instant(from), instant(to)));
        let Some((Ok(from), Ok(to))) = ends else { return Err(format!("timespan {timespan} is invalid")) };
        let filter = request.param("$filter").map(conditions).transpose()?.unwrap_or_default();
        let top = request.param("top").map(str::parse).transpose().map_err(|_| "top is no number")?;
        if top.is_some() && filter.is_empty() {
            return Err("top is for a filter alone".into());
        }
        Ok(Self { aggregations, period, interval, from, to, filter, top: top.unwrap_or(TOP) })
    }

    /// The series that match, by the values of the dimensions that are named.
    fn timeseries(&self, all: &[&Series]) -> Vec<Value> {
        let mut split: BTreeMap<Vec<(String, String)>, Vec<&Series>> = BTreeMap::new();
        for series in all {
            let of = |(key, wanted): &(String, String)| {
                let value = dimension(series, key)?;
                let matches = wanted == "*" || value.eq_ignore_ascii_case(wanted);
                matches.then(|| (key.to_ascii_lowercase(), value.to_owned()))
            };
            if let Some(key) = self.filter.iter().map(of).collect::<Option<Vec<_>>>() {
                split.entry(key).or_default().push(series);
            }
        }
        let one = |(dimensions, of): (Vec<(String, String)>, Vec<&Series>)| {
            let value = |(name, value): &(String, String)| json!({ "name": { "value": name, "localizedValue": name }, "value": value });
            let metadata: Vec<Value> = dimensions.iter().map(value).collect();
            let begins = (0..).map(|n| self.from + n * self.period).take_while(|begin| *begin < self.to);
            let data: Vec<Value> = begins.map(|begin| self.point(&of, begin)).collect();
            json!({ "metadatavalues": metadata, "data": data })
        };
        split.into_iter().take(self.top).map(one).collect()
    }

    fn point(&self, of: &[&Series], begin: i64) -> Value {
        let within = |at: Timestamp| (begin..begin + self.period).contains(&at.0.div_euclid(1_000_000));
        let samples: Vec<f64> = of
            .iter()
            .flat_map(|series| &series.samples)
            .filter(|(at, _)| within(*at))
            .map(|(_, value)| *value)
            .collect();
        let total: f64 = samples.iter().sum();
        let zeroes = of.iter().any(|series| series.zeroes);
        let mut point = Map::from_iter([("timeStamp".to_owned(), date(begin).into())]);
        for word in &self.aggregations {
            let value = match (samples.is_empty(), word.as_str()) {
                (true, _) if zeroes => Some(0.0),
                (true, _) => None,
                (_, "count") => Some(samples.len() as f64),
                (_, "total") => Some(total),
                (_, "average") => Some(total / samples.len() as f64),
                (_, "minimum") => samples.iter().copied().reduce(f64::min),
                _ => samples.iter().copied().reduce(f64::max),
            };
            point.extend(value.map(|value| (word.clone(), value.into())));
        }
        point.into()
    }
}

fn dimension<'a>(series: &'a Series, key: &str) -> Option<&'a str> {
    let found = series.dimensions.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
    found.map(|(_, value)| value.as_str())
}

/// `A eq 'a' and B eq '*'`.
fn conditions(text: &str) -> Result<Vec<(String, String)>, String> {
    let wrong = || format!("The filter {text} is invalid");
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let (key, after) = rest.split_once(" eq '").ok_or_else(wrong)?;
        let mut value = String::new();
        let mut chars = after.char_indices().peekable();
        let end = loop {
            match chars.next() {
                Some((_, '\'')) if chars.next_if(|(_, next)| *next == '\'').is_some() => value.push('\''),
                Some((at, '\'')) => break at + 1,
                Some((_, c)) => value.push(c),
                None => return Err(wrong()),
            }
        };
        found.push((key.trim().to_owned(), value));
        match (&after[end..], after[end..].strip_prefix(" and ")) {
            ("", _) => return Ok(found),
            (_, Some(more)) => rest = more,
            _ => return Err(wrong()),
        }
    }
}

/// Azure Monitor's errors stand alone, without ARM's `error` around them.
fn bad(message: &str) -> Reply {
    Reply::json(400, &json!({ "code": "BadRequest", "message": message }))
}

fn date(secs: i64) -> String {
    jiff::Timestamp::from_second(secs).map(|at| at.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_taken_apart() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let read = conditions("A eq 'it''s' and b/c eq '*'");
        assert_eq!(read, Ok(vec![pair("A", "it's"), pair("b/c", "*")]));
        for text in ["", "A", "A eq b", "A eq 'b", "A eq 'b' or C eq 'd'"] {
            assert!(conditions(text).is_err(), "{text}");
        }
    }
}
