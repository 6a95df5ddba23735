//! From what a call ended with to a [`ProviderError`]: by what the caller does next.
//!
//! In come a status, a code and words, and whether the call could change anything; out goes one typed error. It must
//! never call a write that was sent and not answered harmless.

use crate::codes::{Meaning, meaning};
pub(crate) use contract::Effect;
use contract::{ProviderError, Scope};
use std::error::Error;
use std::time::Duration;

/// A failed call: the typed error, and what only this crate needs to know of it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub error: ProviderError,
    /// The call has certainly changed nothing, so that it may be tried again after another look.
    pub harmless: bool,
    /// The endpoint has no such call.
    pub no_such_call: bool,
}

impl From<Failure> for ProviderError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl Failure {
    /// A refusal, or a call that was never sent.
    pub fn harmless(error: ProviderError) -> Self {
        Self { error, harmless: true, no_such_call: false }
    }
}

/// A refusal as the gateway or ESS words it.
pub(crate) struct Refusal<'a> {
    pub status: u16,
    pub code: &'a str,
    pub message: &'a str,
    pub retry_after: Option<Duration>,
}

/// The cloud's words, cut so that a log line stays a line.
pub(crate) fn cut(text: &str, most: usize) -> Box<str> {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => line[..end].into(),
        None => line.into(),
    }
}

/// Classifies an answer that has a code.
pub(crate) fn refused(operation: &str, effect: Effect, refusal: &Refusal<'_>) -> Failure {
    let Refusal { status, code, message, retry_after } = refusal;
    let what = cut(&format!("{operation}: {code}: {message}"), 300);
    let error = match meaning(code) {
        Some(Meaning::Throttled) => ProviderError::Throttled { retry_after: *retry_after },
        Some(Meaning::Denied) => ProviderError::Denied { what },
        Some(Meaning::Expired) => ProviderError::Expired { what },
        Some(Meaning::Clock) => {
            let what = format!("the clock of this machine and the cloud's differ, check the time service: {what}");
            ProviderError::Expired { what: cut(&what, 300) }
        }
        Some(Meaning::NotFound) => ProviderError::NotFound { what },
        Some(Meaning::Conflict) => ProviderError::Conflict { what },
        Some(Meaning::OutOfCapacity) => ProviderError::OutOfCapacity { scope: scope(message) },
        Some(Meaning::Quota) => ProviderError::QuotaExceeded { what },
        Some(Meaning::Invalid) => ProviderError::Invalid { what },
        Some(Meaning::NoSuchCall) => {
            return Failure { no_such_call: true, ..Failure::harmless(ProviderError::Invalid { what }) };
        }
        None if *status == 429 => ProviderError::Throttled { retry_after: *retry_after },
        None if *status >= 500 => {
            return unanswered(operation, effect, &format!("{code}: {message} (status {status})"), None);
        }
        None if matches!(status, 401 | 403) => ProviderError::Denied { what },
        None => ProviderError::Invalid { what },
    };
    Failure::harmless(error)
}

/// Classifies an answer that is none of the API's.
pub(crate) fn foreign(operation: &str, effect: Effect, status: u16, retry_after: Option<Duration>) -> Failure {
    match status {
        429 => Failure::harmless(ProviderError::Throttled { retry_after }),
        401 | 403 => {
            let what = format!("{operation}: status {status} without a reason").into();
            Failure::harmless(ProviderError::Denied { what })
        }
        300..=399 => {
            let why = format!("the endpoint redirects (status {status}), which is not followed; check endpoint_url");
            unanswered(operation, effect, &why, None)
        }
        400..=499 => {
            let what = format!("{operation}: status {status}, not an answer of this API; check endpoint_url").into();
            Failure::harmless(ProviderError::Invalid { what })
        }
        _ => {
            let why = format!("status {status}, and the body is not an answer of this API");
            unanswered(operation, effect, &why, None)
        }
    }
}

/// A call that got no usable answer: a read is simply unknown, a write may have taken effect.
pub(crate) fn unanswered(
    operation: &str,
    effect: Effect,
    why: &str,
    source: Option<Box<dyn Error + Send + Sync>>,
) -> Failure {
    let what = cut(&format!("{operation}: {why}"), 300);
    let error = match effect {
        Effect::Read => ProviderError::Transport { what, source },
        Effect::Write => ProviderError::Unclear { what, source },
    };
    Failure { error, harmless: effect == Effect::Read, no_such_call: false }
}

/// A read that was answered, and not with what it asked for.
pub(crate) fn nonsense(why: impl Into<Box<str>>) -> ProviderError {
    ProviderError::Transport { what: why.into(), source: None }
}

/// How far a refusal reaches, from its words: the zone they name, else the whole group.
pub(crate) fn scope(message: &str) -> Scope {
    let words = message.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.'));
    let zone = words.map(|word| word.trim_matches('.')).find(|word| is_zone(word));
    zone.map_or(Scope::Group, |zone| Scope::Zone(zone.into()))
}

/// `cn-hangzhou-h`, `eu-central-1a`, `cn-beijing-finance-1-k`.
fn is_zone(word: &str) -> bool {
    let parts: Vec<&str> = word.split('-').collect();
    let Some((last, before)) = parts.split_last().filter(|(_, before)| before.len() >= 2) else { return false };
    let lower = |text: &&str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let letter = last.ends_with(|c: char| c.is_ascii_lowercase());
    let short = last.trim_start_matches(|c: char| c.is_ascii_digit()).len() == 1;
    before[0].len() == 2 && before.iter().all(lower) && letter && short
}

#[cfg(test)]
#[path = "errors_tests.rs"]
mod tests;
