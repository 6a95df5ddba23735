//! `projects.timeSeries.list` of the Monitoring API v3 on the wire: a question's parameters out, a page in. Fields that the
//! API leaves out are empty ones, as protocol buffers' JSON has it; a value of a kind that is not known here is an error.

use super::query::Query;
use contract::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The fields of a page; a document with none of them, and others, is no page.
const FIELDS: [&str; 5] = ["timeSeries", "nextPageToken", "executionErrors", "unreachable", "unit"];

/// The parameters that ask for values of a query's periods after `from` and up to `to`, in seconds since the epoch.
pub(super) fn parameters(
    query: &Query,
    (from, to): (i64, i64),
    page: usize,
    token: Option<&str>,
) -> Vec<(&'static str, String)> {
    let time = |secs: i64| jiff::Timestamp::from_second(secs).map(|at| at.to_string()).unwrap_or_default();
    let mut parameters = vec![
        ("filter", query.filter()),
        ("interval.startTime", time(from)),
        ("interval.endTime", time(to)),
        ("aggregation.alignmentPeriod", format!("{}s", query.period)),
        ("aggregation.perSeriesAligner", query.aligner.clone()),
    ];
    if let Some(reducer) = &query.reducer {
        parameters.push(("aggregation.crossSeriesReducer", reducer.word.clone()));
        parameters.extend(reducer.by.iter().map(|field| ("aggregation.groupByFields", field.to_string())));
    }
    parameters.extend([("view", "FULL".to_owned()), ("pageSize", page.to_string())]);
    parameters.extend(token.map(|token| ("pageToken", token.to_owned())));
    parameters
}

/// One page of an answer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Page {
    pub time_series: Vec<Series>,
    pub next_page_token: Option<String>,
    /// What went wrong in making it: something may be missing.
    pub execution_errors: Vec<Status>,
    /// Regions that were not asked.
    pub unreachable: Vec<String>,
}

impl Page {
    /// Reads a body.
    pub fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        let map: Map<String, Value> = serde_json::from_slice(body)?;
        if !map.is_empty() && !map.keys().any(|key| FIELDS.contains(&key.as_str())) {
            return Err(serde::de::Error::custom("it is no list of time series"));
        }
        serde_json::from_value(Value::Object(map))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Series {
    pub metric: Kind,
    pub resource: Kind,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub value_type: Option<String>,
    #[serde(default)]
    pub points: Vec<Sample>,
}

/// A metric or a resource: its type and labels.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Kind {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// What is known of a resource beside its labels, as far as the query named it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    pub user_labels: BTreeMap<String, String>,
    pub system_labels: BTreeMap<String, Value>,
}

/// A value of one period.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Sample {
    interval: Interval,
    value: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Interval {
    end_time: String,
}

impl Series {
    /// What tells it from the other series of an answer. A label of the metric keeps its name; one of the resource or its
    /// metadata that is called the same is `resource_NAME`, `user_NAME` or `system_NAME`.
    pub fn labels(&self) -> Box<[(Box<str>, Box<str>)]> {
        let mut labels = self.metric.labels.clone();
        let mut add = |of: &str, name: &String, value: &str| {
            let name = if labels.contains_key(name) { format!("{of}_{name}") } else { name.clone() };
            labels.insert(name, value.to_owned());
        };
        self.resource.labels.iter().for_each(|(name, value)| add("resource", name, value));
        self.metadata.user_labels.iter().for_each(|(name, value)| add("user", name, value));
        for (name, value) in &self.metadata.system_labels {
            match value {
                Value::String(text) => add("system", name, text),
                other => add("system", name, &other.to_string()),
            }
        }
        labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
    }
}

impl Sample {
    /// The end of its period.
    pub fn end(&self) -> Option<Timestamp> {
        let at: jiff::Timestamp = self.interval.end_time.parse().ok()?;
        Some(Timestamp(at.as_microsecond()))
    }

    /// Its value, as a series with this type of values has it; else why there is none.
    pub fn value(&self, kind: Option<&str>) -> Result<f64, String> {
        let mut fields = self.value.iter();
        let (Some((field, value)), None) = (fields.next(), fields.next()) else {
            return Err("a value that is not one".into());
        };
        let (is, number) = match (field.as_str(), value) {
            ("doubleValue", Value::Number(number)) => ("DOUBLE", number.as_f64()),
            // JSON has no words for what is no number; the API writes them as text.
            ("doubleValue", Value::String(word)) => ("DOUBLE", not_finite(word)),
            ("int64Value", Value::String(text)) => ("INT64", text.parse::<i64>().ok().map(|whole| whole as f64)),
            ("int64Value", Value::Number(number)) => ("INT64", number.as_i64().map(|whole| whole as f64)),
            ("distributionValue", _) => return Err("values are distributions: align with percentile_99".into()),
            ("boolValue", _) => return Err("values are true and false: align with count_true or fraction_true".into()),
            ("stringValue", _) => return Err("values are texts, which are no readings".into()),
            (other, _) => return Err(format!("a value of an unknown kind (`{other}`)")),
        };
        if kind.is_some_and(|kind| kind != is) {
            return Err(format!("a value is {is} in a series of {}", kind.unwrap_or_default()));
        }
        number.ok_or_else(|| format!("`{value}` is no {is}"))
    }
}

fn not_finite(word: &str) -> Option<f64> {
    match word {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}
