//! Reads an answer of the Prometheus HTTP API: text in, series or the reason why there are none out. It judges no
//! value: NaN and infinities pass as they are. Anything that is not exactly an answer is refused, never guessed at.

use policies::facts::MissingWhy;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// More series than any sensible fleet metric has; beyond it a query is taken for a mistake.
pub(super) const SERIES_MAX: usize = 50_000;

/// Why a request gave no series, with the details for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The reason that the core sees.
    pub why: MissingWhy,
    /// What exactly happened, and what would be right.
    pub detail: String,
}

impl Failure {
    pub(super) fn new(why: MissingWhy, detail: impl Into<String>) -> Self {
        Self { why, detail: detail.into() }
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(MissingWhy::Other("malformed_answer".into()), detail)
    }
}

/// One series as it came: labels sorted by name, without the metric's name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub labels: Box<[(Box<str>, Box<str>)]>,
    pub value: f64,
}

/// A successful answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decoded {
    /// An instant vector.
    Vector(Vec<Series>),
    /// A scalar.
    Scalar(f64),
}

/// Reads the answer to an instant query.
pub(super) fn decode(text: &str) -> Result<Decoded, Failure> {
    let envelope = serde_json::from_str::<Envelope<'_>>(text)
        .map_err(|error| Failure::malformed(format!("not an answer of the Prometheus HTTP API: {error}")))?;
    if envelope.status != "success" {
        return Err(refusal_of(&envelope));
    }
    let warnings = envelope.warnings.unwrap_or_default();
    if let Some(first) = warnings.first() {
        return Err(Failure::new(MissingWhy::Partial, format!("the source warns: {first}")));
    }
    if envelope.is_partial.unwrap_or(false) {
        return Err(Failure::new(MissingWhy::Partial, "the source says that some of its storages did not answer"));
    }
    let Some(data) = envelope.data else {
        return Err(Failure::malformed("a success without data"));
    };
    match (&*data.result_type, data.result) {
        ("vector", Outcome::Vector(series)) => Ok(Decoded::Vector(series)),
        ("scalar", Outcome::Pair(Number(Some(value)))) => Ok(Decoded::Scalar(value)),
        ("vector", Outcome::TooMany) => {
            Err(Failure::new(MissingWhy::Refused, format!("more than {SERIES_MAX} series: aggregate in the query")))
        }
        ("vector", Outcome::Histograms) => Err(wrong_shape("native histograms", "histogram_quantile(...) or similar")),
        ("matrix", Outcome::Ranges | Outcome::TooMany | Outcome::Vector(_)) => {
            Err(wrong_shape("a range of samples", "an aggregation over it, like rate(x[1m])"))
        }
        ("string", Outcome::Pair(_)) => Err(wrong_shape("a string", "a number")),
        (kind, _) => Err(Failure::malformed(format!("resultType {kind:?} does not fit its result"))),
    }
}

fn wrong_shape(got: &str, right: &str) -> Failure {
    Failure::new(MissingWhy::WrongShape, format!("the query answers with {got}; right would be {right}"))
}

/// Reads the answer that came with a status other than success; its text may be a proxy's.
pub(super) fn decode_refusal(status: u16, text: &str) -> Failure {
    match serde_json::from_str::<Envelope<'_>>(text) {
        Ok(envelope) if envelope.error_type.is_some() => refusal_of(&envelope),
        _ => Failure::new(why_of_status(status), format!("answered with status {status}: {}", shown(text))),
    }
}

fn why_of_status(status: u16) -> MissingWhy {
    match status {
        408 | 504 => MissingWhy::Timeout,
        502 | 503 => MissingWhy::Unreachable,
        400..=499 => MissingWhy::Refused,
        _ => MissingWhy::Other("server_error".into()),
    }
}

fn refusal_of(envelope: &Envelope<'_>) -> Failure {
    let kind = envelope.error_type.as_deref().unwrap_or_default();
    let text = envelope.error.as_deref().unwrap_or_default();
    let why = match kind {
        "timeout" | "canceled" => MissingWhy::Timeout,
        "unavailable" => MissingWhy::Unreachable,
        "bad_data" | "execution" | "not_found" | "not_acceptable" => MissingWhy::Refused,
        "" => return Failure::malformed(format!("status {:?} without an errorType", shown(&envelope.status))),
        _ => MissingWhy::Other("server_error".into()),
    };
    Failure::new(why, format!("{}: {}", shown(kind), shown(text)))
}

/// The beginning of a foreign text, on one line.
pub(super) fn shown(text: &str) -> String {
    text.trim().chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<Answered<'a>>,
    #[serde(rename = "errorType", borrow)]
    error_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
    // Prometheus since 2.4, Thanos and Mimir; `infos` of Prometheus 3 are advice on style and not read.
    warnings: Option<Vec<String>>,
    // VictoriaMetrics' clusters.
    #[serde(rename = "isPartial")]
    is_partial: Option<bool>,
}

#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(rename = "resultType", borrow)]
    result_type: Cow<'a, str>,
    result: Outcome,
}

/// What stands in `result`, told apart by its own shape, since its type may be named after it.
enum Outcome {
    Vector(Vec<Series>),
    TooMany,
    Histograms,
    Ranges,
    Pair(Number),
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OutcomeVisitor;
        impl<'de> Visitor<'de> for OutcomeVisitor {
            type Value = Outcome;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of series, or a time and a value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Outcome, A::Error> {
                let mut series = Vec::new();
                let mut odd = None;
                while let Some(item) = seq.next_element::<Item>()? {
                    match item {
                        Item::Time if series.is_empty() && odd.is_none() => return pair(seq),
                        Item::Time => return Err(A::Error::custom("a number among series")),
                        Item::Histogram => odd = Some(Outcome::Histograms),
                        Item::Range => odd = Some(Outcome::Ranges),
                        Item::Point(_) if series.len() == SERIES_MAX => {
                            // The rest must still be read, or the answer would look cut off.
                            while seq.next_element::<IgnoredAny>()?.is_some() {}
                            return Ok(Outcome::TooMany);
                        }
                        Item::Point(point) => series.push(point),
                    }
                }
                Ok(odd.unwrap_or(Outcome::Vector(series)))
            }
        }
        deserializer.deserialize_seq(OutcomeVisitor)
    }
}

fn pair<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Outcome, A::Error> {
    let value = seq.next_element::<Number>()?.ok_or_else(|| A::Error::custom("a time without a value"))?;
    match seq.next_element::<IgnoredAny>()? {
        None => Ok(Outcome::Pair(value)),
        Some(_) => Err(A::Error::custom("more than a time and a value")),
    }
}

/// One element of `result`: a series, or the first half of a time and a value.
enum Item {
    Point(Series),
    Histogram,
    Range,
    Time,
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemVisitor;
        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a series or a time")
            }

            fn visit_f64<E>(self, _: f64) -> Result<Item, E> {
                Ok(Item::Time)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Item, E> {
                Ok(Item::Time)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Item, E> {
                Ok(Item::Time)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Item, A::Error> {
                let raw = RawSeries::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                match (raw.value, raw.values.is_some() || raw.histograms.is_some(), raw.histogram.is_some()) {
                    (Some((Time, Number(Some(value)))), false, false) => {
                        Ok(Item::Point(Series { labels: raw.metric.0, value }))
                    }
                    (Some((_, Number(None))), ..) => Err(A::Error::custom("a value that is not a number")),
                    (None, true, false) => Ok(Item::Range),
                    (None, false, true) => Ok(Item::Histogram),
                    _ => Err(A::Error::custom("a series without one value")),
                }
            }
        }
        deserializer.deserialize_any(ItemVisitor)
    }
}

#[derive(Deserialize)]
struct RawSeries {
    metric: Labels,
    value: Option<(Time, Number)>,
    values: Option<IgnoredAny>,
    histogram: Option<IgnoredAny>,
    histograms: Option<IgnoredAny>,
}

/// The evaluation's time, which is not the sample's: only checked to be a number.
struct Time;

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(|_| Time)
    }
}

/// A value: a number written as text, since JSON has no NaN. `None`: a text that is no number.
struct Number(Option<f64>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl Visitor<'_> for NumberVisitor {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value as text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Number, E> {
                Ok(Number(text.parse().ok()))
            }
        }
        deserializer.deserialize_str(NumberVisitor)
    }
}

/// A series' labels, sorted by name, without the metric's name.
struct Labels(Box<[(Box<str>, Box<str>)]>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LabelsVisitor;
        impl<'de> Visitor<'de> for LabelsVisitor {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels and their values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut labels: Vec<(Box<str>, Box<str>)> = Vec::with_capacity(map.size_hint().unwrap_or(0));
                while let Some((name, value)) = map.next_entry::<Box<str>, Box<str>>()? {
                    if &*name != "__name__" {
                        labels.push((name, value));
                    }
                }
                labels.sort_unstable();
                if labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                    return Err(A::Error::custom("a label twice in one series"));
                }
                Ok(Labels(labels.into_boxed_slice()))
            }
        }
        deserializer.deserialize_map(LabelsVisitor)
    }
}

#[cfg(test)]
mod tests;
