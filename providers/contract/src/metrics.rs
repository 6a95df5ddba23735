//! A cloud's own metrics, as readings: the ability of a provider whose cloud has a service for them. A query's text is
//! in that cloud's language, which its provider documents; what fleets make of the points is decided elsewhere.

use crate::{BoxFuture, ProviderError, Timestamp};

/// The newest value of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// What tells it from the other series of the answer, sorted by name.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// Its value, in the unit that the cloud gives it; may be NaN or infinite, which the core rejects.
    pub value: f64,
    /// The time up to which it says something: the end of the period that it sums up, never its beginning, and never
    /// the time at which it was asked for.
    pub at: Timestamp,
}

/// Answers queries for metrics.
pub trait Metrics: Send + Sync {
    /// The newest whole value of each series of a query, as of `now`. A period that has not ended by then is left out.
    /// An empty list is an answer: the cloud knows no such series, or none with a recent value.
    ///
    /// # Errors
    /// `Invalid` when the text is no query; any other when the answer is unknown or may be incomplete. Never an empty
    /// list then.
    fn query<'a>(&'a self, query: &'a str, now: Timestamp) -> BoxFuture<'a, Result<Vec<Point>, ProviderError>>;
}
