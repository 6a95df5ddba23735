//! A source that asks others, one after the other, until one has a fresh answer. In: a question. Out: the answer of one of
//! its sources, whole, with that source's name on every series. It never mixes or averages two answers.
//!
//! - The next source is asked when the one before failed, or is not fresh enough for all who ask, or takes longer than
//!   `patience`; the first fresh answer is taken.
//! - Fresh is an answer with at least one series, all of them finite and not older than the smallest `max_age` of the
//!   metrics that ask.
//! - When none is fresh, the first of those with any fresh series is taken, then the first with any series at all: each
//!   fleet's own rules judge it. An empty answer is one only when every source says the same; with any failure, or
//!   without any answer, it is unknown, with the reasons of each.

use super::failure::{Failure, Notes};
use super::{Answer, MetricSource, QueryAsk, RangeError, RangeSeries, Recorder, SeriesPoint, Span};
use contract::{BoxFuture, Timestamp};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use policies::facts::MissingWhy;
use policies::policy::query_for;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A time that is more than this ahead is somebody's wrong clock: the core's own limit.
const AHEAD_MAX: Duration = Duration::from_secs(5);
/// More questions than this at once are not remembered.
const TEXTS_MAX: usize = 20_000;

/// A source, by its name in skala.toml.
pub type Part = (Arc<str>, Arc<dyn MetricSource>);

/// Some sources in the order in which they are asked.
pub struct Composite {
    name: Box<str>,
    parts: Vec<Part>,
    patience: Duration,
    notes: Notes,
    /// Which source answered each question last, so that the log says it once.
    last: Mutex<HashMap<Arc<str>, Arc<str>>>,
}

/// How good an answer is; the smaller the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    Fresh,
    Partly,
    Old,
}

impl Composite {
    /// Sources under one name. The next one is asked after `patience` at the latest.
    pub fn new(name: &str, parts: Vec<Part>, patience: Duration) -> Self {
        Self { name: name.into(), parts, patience, notes: Notes::new(name), last: Mutex::default() }
    }

    /// What each source is asked; `None`: it has no text for this question.
    fn asks(&self, ask: &QueryAsk) -> Vec<Option<QueryAsk>> {
        let part = |(name, _): &Part| {
            let own = |text: &Arc<str>| match query_for(text, name)? {
                // Most queries are one text for all: it is shared, not copied.
                std::borrow::Cow::Borrowed(whole) if whole.len() == text.len() => Some(Arc::clone(text)),
                part => Some(Arc::from(part)),
            };
            let query = own(&ask.query)?;
            let freshness = ask.freshness.as_ref().and_then(own);
            Some(QueryAsk { query, freshness, ..ask.clone() })
        };
        self.parts.iter().map(part).collect()
    }

    async fn answer(&self, ask: &QueryAsk, now: Timestamp) -> Result<(usize, Arc<[SeriesPoint]>), Failure> {
        let asks = self.asks(ask);
        let mut waiting = asks.iter().enumerate().filter_map(|(at, ask)| Some((at, ask.as_ref()?)));
        let mut answers: Vec<Option<Answer>> = vec![None; asks.len()];
        let mut asked = FuturesUnordered::new();
        asked.extend(waiting.next().map(|(at, ask)| self.ask(at, ask, now)));
        let mut is_last = false;
        while !asked.is_empty() {
            let patience = async {
                match is_last {
                    true => std::future::pending().await,
                    false => tokio::time::sleep(self.patience).await,
                }
            };
            let ended = tokio::select! {
                biased;
                ended = asked.next() => ended,
                () = patience => None,
            };
            if let Some((at, answer)) = ended {
                if let Ok(series) = &answer
                    && grade(series, ask.max_age, now) == Some(Grade::Fresh)
                {
                    return Ok((at, Arc::clone(series)));
                }
                answers[at] = Some(answer);
            }
            match waiting.next() {
                Some((at, ask)) => asked.push(self.ask(at, ask, now)),
                None => is_last = true,
            }
        }
        self.best(&answers, ask, now)
    }

    async fn ask(&self, at: usize, ask: &QueryAsk, now: Timestamp) -> (usize, Answer) {
        (at, self.parts[at].1.query(ask, now).await)
    }

    /// The best of the answers, none of which is fresh.
    fn best(
        &self,
        answers: &[Option<Answer>],
        ask: &QueryAsk,
        now: Timestamp,
    ) -> Result<(usize, Arc<[SeriesPoint]>), Failure> {
        let graded = answers.iter().enumerate().filter_map(|(at, answer)| {
            let series = answer.as_ref()?.as_ref().ok()?;
            Some((grade(series, ask.max_age, now)?, at, series))
        });
        if let Some((_, at, series)) = graded.min_by_key(|(grade, at, _)| (*grade, *at)) {
            return Ok((at, Arc::clone(series)));
        }
        let failures = || answers.iter().flatten().filter_map(|answer| answer.as_ref().err());
        match (failures().next(), answers.iter().flatten().next()) {
            (None, Some(_)) => Ok((0, Arc::default())),
            (None, None) => Err(Failure::new(MissingWhy::Refused, "the query has a text for none of its sources")),
            (Some(first), _) => {
                let mut reasons = String::new();
                for ((name, _), answer) in self.parts.iter().zip(answers) {
                    let separator = if reasons.is_empty() { "" } else { ", " };
                    let _ = match answer {
                        Some(Err(why)) => write!(reasons, "{separator}{name}: {why}"),
                        Some(Ok(_)) => write!(reasons, "{separator}{name}: {}", MissingWhy::Empty),
                        None => Ok(()),
                    };
                }
                // One reason of all keeps its word in the metrics; several become a sentence.
                let is_one = failures().all(|why| why == first) && answers.iter().flatten().all(Result::is_err);
                let why = if is_one { first.clone() } else { MissingWhy::Other(reasons.as_str().into()) };
                Err(Failure::new(why, reasons))
            }
        }
    }

    /// Says in the log which source answers now.
    fn tell(&self, query: &Arc<str>, part: usize) {
        let from = &self.parts[part].0;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let first = &self.parts[0].0;
        if last.get(query).unwrap_or(first) == from {
            return;
        }
        if last.len() >= TEXTS_MAX {
            last.clear();
        }
        last.insert(Arc::clone(query), Arc::clone(from));
        let (source, query) = (&*self.name, super::failure::shown(query));
        if part == 0 {
            tracing::info!(source, query, %from, "the first source answers again");
        } else {
            tracing::warn!(source, query, %from, instead_of = %first, "another source answers");
        }
    }
}

/// How good an answer is to somebody who wants nothing older than `max_age`; `None` when it has no series.
fn grade(series: &[SeriesPoint], max_age: Duration, now: Timestamp) -> Option<Grade> {
    let is_good = |one: &SeriesPoint| {
        let is_fresh = |at: Timestamp| now.since(at) <= max_age && at.since(now) <= AHEAD_MAX;
        one.value.is_finite() && one.at.is_some_and(is_fresh)
    };
    let good = series.iter().filter(|one| is_good(one)).count();
    match good {
        _ if series.is_empty() => None,
        0 => Some(Grade::Old),
        _ if good == series.len() => Some(Grade::Fresh),
        _ => Some(Grade::Partly),
    }
}

impl MetricSource for Composite {
    fn query<'a>(&'a self, ask: &'a QueryAsk, now: Timestamp) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let answer = self.answer(ask, now).await;
            self.notes.note(&ask.query, answer.as_ref().err(), now);
            let (part, series) = answer.map_err(|failure| failure.why)?;
            if !series.is_empty() {
                self.tell(&ask.query, part);
            }
            let from = Some(Arc::clone(&self.parts[part].0));
            Ok(series.iter().map(|one| SeriesPoint { from: from.clone(), ..one.clone() }).collect())
        })
    }

    fn recorder(&self) -> Option<&dyn Recorder> {
        self.parts.iter().any(|(_, part)| part.recorder().is_some()).then_some(self)
    }
}

impl Recorder for Composite {
    /// Of the first source that records and has a text for the question.
    fn recorded<'a>(&'a self, ask: &'a QueryAsk, span: Span) -> BoxFuture<'a, Result<Vec<RangeSeries>, RangeError>> {
        Box::pin(async move {
            for ((_, part), own) in self.parts.iter().zip(self.asks(ask)) {
                if let (Some(recorder), Some(own)) = (part.recorder(), own) {
                    return recorder.recorded(&own, span).await;
                }
            }
            let detail = "none of the query's sources records anything".to_owned();
            Err(RangeError { why: MissingWhy::Refused, detail, is_too_large: false })
        })
    }
}

#[cfg(test)]
mod tests;
