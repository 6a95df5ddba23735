//! Why a source has no answer, for the core in one word and for people in a sentence, and how often that is said.

use crate::http::FetchError;
use contract::Timestamp;
use policies::facts::MissingWhy;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// More texts than this at once are not remembered.
const TEXTS_MAX: usize = 20_000;

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

    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(MissingWhy::Other("answer_too_large".into()), detail)
    }

    pub(super) fn wrong_shape(detail: impl Into<String>) -> Self {
        Self::new(MissingWhy::WrongShape, detail)
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        let why = match &error {
            FetchError::Timeout => MissingWhy::Timeout,
            FetchError::Unreachable { .. } => MissingWhy::Unreachable,
            FetchError::Forbidden { .. } => MissingWhy::Refused,
            FetchError::Refused { status, .. } => why_of_status(*status),
            FetchError::Redirect { .. } => MissingWhy::Other("redirect".into()),
            FetchError::TooLarge { .. } => return Self::too_large(error.to_string()),
            FetchError::NotText => return Self::malformed(error.to_string()),
            FetchError::Secret(_) => MissingWhy::Other("credentials".into()),
            FetchError::Settings(_) => MissingWhy::Other("settings".into()),
        };
        Self::new(why, error.to_string())
    }
}

/// What a status other than success means.
pub(super) fn why_of_status(status: u16) -> MissingWhy {
    match status {
        408 | 504 => MissingWhy::Timeout,
        502 | 503 => MissingWhy::Unreachable,
        400..=499 => MissingWhy::Refused,
        _ => MissingWhy::Other("server_error".into()),
    }
}

/// The beginning of a foreign text, on one line.
pub(crate) fn shown(text: &str) -> String {
    text.trim().chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What went wrong with each query of one source last, so that the log says it once.
#[derive(Debug)]
pub(super) struct Notes {
    source: Box<str>,
    complaints: Mutex<Complaints>,
}

impl Notes {
    /// Of the source that skala.toml calls so.
    pub(super) fn new(source: &str) -> Self {
        Self { source: source.into(), complaints: Mutex::default() }
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).known.len()
    }

    /// Says in the log what changed about a query, once, and little when everything changes at once.
    pub(super) fn note(&self, query: &Arc<str>, failure: Option<&Failure>, now: Timestamp) {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(news) = complaints.note(query, failure, now) else { return };
        let (source, query) = (&*self.source, shown(query));
        match (failure, news) {
            (None, News::Quiet) => tracing::debug!(source, query, "query answers again"),
            (None, _) => tracing::info!(source, query, "query answers again"),
            (Some(Failure { why, detail }), News::Quiet) => tracing::debug!(source, query, %why, detail, "no readings"),
            (Some(Failure { why, detail }), news) => {
                tracing::warn!(source, query, %why, detail, "no readings");
                if news == News::LastLoud {
                    tracing::warn!(source, "more queries fail: until the next minute they are logged as debug");
                }
            }
        }
    }
}

/// What is known of each query.
#[derive(Debug, Default)]
struct Complaints {
    known: HashMap<Arc<str>, Failure>,
    /// The minute of the clock in which `said` counts.
    minute: i64,
    said: u32,
}

/// How loud a change is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Loud,
    LastLoud,
    Quiet,
}

impl Complaints {
    /// A source that stops answers thousands of queries no more; a few lines say that as well as all.
    const LOUD_PER_MINUTE: u32 = 20;

    /// Whether what is known of a query changed, and how loud to say it.
    fn note(&mut self, query: &Arc<str>, failure: Option<&Failure>, now: Timestamp) -> Option<News> {
        let is_news = match failure {
            None => self.known.remove(query).is_some(),
            Some(failure) if self.known.get(query) == Some(failure) => false,
            Some(failure) => {
                if self.known.len() >= TEXTS_MAX {
                    self.known.clear();
                }
                self.known.insert(query.clone(), failure.clone());
                true
            }
        };
        let minute = now.0.div_euclid(60_000_000);
        if minute != self.minute {
            (self.minute, self.said) = (minute, 0);
        }
        is_news.then(|| {
            self.said = self.said.saturating_add(1);
            match self.said.cmp(&Self::LOUD_PER_MINUTE) {
                std::cmp::Ordering::Less => News::Loud,
                std::cmp::Ordering::Equal => News::LastLoud,
                std::cmp::Ordering::Greater => News::Quiet,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp(1_700_000_000_250_000);

    #[test]
    fn changes_are_news_once_and_many_at_once_are_quiet() {
        let mut complaints = Complaints::default();
        let (slow, wrong) = (Failure::from(FetchError::Timeout), Failure::from(FetchError::NotText));
        let query: Arc<str> = "up".into();
        assert_eq!(complaints.note(&query, None, NOW), None);
        assert_eq!(complaints.note(&query, Some(&slow), NOW), Some(News::Loud));
        assert_eq!(complaints.note(&query, Some(&slow), NOW), None);
        assert_eq!(complaints.note(&query, Some(&wrong), NOW), Some(News::Loud));
        assert_eq!(complaints.note(&query, None, NOW), Some(News::Loud));
        let mut many = |from: u32, now| {
            let said = (from..from + 100).map(|n| complaints.note(&format!("q{n}").into(), Some(&slow), now));
            let said: Vec<_> = said.flatten().collect();
            (said.len(), said.iter().filter(|news| **news != News::Quiet).count())
        };
        assert_eq!(many(0, NOW), (100, 17));
        assert_eq!(many(100, NOW), (100, 0));
        assert_eq!(many(200, NOW.after(Duration::from_secs(60))), (100, 20));
    }
}
