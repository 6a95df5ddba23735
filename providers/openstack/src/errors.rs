//! From a refused or unanswered request to a [`ProviderError`]: by what the caller does next.
//!
//! In come a status and a body, or a broken connection, and whether the request could change anything; out goes one
//! typed error. The only place that knows OpenStack's error bodies and words. It must never call a write that was sent
//! and not answered harmless.

pub(crate) use contract::Effect;
use contract::{FailureKind, LaunchFailure, ProviderError, Scope, Timestamp};
use serde_json::Value;
use std::error::Error;
use std::time::Duration;

/// A failed request: the typed error, and what only this crate needs to know of it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub error: ProviderError,
    /// The request has certainly changed nothing, so that it may be tried again after another look.
    pub harmless: bool,
    /// The answer's status, when there was an answer.
    pub status: Option<u16>,
    /// The connection broke before an answer came.
    pub broke: bool,
}

impl From<Failure> for ProviderError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl Failure {
    /// A refusal that changed nothing.
    pub fn settled(error: ProviderError) -> Self {
        Self { error, harmless: true, status: None, broke: false }
    }

    /// A request that got no usable answer: a read is simply unknown, a write may have taken effect.
    pub fn unanswered(operation: &str, effect: Effect, why: &str) -> Self {
        let what = cut(&format!("{operation}: {why}"), 300);
        let error = match effect {
            Effect::Read => ProviderError::Transport { what, source: None },
            Effect::Write => ProviderError::Unclear { what, source: None },
        };
        Self { error, harmless: effect == Effect::Read, status: None, broke: false }
    }

    /// A request that got no answer at all, by the HTTP client's own error.
    pub fn of_transport(operation: &str, effect: Effect, error: reqwest::Error) -> Self {
        // The URL may be long and says nothing that the operation does not.
        let error = error.without_url();
        if error.is_connect() || error.is_builder() {
            let what = cut(&format!("{operation}: not sent: {}", deepest(&error)), 300);
            return Self::settled(ProviderError::Transport { what, source: Some(Box::new(error)) });
        }
        let broke = !error.is_timeout();
        Self { broke, ..Self::unanswered(operation, effect, &deepest(&error)) }
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

/// What a refusal's body says: `{"forbidden": {"code": 403, "message": ...}}` of Nova, `{"error": ...}` of Keystone,
/// `{"NeutronError": {"type": ..., "message": ...}}`. `None` for anything else.
fn words(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let (name, inside) = body.as_object()?.iter().find(|(_, inside)| inside.get("message").is_some())?;
    let message = inside.get("message")?.as_str()?;
    let name = inside.get("type").or(inside.get("title")).and_then(Value::as_str).unwrap_or(name);
    Some(format!("{name}: {message}"))
}

/// Classifies an answer that is no success.
pub(crate) fn refused(
    operation: &str,
    effect: Effect,
    status: u16,
    body: &[u8],
    retry_after: Option<Duration>,
) -> Failure {
    let words = words(body);
    let what = cut(&format!("{operation}: {}", words.as_deref().unwrap_or("no reason given")), 300);
    let is_quota = words.as_deref().is_some_and(speaks_of_quota);
    let error = match status {
        // Quota first: Nova has said it with 403 and with 413.
        403 | 413 | 429 if is_quota => ProviderError::QuotaExceeded { what },
        413 | 429 => ProviderError::Throttled { retry_after: retry_after.or_else(|| told_in(body)) },
        401 => ProviderError::Expired { what },
        403 => ProviderError::Denied { what },
        404 if words.is_some() => ProviderError::NotFound { what },
        409 if words.is_some() => ProviderError::Conflict { what },
        400..=499 if words.is_some() => ProviderError::Invalid { what },
        400..=499 => {
            let what = format!("{operation}: status {status}, not an answer of this API; check the endpoint");
            ProviderError::Invalid { what: what.into() }
        }
        300..=399 => {
            let why = format!("the endpoint redirects (status {status}), which is not followed; check the endpoint");
            return Failure { status: Some(status), ..Failure::unanswered(operation, effect, &why) };
        }
        _ => {
            let why = format!("status {status}: {}", words.as_deref().unwrap_or("not an answer of this API"));
            return Failure { status: Some(status), ..Failure::unanswered(operation, effect, &why) };
        }
    };
    Failure { status: Some(status), ..Failure::settled(error) }
}

fn speaks_of_quota(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    words.contains("quota") || words.contains("maximum number of ports exceeded")
}

/// `retryAfter` of Nova's `overLimit`.
fn told_in(body: &[u8]) -> Option<Duration> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let told = body.as_object()?.values().find_map(|inside| inside.get("retryAfter"))?;
    let secs = told.as_u64().or_else(|| told.as_str()?.parse().ok())?;
    Some(Duration::from_secs(secs.min(86_400)))
}

/// Reads a Retry-After header: whole seconds. Its other form, a date, would need the server's clock. At most a day.
pub(crate) fn retry_after(header: Option<&str>) -> Option<Duration> {
    header?.trim().parse::<u64>().ok().map(|secs| Duration::from_secs(secs.min(86_400)))
}

/// A refused launch as data.
pub(crate) fn launch_failure(error: &ProviderError, at: Timestamp) -> LaunchFailure {
    let (kind, scope) = match error {
        ProviderError::OutOfCapacity { scope } => (FailureKind::OutOfCapacity, scope.clone()),
        ProviderError::QuotaExceeded { .. } => (FailureKind::QuotaExceeded, Scope::Region),
        ProviderError::Denied { .. } => (FailureKind::Denied, Scope::Group),
        ProviderError::Invalid { .. } => (FailureKind::Invalid, Scope::Group),
        _ => (FailureKind::Other, Scope::Group),
    };
    LaunchFailure { kind, scope, at, message: cut(&error.to_string(), 200) }
}

/// Why a server went to ERROR, by the words of its `fault`; Nova's code there is 500 for nearly everything. The words
/// are those of nova's own exceptions: NoValidHost, MaxRetriesExceeded, PortLimitExceeded, the image's and the
/// flavor's checks.
pub(crate) fn fault_kind(words: &str) -> FailureKind {
    let words = words.to_ascii_lowercase();
    let says = |any: &[&str]| any.iter().any(|part| words.contains(part));
    if speaks_of_quota(&words) {
        FailureKind::QuotaExceeded
    } else if says(&[
        "no valid host",
        "exhausted all hosts",
        "exceeded maximum number of retries",
        "no fixed ip",
        "no more ip",
    ]) || says(&["insufficient", "not enough"])
    {
        FailureKind::OutOfCapacity
    } else if says(&["image", "flavor", "keypair", "security group"])
        && says(&["not be found", "not found", "unacceptable", "not active", "too small", "too large", "invalid"])
    {
        FailureKind::Invalid
    } else {
        FailureKind::Other
    }
}

/// The innermost causes say the most: outer layers only say which layer they are.
fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut words = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        words.push(cause.to_string());
        next = cause.source();
    }
    words.dedup();
    let from = words.len().saturating_sub(2);
    words.split_off(from).join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_named_by_what_to_do_next() {
        let body = |name: &str, message: &str| {
            serde_json::json!({ name: { "code": 1, "message": message } }).to_string().into_bytes()
        };
        let html = b"<html>x</html>".to_vec();
        for (status, body, expected) in [
            (
                403,
                body("forbidden", "Quota exceeded for instances: Requested 1, but already used 10"),
                "quota_exceeded",
            ),
            (413, body("overLimit", "Quota exceeded for cores"), "quota_exceeded"),
            (413, body("overLimit", "This request was rate-limited."), "throttled"),
            (429, html.clone(), "throttled"),
            (401, body("error", "The request you have made requires authentication."), "expired"),
            (403, body("forbidden", "Policy doesn't allow os_compute_api:servers:create"), "denied"),
            (403, html.clone(), "denied"),
            (404, body("itemNotFound", "Instance x could not be found."), "not_found"),
            (404, html.clone(), "invalid"),
            (409, body("conflictingRequest", "Instance x is locked"), "conflict"),
            (400, body("badRequest", "Invalid imageRef provided."), "invalid"),
            (406, body("computeFault", "Version 2.69 is not supported by the API."), "invalid"),
            (302, html.clone(), "unclear"),
            (500, body("computeFault", "Unexpected API Error."), "unclear"),
            (503, html, "unclear"),
        ] {
            let failure = refused("create_server", Effect::Write, status, &body, None);
            assert_eq!(failure.error.code(), expected, "{status}");
            assert_eq!(failure.harmless, expected != "unclear", "{status}");
            let read = refused("list_servers", Effect::Read, status, &body, None);
            assert!(!read.error.may_have_taken_effect() && read.harmless, "{status}");
        }
    }

    #[test]
    fn a_throttle_says_how_long_by_header_or_by_body() {
        let wait = |body: &str, header: Option<&str>| match refused(
            "list_servers",
            Effect::Read,
            413,
            body.as_bytes(),
            retry_after(header),
        )
        .error
        {
            ProviderError::Throttled { retry_after } => retry_after.map(|wait| wait.as_secs()),
            other => panic!("{other}"),
        };
        assert_eq!(wait("", Some("7")), Some(7));
        assert_eq!(wait(r#"{"overLimit": {"message": "slow", "retryAfter": "12"}}"#, None), Some(12));
        assert_eq!(wait(r#"{"overLimit": {"message": "slow", "retryAfter": 12}}"#, None), Some(12));
        assert_eq!(wait("", Some("Wed, 21 Oct 2026 07:28:00 GMT")), None);
        assert_eq!(wait("", Some("99999999")), Some(86_400));
    }

    #[test]
    fn a_fault_is_told_by_its_words() {
        for (words, expected) in [
            ("No valid host was found. There are not enough hosts available.", FailureKind::OutOfCapacity),
            ("No valid host was found. ", FailureKind::OutOfCapacity),
            (
                "Exceeded maximum number of retries. Exhausted all hosts available for retrying",
                FailureKind::OutOfCapacity,
            ),
            ("Maximum number of ports exceeded", FailureKind::QuotaExceeded),
            ("Quota exceeded for instances: Requested 1", FailureKind::QuotaExceeded),
            ("Image 4a1b could not be found.", FailureKind::Invalid),
            ("Flavor's disk is too small for requested image.", FailureKind::Invalid),
            ("Build of instance 1f was re-scheduled: oops", FailureKind::Other),
            ("Build of instance 1f aborted: Failure prepping block device.", FailureKind::Other),
            ("", FailureKind::Other),
        ] {
            assert_eq!(fault_kind(words), expected, "{words}");
        }
    }

    #[test]
    fn words_are_cut_to_one_line_of_whole_characters() {
        assert_eq!(&*cut("a\n  b\tc", 200), "a b c");
        assert_eq!(&*cut("ééé", 2), "éé");
    }
}
