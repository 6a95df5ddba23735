//! Readings from Prometheus, and from what speaks its HTTP API: Thanos, Mimir, VictoriaMetrics. A question comes in;
//! its series with their samples' own times go out, or the reason why there are none. It never takes an answer that
//! may be incomplete, and never a time that it does not know for a fresh one.

mod decode;
mod freshness;
mod range;
mod selectors;

pub use super::{RangeError, RangeSeries};
pub use selectors::{QUERY_MAX, check_query};

use super::failure::{Failure, Notes, shown};
use super::{Answer, MetricSource, QueryAsk, Recorder, SeriesPoint, Span};
use crate::http::{FetchError, FetchSettings, Fetcher};
use contract::{BoxFuture, Timestamp};
use decode::{Decoded, decode, decode_refusal};
use freshness::{Plan, Stamps};
use policies::facts::MissingWhy;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// More texts than this at once are not remembered; every text can be found again.
const TEXTS_MAX: usize = 20_000;

/// How many series an answer of the HTTP API has, or why it is none: what fuzzing calls.
///
/// # Errors
/// Whatever is not exactly a whole, successful answer to an instant query.
pub fn count_series(answer: &str) -> Result<usize, MissingWhy> {
    match decode(answer) {
        Ok(Decoded::Vector(series)) => Ok(series.len()),
        Ok(Decoded::Scalar(_)) => Ok(1),
        Err(failure) => Err(failure.why),
    }
}

/// One server that speaks the Prometheus HTTP API.
pub struct Prometheus {
    fetcher: Fetcher,
    timeout: Duration,
    /// How each question's freshness is found, since parsing costs more than the rest of a question.
    plans: Mutex<HashMap<QueryAsk, Arc<Plan>>>,
    notes: Notes,
}

impl Prometheus {
    /// The server at `url`, called `name` in skala.toml. `settings.timeout` is for a whole question, which takes up to
    /// two requests. Fails when the settings can never work; opens no connection.
    pub fn new(name: &str, url: &str, settings: FetchSettings) -> Result<Self, FetchError> {
        let timeout = settings.timeout;
        let fetcher = Fetcher::new(url, settings)?;
        Ok(Self { fetcher, timeout, plans: Mutex::default(), notes: Notes::new(name) })
    }

    async fn answer(&self, ask: &QueryAsk, now: Timestamp) -> Result<Arc<[SeriesPoint]>, Failure> {
        let evaluated = now.before(ask.offset);
        // Freshness first: a sample that arrives between the two requests then makes the value look older than it is,
        // never fresher.
        let stamps = match self.stamps(ask, evaluated).await {
            Err(failure) if failure.why == MissingWhy::NoTime => {
                // If the value cannot be had either, what the source says about it is the better reason.
                self.instant(&ask.query, evaluated).await?;
                Err(failure)
            }
            other => other,
        };
        let mut stamps = stamps?;
        let series = match self.instant(&ask.query, evaluated).await? {
            Decoded::Scalar(value) => vec![decode::Series { labels: Box::default(), value }],
            Decoded::Vector(series) => series,
        };
        Ok(series
            .into_iter()
            .map(|one| SeriesPoint { at: stamps.at(&one.labels), value: one.value, labels: one.labels, from: None })
            .collect())
    }

    async fn stamps(&self, ask: &QueryAsk, evaluated: Timestamp) -> Result<Stamps, Failure> {
        let plan = self.plan(ask);
        let told = match &*plan {
            Plan::Evaluation => return Ok(Stamps::Same(Some(evaluated))),
            Plan::Unknown(why) => return Err(no_time(format!("the query does not parse as PromQL: {}", shown(why)))),
            Plan::Override { query } | Plan::Selectors { query, .. } => self.instant(query, evaluated).await,
        };
        match (told, &*plan) {
            (Ok(told), Plan::Selectors { count, .. }) => Ok(Stamps::of_selectors(told, *count, &ask.by)),
            (Ok(told), _) => Ok(Stamps::of_override(told, &ask.by)),
            // The value's query may still work, as with a selector of several metrics' names, whose times Prometheus
            // cannot give side by side.
            (Err(Failure { why: MissingWhy::Refused | MissingWhy::WrongShape, detail }), _) => {
                Err(no_time(format!("its samples' time cannot be asked for ({detail}); `freshness` can say how")))
            }
            (Err(other), _) => Err(other),
        }
    }

    fn plan(&self, ask: &QueryAsk) -> Arc<Plan> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = plans.get(ask) {
            return known.clone();
        }
        if plans.len() >= TEXTS_MAX {
            plans.clear();
        }
        let plan = Arc::new(Plan::of(ask));
        plans.insert(ask.clone(), plan.clone());
        plan
    }

    /// One instant query, as of `evaluated`.
    async fn instant(&self, query: &str, evaluated: Timestamp) -> Result<Decoded, Failure> {
        let time = evaluated.to_string();
        let timeout = format!("{}ms", self.timeout.as_millis());
        let form = [("query", query), ("time", &time), ("timeout", &timeout)];
        match self.fetcher.post_form("api/v1/query", &form).await {
            Ok(body) => decode(body.text().map_err(Failure::from)?),
            Err(FetchError::Refused { status, body }) => Err(decode_refusal(status, &body)),
            Err(error) => Err(error.into()),
        }
    }
}

impl MetricSource for Prometheus {
    fn query<'a>(&'a self, ask: &'a QueryAsk, now: Timestamp) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let answer = match tokio::time::timeout(self.timeout, self.answer(ask, now)).await {
                Ok(answer) => answer,
                Err(_) => Err(Failure::from(FetchError::Timeout)),
            };
            self.notes.note(&ask.query, answer.as_ref().err(), now);
            answer.map_err(|failure| failure.why)
        })
    }

    fn recorder(&self) -> Option<&dyn Recorder> {
        Some(self)
    }
}

impl Recorder for Prometheus {
    fn recorded<'a>(&'a self, ask: &'a QueryAsk, span: Span) -> BoxFuture<'a, Result<Vec<RangeSeries>, RangeError>> {
        Box::pin(self.range(&ask.query, span.from, span.to, span.step))
    }
}

fn no_time(detail: String) -> Failure {
    Failure::new(MissingWhy::NoTime, detail)
}

#[cfg(test)]
mod tests;
