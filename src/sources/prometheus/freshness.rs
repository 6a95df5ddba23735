//! How old an answer really is. An instant query is stamped with the evaluation's time, not the sample's: a series
//! 200 s old looks fresh. So a second query asks for the time of the newest sample of every selector in the first.
//!
//! The rule, for each series of the answer:
//! 1. Every selector of the query must have a time, and the series' time is the smallest of them. A selector without
//!    any series has none, so `x or vector(0)` and `absent(x)` have no time while `x` is gone: write `freshness` where
//!    absence is meant to count.
//! 2. A selector's time is that of its newest sample among the series that agree with the answer's series in all of the
//!    labels in `by` that both carry. So one fleet's live exporters vouch for no other fleet's dead ones. A selector
//!    none of whose series carry such a label is told apart by it no further: it has the same time for all.
//! 3. A query without any selector is as fresh as its evaluation.
//! 4. With `freshness`, that query's values are the times, in seconds since the epoch, matched by labels as above;
//!    where several match, the oldest counts.
//!
//! What a recording rule records carries the time of the rule's evaluation, however old its inputs were: for a query of
//! recorded series, write `freshness` too.

use super::decode::{Decoded, Series};
use super::selectors::{label_name, selectors};
use crate::sources::QueryAsk;
use contract::Timestamp;
use std::collections::HashMap;
use std::fmt::Write;

/// Tells the selectors apart in the one answer about all of them.
const SELECTOR_LABEL: &str = "skala_selector";

/// How a query's freshness is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// It reads no series: it is as fresh as its evaluation.
    Evaluation,
    /// By asking for the time of each of its selectors.
    Selectors {
        /// The one query about all of them.
        query: String,
        /// How many there are.
        count: usize,
    },
    /// By asking what the policy says.
    Override {
        /// The policy's query.
        query: String,
    },
    /// Not at all: it does not parse, for this reason.
    Unknown(String),
}

impl Plan {
    /// Finds the way for one question.
    pub(super) fn of(ask: &QueryAsk) -> Self {
        if let Some(query) = &ask.freshness {
            return Plan::Override { query: query.to_string() };
        }
        match selectors(&ask.query) {
            Err(why) => Plan::Unknown(why),
            Ok(found) if found.is_empty() => Plan::Evaluation,
            Ok(found) => Plan::Selectors { query: times_query(&found, &ask.by), count: found.len() },
        }
    }
}

/// One query for the newest sample's time of each selector, by the labels in `by`.
fn times_query(selectors: &[String], by: &[Box<str>]) -> String {
    let names = by.iter().map(|name| label_name(name)).collect::<Vec<_>>().join(",");
    let mut query = String::new();
    for (at, selector) in selectors.iter().enumerate() {
        let or = if at > 0 { " or " } else { "" };
        let _ = write!(
            query,
            r#"{or}label_replace(max by ({names}) (timestamp({selector})),"{SELECTOR_LABEL}","{at}","","")"#
        );
    }
    query
}

/// The times that one cycle's freshness query gave.
#[derive(Debug)]
pub(super) enum Stamps {
    /// The same time for every series.
    Same(Option<Timestamp>),
    /// By selector and labels.
    Told(Vec<Times>),
}

impl Stamps {
    /// Reads the answer about `count` selectors.
    pub(super) fn of_selectors(answer: Decoded, count: usize, by: &[Box<str>]) -> Self {
        let Decoded::Vector(series) = answer else { return Stamps::Same(None) };
        let mut parts: Vec<Vec<Series>> = vec![Vec::new(); count];
        for one in series {
            let selector = label(&one.labels, SELECTOR_LABEL).parse::<usize>().ok();
            if let Some(part) = selector.and_then(|at| parts.get_mut(at)) {
                part.push(one);
            }
        }
        Stamps::Told(parts.into_iter().map(|part| Times::new(part, by, Timestamp::max)).collect())
    }

    /// Reads the answer to the policy's own freshness query.
    pub(super) fn of_override(answer: Decoded, by: &[Box<str>]) -> Self {
        match answer {
            Decoded::Scalar(secs) => Stamps::Same(Timestamp::from_secs_f64(secs)),
            Decoded::Vector(series) => Stamps::Told(vec![Times::new(series, by, Timestamp::min)]),
        }
    }

    /// The time of the answer's series that has these labels.
    pub(super) fn at(&mut self, labels: &[(Box<str>, Box<str>)]) -> Option<Timestamp> {
        match self {
            Stamps::Same(at) => *at,
            Stamps::Told(selectors) => {
                // Every one must have a time, so none may be left out of the smallest.
                let times = selectors.iter_mut().map(|times| times.at(labels));
                times.collect::<Option<Vec<_>>>()?.into_iter().min()
            }
        }
    }
}

/// The times of one selector's series, by the labels in `by`.
#[derive(Debug)]
pub(super) struct Times {
    by: Vec<Box<str>>,
    rows: Vec<Row>,
    /// Which of `by` any series carries.
    carried: Vec<bool>,
    /// Which of several times counts.
    choose: fn(Timestamp, Timestamp) -> Timestamp,
    /// For each set of labels that was matched by: their values, and the time.
    indexes: HashMap<Vec<usize>, Index>,
}

/// The labels' values in the order of `by`, empty where not carried; and the time, `None` where it is no time.
type Row = (Box<[Box<str>]>, Option<Timestamp>);

/// The labels' values, and the time.
type Index = HashMap<Vec<Box<str>>, Option<Timestamp>>;

impl Times {
    fn new(series: Vec<Series>, by: &[Box<str>], choose: fn(Timestamp, Timestamp) -> Timestamp) -> Self {
        let mut carried = vec![false; by.len()];
        let mut rows = Vec::with_capacity(series.len());
        for one in series {
            let values: Box<[Box<str>]> = by.iter().map(|name| label(&one.labels, name).into()).collect();
            for (is_carried, value) in carried.iter_mut().zip(&values) {
                *is_carried |= !value.is_empty();
            }
            rows.push((values, Timestamp::from_secs_f64(one.value)));
        }
        Self { by: by.to_vec(), rows, carried, choose, indexes: HashMap::new() }
    }

    fn at(&mut self, labels: &[(Box<str>, Box<str>)]) -> Option<Timestamp> {
        let (used, key): (Vec<usize>, Vec<Box<str>>) = (0..self.by.len())
            .filter(|at| self.carried[*at])
            .map(|at| (at, label(labels, &self.by[at])))
            .filter(|(_, value)| !value.is_empty())
            .map(|(at, value)| (at, value.into()))
            .unzip();
        if !self.indexes.contains_key(&used) {
            let index = self.index(&used);
            self.indexes.insert(used.clone(), index);
        }
        self.indexes.get(&used)?.get(&key).copied().flatten()
    }

    fn index(&self, used: &[usize]) -> Index {
        let mut index = Index::with_capacity(self.rows.len());
        for (values, time) in &self.rows {
            let key = used.iter().map(|at| values[*at].clone()).collect();
            index
                .entry(key)
                // One time that cannot be read leaves the whole key without.
                .and_modify(|known| *known = known.zip(*time).map(|(a, b)| (self.choose)(a, b)))
                .or_insert(*time);
        }
        index
    }
}

/// A label's value; empty when it is not carried, which PromQL does not tell apart either.
fn label<'a>(labels: &'a [(Box<str>, Box<str>)], name: &str) -> &'a str {
    labels.iter().find(|(known, _)| &**known == name).map_or("", |(_, value)| value)
}

#[cfg(test)]
mod tests;
