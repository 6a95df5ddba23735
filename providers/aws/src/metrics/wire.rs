//! CloudWatch's calls on the wire: JSON out, JSON in (`awsJson1_0`). Nothing is filled up with defaults: an answer that lacks
//! something is no answer.

use super::query::Query;
use serde::{Deserialize, Serialize};

/// What the calls' names begin with in the header `x-amz-target`.
pub(super) const TARGET: &str = "GraniteServiceVersion20100801";
/// The query's name within its own request.
pub(super) const ID: &str = "q";

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'a> {
    metric_data_queries: [DataQuery<'a>; 1],
    /// Seconds since the epoch, inclusive.
    start_time: i64,
    /// Exclusive.
    end_time: i64,
    scan_by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DataQuery<'a> {
    id: &'static str,
    metric_stat: MetricStat<'a>,
    return_data: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct MetricStat<'a> {
    metric: Metric<'a>,
    period: u32,
    stat: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metric<'a> {
    namespace: &'a str,
    metric_name: &'a str,
    dimensions: Vec<Dimension<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Dimension<'a> {
    name: &'a str,
    value: &'a str,
}

impl<'a> Request<'a> {
    /// Asks for the values of periods that begin from `from` on and before `to`.
    pub fn new(query: &'a Query, from: i64, to: i64, next_token: Option<&'a str>) -> Self {
        let dimension = |(name, value): &'a (String, String)| Dimension { name, value };
        let metric = Metric {
            namespace: &query.namespace,
            metric_name: &query.metric,
            dimensions: query.dimensions.iter().map(dimension).collect(),
        };
        let metric_stat = MetricStat { metric, period: query.period, stat: query.statistic.asked() };
        Self {
            metric_data_queries: [DataQuery { id: ID, metric_stat, return_data: true }],
            start_time: from,
            end_time: to,
            scan_by: "TimestampDescending",
            next_token,
        }
    }
}

/// One page of an answer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Page {
    pub metric_data_results: Vec<DataResult>,
    #[serde(default)]
    pub next_token: Option<String>,
    /// What was not done of the request.
    #[serde(default)]
    pub messages: Option<Vec<Message>>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DataResult {
    pub id: String,
    pub timestamps: Vec<f64>,
    pub values: Vec<Number>,
    pub status_code: String,
    #[serde(default)]
    pub messages: Option<Vec<Message>>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Message {
    #[serde(default)]
    pub code: String,
    #[serde(default)]
    pub value: String,
}

/// JSON has no words for what is no number; the protocol writes them as text.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum Number {
    Plain(f64),
    Word(Word),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Word {
    #[serde(rename = "NaN")]
    NotANumber,
    Infinity,
    #[serde(rename = "-Infinity")]
    MinusInfinity,
}

impl Number {
    pub fn value(&self) -> f64 {
        match self {
            Number::Plain(value) => *value,
            Number::Word(Word::NotANumber) => f64::NAN,
            Number::Word(Word::Infinity) => f64::INFINITY,
            Number::Word(Word::MinusInfinity) => f64::NEG_INFINITY,
        }
    }
}
