//! Where readings come from. A [`MetricSource`] answers one query text with its series, each stamped with its own
//! sample's time; what a fleet makes of them is decided by [`pick`] and then by the core.

pub mod cloud;
pub mod composite;
pub mod exec;
mod failure;
pub mod http_json;
pub mod pick;
pub mod prometheus;
mod recorded;
mod round;
pub mod sim;

pub(crate) use failure::shown;
pub use pick::{AnswerIndex, OwnedReading, pick};
pub use recorded::{RangeError, RangeSeries, Recorder, Span, pick_recorded};

use contract::{BoxFuture, Timestamp};
use policies::facts::MissingWhy;
use std::sync::Arc;
use std::time::Duration;

/// One distinct question to a source, shared by all fleets that ask it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueryAsk {
    /// The query's text.
    pub query: Arc<str>,
    /// A query for the sample's time; `None`: derived from the query's own selectors.
    pub freshness: Option<Arc<str>>,
    /// Ask for this long ago.
    pub offset: Duration,
    /// Names of labels that fleets pick series by, sorted: freshness is told apart by them where the query's selectors
    /// carry them.
    pub by: Vec<Box<str>>,
    /// The smallest `max_age` of the metrics that ask: with something older some of them can do nothing.
    pub max_age: Duration,
}

impl QueryAsk {
    /// Asks for the present, with what a policy has when it says nothing more.
    pub fn new(query: impl Into<Arc<str>>) -> Self {
        Self {
            query: query.into(),
            freshness: None,
            offset: Duration::ZERO,
            by: Vec::new(),
            max_age: policies::policy::MAX_AGE_DEFAULT,
        }
    }
}

/// One series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesPoint {
    /// Its labels, sorted by name, without the metric's name.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// Its value; may be NaN or infinite, which the core rejects.
    pub value: f64,
    /// The newest underlying sample's own time; `None` when it cannot be told, which is never taken for fresh.
    pub at: Option<Timestamp>,
    /// Which source it comes from, when the one that was asked asks others.
    pub from: Option<Arc<str>>,
}

/// A source's answer to one question, or why there is none. An empty list is an answer: there are no series.
pub type Answer = Result<Arc<[SeriesPoint]>, MissingWhy>;

/// Something that answers queries.
pub trait MetricSource: Send + Sync {
    /// Answers one question as of `now`. Ends within the source's own timeout.
    fn query<'a>(&'a self, ask: &'a QueryAsk, now: Timestamp) -> BoxFuture<'a, Answer>;

    /// What it recorded; `None`: it records nothing.
    fn recorder(&self) -> Option<&dyn Recorder> {
        None
    }
}
