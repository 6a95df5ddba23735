//! The language of Cloud Monitoring queries: one metric, what its series must be, and how they are made one value.
//!
//! `METRIC{FIELD="value", ...} ALIGNER PERIOD [REDUCER [by FIELD, ...]]`, for example
//! `pubsub.googleapis.com/subscription/num_undelivered_messages{resource.labels.subscription_id="jobs"} max 1m` or
//! `loadbalancing.googleapis.com/https/request_count rate 1m sum by resource.labels.backend_target_name`.
//!
//! A field is `resource.type`, or a label: `metric.labels.NAME`, `resource.labels.NAME`, `metadata.user_labels.NAME`,
//! `metadata.system_labels.NAME`; a name with other signs than letters, digits and `_` stands in double quotes. It is
//! compared with `=`, `!=` or `=~` (a regular expression, RE2's, for the whole value); in a value `\"` and `\\` stand for a
//! quote and a backslash. Aligner and reducer are Google's words in small letters: `ALIGN_RATE` is `rate`, `REDUCE_SUM` is
//! `sum`. An aligner makes one value of each series and period: `delta`, `rate`, `min`, `max`, `mean`, `count`, `sum`,
//! `stddev`, `count_true`, `count_false`, `fraction_true`, `percentile_99`, `percentile_95`, `percentile_50`,
//! `percentile_05`. `interpolate` and `next_older` give a period without data a value, so they are not taken. A reducer
//! (the same words without `delta` and `rate`) makes one series of all that are alike in the fields after `by`. The period
//! is whole minutes up to `1d`.

use std::fmt;

/// A query, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub metric: String,
    conditions: Vec<Condition>,
    /// As Google calls it.
    pub aligner: String,
    /// Seconds.
    pub period: u32,
    pub reducer: Option<Reducer>,
}

/// How series become fewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reducer {
    /// As Google calls it.
    pub word: String,
    /// The fields in which the series of one result are alike.
    pub by: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    field: Field,
    comparison: Comparison,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Is,
    IsNot,
    Matches,
}

/// A field of a series: what a label is of, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    of: &'static str,
    name: String,
}

const TYPE: &str = "resource.type";
const LABELS: [&str; 4] = ["metric.labels.", "resource.labels.", "metadata.user_labels.", "metadata.system_labels."];
const FIELDS: &str = "a field is resource.type, metric.labels.NAME, resource.labels.NAME, metadata.user_labels.NAME or \
                      metadata.system_labels.NAME";

/// What both aligners and reducers do.
const BOTH: [&str; 13] = [
    "min",
    "max",
    "mean",
    "count",
    "sum",
    "stddev",
    "count_true",
    "count_false",
    "fraction_true",
    "percentile_99",
    "percentile_95",
    "percentile_50",
    "percentile_05",
];
const ALIGNERS_ALONE: [&str; 2] = ["delta", "rate"];
const INVENTING: [&str; 2] = ["interpolate", "next_older"];

/// Longer names and more conditions than anything has.
const NAME_MAX: usize = 256;
const VALUE_MAX: usize = 1024;
const CONDITIONS_MAX: usize = 32;
const DAY_SECS: u32 = 86_400;

impl Query {
    /// Reads a query's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (metric, rest) = metric(text.trim())?;
        let (conditions, rest) = match rest.trim_start().strip_prefix('{') {
            None => (Vec::new(), rest),
            Some(rest) => conditions(rest)?,
        };
        let (aligner, rest) = word(rest);
        let (period, rest) = word(rest);
        if aligner.is_empty() || period.is_empty() {
            return Err("after the metric an aligner and a period must stand, as in `mean 1m` or `rate 5m`".into());
        }
        let (aligner, period) = (aligned(aligner)?, seconds(period)?);
        let reducer = match word(rest) {
            ("", _) => None,
            (reducer, rest) => Some(reduced(reducer, rest)?),
        };
        Ok(Self { metric: metric.to_owned(), conditions, aligner, period, reducer })
    }

    /// The query's part that Cloud Monitoring calls a filter.
    pub fn filter(&self) -> String {
        let mut filter = format!("metric.type = {}", quoted(&self.metric));
        for Condition { field, comparison, value } in &self.conditions {
            let value = quoted(value);
            filter += &match comparison {
                Comparison::Is => format!(" AND {field} = {value}"),
                Comparison::IsNot => format!(" AND {field} != {value}"),
                Comparison::Matches => format!(" AND {field} = monitoring.regex.full_match({value})"),
            };
        }
        filter
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self.name.chars().all(is_plain);
        if plain { write!(f, "{}{}", self.of, self.name) } else { write!(f, "{}\"{}\"", self.of, self.name) }
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The metric's type that a text begins with, and the rest.
fn metric(text: &str) -> Result<(&str, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"._/:-".contains(c)).unwrap_or(text.len());
    let (metric, rest) = text.split_at(end);
    let is_type = metric.split_once('/').is_some_and(|(domain, path)| domain.contains('.') && !path.is_empty());
    if !is_type || metric.len() > NAME_MAX {
        return Err(format!(
            "it must begin with a metric's type, as in pubsub.googleapis.com/subscription/num_undelivered_messages\
             {{resource.labels.subscription_id=\"jobs\"}} max 1m, not with `{}`",
            metric.chars().take(40).collect::<String>()
        ));
    }
    Ok((metric, rest))
}

/// A field that a text begins with, and the rest.
fn field(text: &str) -> Result<(Field, &str), String> {
    let text = text.trim_start();
    if let Some(rest) = text.strip_prefix(TYPE)
        && !rest.starts_with(is_plain)
    {
        return Ok((Field { of: TYPE, name: String::new() }, rest));
    }
    let found = LABELS.into_iter().find_map(|of| Some((of, text.strip_prefix(of)?)));
    let (of, rest) = found.ok_or_else(|| {
        let shown: String = text.chars().take_while(|c| !c.is_whitespace() && !"=!,}".contains(*c)).take(40).collect();
        format!("`{shown}` is no field; {FIELDS}")
    })?;
    let (name, rest) = match rest.strip_prefix('"') {
        Some(rest) => rest.split_once('"').ok_or("a quote is not closed")?,
        None => rest.split_at(rest.find(|c| !is_plain(c)).unwrap_or(rest.len())),
    };
    let sign = |c: char| is_plain(c) || "./-".contains(c);
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(sign) {
        return Err(format!(
            "after `{of}` a label's name must stand, of letters, digits and _, in double quotes also ./-"
        ));
    }
    Ok((Field { of, name: name.to_owned() }, rest))
}

type Conditions<'t> = (Vec<Condition>, &'t str);

fn conditions(mut rest: &str) -> Result<Conditions<'_>, String> {
    let mut found: Vec<Condition> = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((found, rest));
        }
        if found.len() == CONDITIONS_MAX {
            return Err(format!("there are more than {CONDITIONS_MAX} conditions"));
        }
        let (field, after) = field(rest)?;
        let after = after.trim_start();
        let signs = [("=~", Comparison::Matches), ("!=", Comparison::IsNot), ("=", Comparison::Is)];
        let compared = signs.into_iter().find_map(|(sign, comparison)| Some((comparison, after.strip_prefix(sign)?)));
        let (comparison, after) = compared.ok_or_else(|| format!("after `{field}` one of = != =~ must stand"))?;
        let after = after.trim_start().strip_prefix('"');
        let (value, after) =
            contract::quoted(after.ok_or_else(|| format!("the value of `{field}` must stand in double quotes"))?)?;
        if value.len() > VALUE_MAX || value.chars().any(char::is_control) {
            return Err(format!("the value of `{field}` must be at most {VALUE_MAX} bytes without control characters"));
        }
        if comparison == Comparison::Is && found.iter().any(|one| one.field == field && one.comparison == comparison) {
            return Err(format!("`{field}` has two values"));
        }
        found.push(Condition { field, comparison, value });
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return Err("the conditions are not closed".into()),
        }
    }
}

/// The word that a text begins with, and the rest.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

fn aligned(word: &str) -> Result<String, String> {
    if BOTH.contains(&word) || ALIGNERS_ALONE.contains(&word) {
        return Ok(format!("ALIGN_{}", word.to_ascii_uppercase()));
    }
    if INVENTING.contains(&word) {
        return Err(format!("`{word}` gives a period without data a value, which would pass for a fresh one"));
    }
    Err(format!("`{word}` is no aligner: {}, {}", ALIGNERS_ALONE.join(", "), BOTH.join(", ")))
}

fn reduced(reducer: &str, rest: &str) -> Result<Reducer, String> {
    if !BOTH.contains(&reducer) {
        return Err(format!("`{reducer}` is no reducer: {}", BOTH.join(", ")));
    }
    let by = match word(rest) {
        ("", _) => Vec::new(),
        ("by", rest) => alike(rest)?,
        (other, _) => return Err(format!("after the reducer `by` and fields may stand, not `{other}`")),
    };
    Ok(Reducer { word: format!("REDUCE_{}", reducer.to_ascii_uppercase()), by })
}

/// The fields after `by`.
fn alike(mut rest: &str) -> Result<Vec<Field>, String> {
    let mut by = Vec::new();
    loop {
        let (field, after) = field(rest)?;
        if field.of == TYPE {
            return Err("series of different resource.type are never made one, so it has no place after `by`".into());
        }
        if !by.contains(&field) {
            by.push(field);
        }
        match after.trim_start() {
            "" => return Ok(by),
            after => rest = after.strip_prefix(',').ok_or("between the fields after `by` commas must stand")?,
        }
    }
}

fn seconds(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no period: whole minutes up to 1d, as in 1m, 5m or 1h");
    let secs = contract::period_secs(text);
    // The API takes no alignment period under a minute.
    secs.filter(|secs| *secs % 60 == 0 && (60..=DAY_SECS).contains(secs)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPTH: &str = "pubsub.googleapis.com/subscription/num_undelivered_messages";

    #[test]
    fn a_query_becomes_googles_parameters() {
        let query = Query::parse(&format!(
            " {DEPTH} {{ resource.labels.subscription_id = \"a\\\"b\\\\\", metric.labels.zone!=\"x\",resource.type=\"r\", \
             metadata.user_labels.\"k8s-app/x.y\"=~\"web-.*\" }} percentile_99  5m mean by resource.labels.zone , \
             metadata.system_labels.\"region\" "
        ))
        .unwrap();
        assert_eq!(
            query.filter(),
            format!(
                "metric.type = \"{DEPTH}\" AND resource.labels.subscription_id = \"a\\\"b\\\\\" AND metric.labels.zone \
                 != \"x\" AND resource.type = \"r\" AND metadata.user_labels.\"k8s-app/x.y\" = \
                 monitoring.regex.full_match(\"web-.*\")"
            )
        );
        assert_eq!((&*query.aligner, query.period), ("ALIGN_PERCENTILE_99", 300));
        let reducer = query.reducer.unwrap();
        let by: Vec<String> = reducer.by.iter().map(ToString::to_string).collect();
        assert_eq!(
            (&*reducer.word, by.join(" ")),
            ("REDUCE_MEAN", "resource.labels.zone metadata.system_labels.region".into())
        );
        let plain = Query::parse(&format!("{DEPTH} rate 1h")).unwrap();
        assert_eq!((plain.filter(), &*plain.aligner), (format!("metric.type = \"{DEPTH}\""), "ALIGN_RATE"));
        assert_eq!((plain.period, plain.reducer), (3_600, None));
        let summed = Query::parse(&format!("{DEPTH}{{}} delta 1d sum")).unwrap();
        assert_eq!(summed.reducer, Some(Reducer { word: "REDUCE_SUM".into(), by: Vec::new() }));
    }

    #[test]
    fn what_is_wrong_with_a_text_is_said() {
        for (text, expected) in [
            ("", "begin with a metric's type"),
            ("sum(rate(x[1m]))", "begin with a metric's type"),
            ("/x max 1m", "begin with a metric's type"),
            ("a.b/", "begin with a metric's type"),
            ("a.b/c", "an aligner and a period"),
            ("a.b/c max", "an aligner and a period"),
            ("a.b/c Max 1m", "`Max` is no aligner"),
            ("a.b/c none 1m", "`none` is no aligner"),
            ("a.b/c next_older 1m", "without data"),
            ("a.b/c interpolate 1m", "without data"),
            ("a.b/c max 1", "is no period"),
            ("a.b/c max 30s", "is no period"),
            ("a.b/c max 90s", "is no period"),
            ("a.b/c max 0m", "is no period"),
            ("a.b/c max 2d", "is no period"),
            ("a.b/c max m", "is no period"),
            ("a.b/c max -1m", "is no period"),
            ("a.b/c max 1é", "is no period"),
            ("a.b/c max 99999999999h", "is no period"),
            ("a.b/c max 1m rate", "`rate` is no reducer"),
            ("a.b/c max 1m sum of x", "not `of`"),
            ("a.b/c max 1m sum by zone", "`zone` is no field"),
            ("a.b/c max 1m sum by", "`` is no field"),
            ("a.b/c max 1m sum by resource.type", "never made one"),
            ("a.b/c max 1m sum by metric.labels.a metric.labels.b", "commas"),
            ("a.b/c{zone=\"x\"} max 1m", "`zone` is no field"),
            ("a.b/c{metric.label.zone=\"x\"} max 1m", "is no field"),
            ("a.b/c{resource.types=\"x\"} max 1m", "is no field"),
            ("a.b/c{metric.labels.=\"x\"} max 1m", "a label's name"),
            ("a.b/c{metric.labels.\"a b\"=\"x\"} max 1m", "a label's name"),
            ("a.b/c{metric.labels.\"a=\"x} max 1m", "a label's name"),
            ("a.b/c{metric.labels.\"a max 1m", "not closed"),
            ("a.b/c{metric.labels.a>\"x\"} max 1m", "one of = != =~"),
            ("a.b/c{metric.labels.a=x} max 1m", "double quotes"),
            ("a.b/c{metric.labels.a=\"x} max 1m", "not closed"),
            ("a.b/c{metric.labels.a=\"x\" max 1m", "not closed"),
            ("a.b/c{metric.labels.a=\"\\x\"} max 1m", "backslash"),
            ("a.b/c{metric.labels.a=\"x\ny\"} max 1m", "control"),
            ("a.b/c{metric.labels.a=\"1\",metric.labels.a=\"2\"} max 1m", "two values"),
        ] {
            let error = Query::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
