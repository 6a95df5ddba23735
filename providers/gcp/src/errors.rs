//! From the SDK's error to a [`ProviderError`]: by what the caller does next.
//!
//! In comes whatever a call ended with, and whether the call could change anything; out goes one typed error. It must
//! never call a write that was sent and not answered harmless.

use crate::codes::{self, Meaning, meaning};
pub(crate) use contract::Effect;
use contract::{FailureKind, ProviderError, Timestamp};
use google_cloud_gax::error::rpc::{Code, StatusDetails};
use google_cloud_gax::error::{CredentialsError, Error as SdkError};
use std::error::Error;
use std::time::Duration;

/// A failed call: the typed error, and what only this crate needs to know of it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub error: ProviderError,
    /// The call has certainly changed nothing, so that it may be tried again after another look.
    pub harmless: bool,
    /// The connection broke: a server closes idle ones, and a read may be tried once more.
    pub broke: bool,
}

impl From<Failure> for ProviderError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// The cloud's words, cut so that a log line stays a line.
pub(crate) fn cut(text: &str, most: usize) -> Box<str> {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => line[..end].into(),
        None => line.into(),
    }
}

/// A refusal: nothing was done.
fn refused(error: ProviderError) -> Failure {
    Failure { error, harmless: true, broke: false }
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
    Failure { error, harmless: effect == Effect::Read, broke: false }
}

/// Classifies a call's failure; `now` is for a refusal that holds until the minute turns.
pub(crate) fn classify(operation: &str, effect: Effect, error: SdkError, now: Timestamp) -> Failure {
    if error.status().is_some() {
        return by_reason(operation, effect, error, now);
    }
    if let Some(status) = error.http_status_code() {
        return by_status(operation, effect, status, error, now);
    }
    if error.is_authentication() {
        return without_credentials(operation, error);
    }
    if error.is_connect() {
        let what = cut(&format!("{operation}: {}", deepest(&error)), 300);
        return refused(ProviderError::Transport { what, source: Some(Box::new(error)) });
    }
    if error.is_binding() || error.is_serialization() {
        let what = cut(&format!("{operation}: {error}"), 300);
        return refused(ProviderError::Invalid { what });
    }
    if error.is_deserialization() {
        let why = format!("the answer cannot be read: {}; check {}", deepest(&error), setting_of(operation));
        return unanswered(operation, effect, &why, Some(Box::new(error)));
    }
    let broke = error.is_io();
    let failure = unanswered(operation, effect, &deepest(&error), Some(Box::new(error)));
    Failure { broke, ..failure }
}

/// The setting that says where an operation's API is.
fn setting_of(operation: &str) -> &'static str {
    if operation == crate::metrics::NAME { "monitoring_endpoint_url" } else { "endpoint_url" }
}

/// A refusal in the API's own form.
fn by_reason(operation: &str, effect: Effect, error: SdkError, now: Timestamp) -> Failure {
    let status = error.http_status_code().unwrap_or(0);
    let (reasons, message, code) = match error.status() {
        Some(rpc) => (reasons(&rpc.details), rpc.message.clone(), rpc.code),
        None => (Vec::new(), String::new(), Code::Unknown),
    };
    let reason = reasons.first().map_or_else(|| code.name().to_owned(), Clone::clone);
    let what = cut(&format!("{operation}: {reason}: {message} (status {status})"), 300);
    let known = reasons.iter().find_map(|reason| meaning(reason));
    let of_time = status == 401 && is_of_time(&message);
    match (known, status) {
        _ if of_time => refused(ProviderError::Expired { what }),
        (Some(Meaning::Throttled), _) | (_, 429) => {
            refused(ProviderError::Throttled { retry_after: Some(until_the_minute_turns(&error, now)) })
        }
        (Some(Meaning::Expired), _) => refused(ProviderError::Expired { what }),
        (Some(Meaning::Quota), _) => refused(ProviderError::QuotaExceeded { what }),
        (Some(Meaning::OutOfCapacity), _) => {
            refused(ProviderError::OutOfCapacity { scope: codes::launch(&reason.to_uppercase(), None).1 })
        }
        (Some(Meaning::Conflict), _) | (_, 409 | 412) => refused(ProviderError::Conflict { what }),
        (Some(Meaning::Denied), _) | (_, 401 | 403) => refused(ProviderError::Denied { what }),
        (None, 404) => refused(ProviderError::NotFound { what }),
        (None, 400..=499) => refused(ProviderError::Invalid { what }),
        _ => unanswered(operation, effect, &format!("{reason}: {message} (status {status})"), Some(Box::new(error))),
    }
}

/// A refusal in nobody's form: a proxy's page, or another API's.
fn by_status(operation: &str, effect: Effect, status: u16, error: SdkError, now: Timestamp) -> Failure {
    match status {
        429 => refused(ProviderError::Throttled { retry_after: Some(until_the_minute_turns(&error, now)) }),
        401 | 403 => {
            refused(ProviderError::Denied { what: format!("{operation}: status {status} without a reason").into() })
        }
        400..=499 => {
            let what =
                format!("{operation}: status {status}, not an answer of this API; check {}", setting_of(operation));
            refused(ProviderError::Invalid { what: what.into() })
        }
        300..=399 => {
            let why = format!(
                "the endpoint redirects (status {status}), which is not followed; check {}",
                setting_of(operation)
            );
            unanswered(operation, effect, &why, Some(Box::new(error)))
        }
        _ => {
            let why = format!("status {status}, and the body is not an answer of this API");
            unanswered(operation, effect, &why, Some(Box::new(error)))
        }
    }
}

fn without_credentials(operation: &str, error: SdkError) -> Failure {
    let words = words(&error);
    let transient = chain(&error)
        .find_map(|cause| cause.downcast_ref::<CredentialsError>())
        .is_some_and(CredentialsError::is_transient);
    let what = cut(&format!("{operation}: no token: {words}"), 300);
    refused(match (is_of_time(&words), transient) {
        (true, _) => ProviderError::Expired { what },
        (false, true) => ProviderError::Transport { what, source: Some(Box::new(error)) },
        (false, false) => ProviderError::Denied { what },
    })
}

/// What an operation that ended with errors is to the write that began it; the message begins with the code.
pub(crate) fn of_operation(operation: &str, code: &str, message: &str) -> ProviderError {
    let what = cut(&format!("{operation}: {message}"), 300);
    match codes::launch(code, None) {
        (FailureKind::OutOfCapacity, scope) => ProviderError::OutOfCapacity { scope },
        (FailureKind::QuotaExceeded, _) => ProviderError::QuotaExceeded { what },
        (FailureKind::Denied, _) => ProviderError::Denied { what },
        (FailureKind::Invalid, _) => ProviderError::Invalid { what },
        (FailureKind::Other, _) => ProviderError::Conflict { what },
    }
}

/// Words with which Google says that a token's time is over, or that a clock is off.
fn is_of_time(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    ["expired", "iat and exp", "reasonable timeframe", "token used too early", "stale_token"]
        .iter()
        .any(|of_time| words.contains(of_time))
}

fn reasons(details: &[StatusDetails]) -> Vec<String> {
    let reason = |detail: &StatusDetails| match detail {
        StatusDetails::ErrorInfo(info) => Some(info.reason.clone()).filter(|reason| !reason.is_empty()),
        _ => None,
    };
    details.iter().filter_map(reason).collect()
}

/// Compute Engine's budgets are filled up when the minute turns (cloud.google.com/compute/api-quota), by its clock where
/// the answer shows it; a longer Retry-After is obeyed.
fn until_the_minute_turns(error: &SdkError, now: Timestamp) -> Duration {
    let header = |name: &str| error.http_headers()?.get(name)?.to_str().ok();
    let second = header("date")
        .and_then(second_of)
        .unwrap_or_else(|| u64::try_from((now.0 / 1_000_000).rem_euclid(60)).unwrap_or(0));
    // A second more, or all who wait come back in the old minute's last moment.
    let turn = Duration::from_secs(61 - second.min(60));
    let told = header("retry-after").and_then(|text| text.trim().parse::<u64>().ok());
    told.map_or(turn, |secs| turn.max(Duration::from_secs(secs.min(86_400))))
}

/// The second in `Sun, 06 Nov 1994 08:49:37 GMT`.
fn second_of(date: &str) -> Option<u64> {
    let time = date.split_whitespace().rev().nth(1)?;
    time.rsplit(':').next()?.parse::<u64>().ok().filter(|second| *second <= 60)
}

pub(crate) fn transport(what: impl Into<Box<str>>) -> ProviderError {
    ProviderError::Transport { what: what.into(), source: None }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

fn words(error: &(dyn Error + 'static)) -> String {
    let mut words: Vec<String> = chain(error).map(ToString::to_string).collect();
    // Outer layers repeat inner ones; what is said already is not said again.
    words.dedup_by(|inner, outer| outer.contains(inner.as_str()));
    words.join(": ")
}

/// The innermost causes say the most: outer layers only say which layer they are.
fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut words: Vec<String> = chain(error).map(ToString::to_string).collect();
    words.dedup();
    let from = words.len().saturating_sub(2);
    words.split_off(from).join(": ")
}

#[cfg(test)]
#[path = "errors_tests.rs"]
mod tests;
