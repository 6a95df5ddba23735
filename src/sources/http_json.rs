//! Readings from one JSON document that a server gives. In: questions, each a path into the document (`path`). Out: the
//! values there, each with its own time, or the reason why there are none. The document is fetched once for all who ask
//! in a cycle. It never takes the time of the answer for the value's, unless it is told to.

mod document;
mod path;

use super::failure::{Failure, Notes, shown, why_of_status};
use super::round::Round;
use super::{Answer, MetricSource, QueryAsk, SeriesPoint};
use crate::http::{FetchError, FetchSettings, Fetcher, split_query};
use contract::{BoxFuture, Timestamp};
use document::Value;
use path::{Lost, Path, Start};
use policies::facts::MissingWhy;
use std::sync::Arc;

/// The largest document; a tree takes some ten times its text.
pub const DOCUMENT_MAX: usize = 4 * 1024 * 1024;
/// More series than any sensible fleet metric has.
const SERIES_MAX: usize = 50_000;

/// Where a value's time is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonTime {
    /// From the document, at this path, in this unit.
    At(TimePath, TimeUnit),
    /// The beginning of the request, less what caches say they kept the answer: whoever sets this vouches for a server
    /// that never gives an old value.
    Fetch,
}

/// A path to a time: from `$`, the document, or from `@`, the value's own item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimePath(Path);

impl TimePath {
    /// Reads it.
    ///
    /// # Errors
    /// When it is no path, or one that leads to several values; with the place in bytes.
    pub fn parse(text: &str) -> Result<Self, (String, usize)> {
        let path = Path::parse(text).map_err(|error| (error.message, error.offset))?;
        if path.is_many() {
            return Err(("it must lead to one time; `@` begins at the value's own item".into(), 0));
        }
        Ok(Self(path))
    }
}

/// What a time in a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds since the Unix epoch, fractions allowed.
    Seconds,
    /// Thousandths of them.
    Millis,
    /// Millionths of them.
    Micros,
    /// A text such as `2026-02-03T04:05:06Z`, with its offset from UTC.
    Rfc3339,
}

/// Whether a query is a path into a document.
///
/// # Errors
/// What is wrong with it, with the place in bytes.
pub fn check_path(query: &str) -> Result<(), (String, usize)> {
    match Path::parse(query) {
        Ok(path) if path.start == Start::Document => Ok(()),
        Ok(_) => Err(("it must begin with `$`, the document".into(), 0)),
        Err(error) => Err((error.message, error.offset)),
    }
}

/// One document on a server.
pub struct HttpJson {
    page: Arc<Page>,
    time: JsonTime,
    round: Round<Result<Fetched, Failure>>,
    notes: Notes,
}

struct Page {
    fetcher: Fetcher,
    query: Option<String>,
}

/// A document, and the time that its values have when it tells none.
struct Fetched {
    document: Value,
    at: Timestamp,
}

impl HttpJson {
    /// The document at `url`, of a source that skala.toml calls `name`. Fails when the settings can never work; opens no
    /// connection.
    pub fn new(name: &str, url: &str, settings: FetchSettings, time: JsonTime) -> Result<Self, FetchError> {
        let (base, query) = split_query(url);
        let body_max = settings.body_max.min(DOCUMENT_MAX);
        let fetcher = Fetcher::new(base, FetchSettings { body_max, ..settings })?;
        let page = Arc::new(Page { fetcher, query: query.map(str::to_owned) });
        Ok(Self { page, time, round: Round::new(), notes: Notes::new(name) })
    }

    async fn answer(&self, ask: &QueryAsk, now: Timestamp) -> Result<Arc<[SeriesPoint]>, Failure> {
        if !ask.offset.is_zero() {
            return Err(Failure::new(MissingWhy::Refused, "a document tells the present alone: leave out `offset`"));
        }
        let path = match Path::parse(&ask.query) {
            Ok(path) if path.start == Start::Document => path,
            Ok(_) => return Err(Failure::new(MissingWhy::Refused, "the query must begin with `$`, the document")),
            Err(error) => {
                return Err(Failure::new(MissingWhy::Refused, format!("the query is no path: {}", error.message)));
            }
        };
        let page = Arc::clone(&self.page);
        let fetched = self.round.join(|| async move { page.fetch(now).await }).await;
        match fetched.as_deref() {
            Some(Ok(fetched)) => take(&path, &self.time, fetched),
            Some(Err(failure)) => Err(failure.clone()),
            None => Err(Failure::new(MissingWhy::Other("fault".into()), "it panicked; please report this")),
        }
    }
}

impl Page {
    async fn fetch(&self, now: Timestamp) -> Result<Fetched, Failure> {
        let body = match self.fetcher.get_base(self.query.as_deref()).await {
            Ok(body) => body,
            Err(FetchError::Refused { status, body }) => {
                let detail = format!("answered with status {status}: {}", shown(&body));
                return Err(Failure::new(why_of_status(status), detail));
            }
            Err(error) => return Err(error.into()),
        };
        let document = Value::parse(body.text()?)
            .map_err(|error| Failure::malformed(format!("the answer is no JSON document: {error}")))?;
        Ok(Fetched { document, at: now.before(body.age()) })
    }
}

/// The series that a path leads to.
fn take(path: &Path, time: &JsonTime, fetched: &Fetched) -> Result<Arc<[SeriesPoint]>, Failure> {
    let found = path.find(&fetched.document, SERIES_MAX).map_err(|lost| match lost {
        Lost::Shape(detail) => Failure::wrong_shape(format!("the document is not as the query says: {detail}")),
        Lost::TooMany => Failure::new(MissingWhy::Refused, format!("more than {SERIES_MAX} values: narrow the query")),
    })?;
    let series = found.into_iter().map(|one| {
        let value = match one.value {
            Some(Value::Number(value)) => *value,
            // An item is there and its number is not: that is not known, and not the same as no item.
            _ if path.is_many() => f64::NAN,
            Some(other) => {
                return Err(Failure::wrong_shape(format!("the query leads to {}, not a number", other.kind())));
            }
            None => return Err(Failure::wrong_shape("the document has nothing where the query leads")),
        };
        let labels = one.labels.into_iter().map(|(name, text)| (name.into(), text.into())).collect();
        let at = match time {
            JsonTime::Fetch => Some(fetched.at),
            JsonTime::At(path, unit) => {
                let from = if path.0.start == Start::Item { one.item } else { &fetched.document };
                path.0.one(from).and_then(|value| unit.read(value))
            }
        };
        Ok(SeriesPoint { labels, value, at, from: None })
    });
    series.collect()
}

impl TimeUnit {
    /// `None` for what is no such time.
    fn read(self, value: &Value) -> Option<Timestamp> {
        let per_second = match (self, value) {
            (TimeUnit::Rfc3339, Value::Text(text)) => {
                let at: jiff::Timestamp = text.parse().ok()?;
                return Some(Timestamp(at.as_microsecond()));
            }
            (TimeUnit::Rfc3339, _) => return None,
            (TimeUnit::Seconds, _) => 1.0,
            (TimeUnit::Millis, _) => 1e3,
            (TimeUnit::Micros, _) => 1e6,
        };
        let number = match value {
            Value::Number(number) => *number,
            Value::Text(text) => text.parse().ok()?,
            _ => return None,
        };
        Timestamp::from_secs_f64(number / per_second)
    }
}

impl MetricSource for HttpJson {
    fn query<'a>(&'a self, ask: &'a QueryAsk, now: Timestamp) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let answer = self.answer(ask, now).await;
            self.notes.note(&ask.query, answer.as_ref().err(), now);
            answer.map_err(|failure| failure.why)
        })
    }
}

#[cfg(test)]
mod tests;
