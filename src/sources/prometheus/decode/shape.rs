//! The answer's JSON, straight into series: no tree of values in between. Only what an answer can look like is read;
//! everything else is an error of serde's, with its line and column.

use super::{SERIES_MAX, Series};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

#[derive(Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub(super) status: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) data: Option<Answered<'a>>,
    #[serde(rename = "errorType", borrow)]
    pub(super) error_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) error: Option<Cow<'a, str>>,
    // Prometheus since 2.4, Thanos and Mimir; `infos` of Prometheus 3 are advice on style and not read.
    pub(super) warnings: Option<Vec<String>>,
    // VictoriaMetrics' clusters.
    #[serde(rename = "isPartial")]
    pub(super) is_partial: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct Answered<'a> {
    #[serde(rename = "resultType", borrow)]
    pub(super) result_type: Cow<'a, str>,
    pub(super) result: Outcome,
}

/// What stands in `result`, told apart by its own shape, since its type may be named after it.
pub(super) enum Outcome {
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
pub(super) struct Number(pub(super) Option<f64>);

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
