//! From an answer that is no success to a [`ProviderError`]: by what the caller does next.
//!
//! The only place that knows how an API server words its refusals. It must never call a write that was sent and not
//! answered harmless, nor take what a web server in between says for the API's own word.

pub(crate) use contract::Effect;
use contract::ProviderError;
use serde::Deserialize;
use std::error::Error;
use std::time::Duration;

/// A failed call: the typed error, and what only this crate needs to know of it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub error: ProviderError,
    /// The server does not know this path: the object, or the whole kind, is not there.
    pub missing: bool,
    /// The list that a continue token belongs to is no longer kept: begin again.
    pub gone: bool,
    /// The call has certainly changed nothing.
    pub harmless: bool,
}

impl From<Failure> for ProviderError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// What an API server says when it refuses: `kind: Status`.
#[derive(Debug, Deserialize)]
struct Status {
    kind: String,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Details {
    retry_after_seconds: Option<u64>,
}

/// The cluster's words, cut so that a log line stays a line.
pub(crate) fn cut(text: &str, most: usize) -> Box<str> {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => line[..end].into(),
        None => line.into(),
    }
}

/// A call that was refused, or never sent: nothing has changed.
pub(crate) fn settled(error: ProviderError) -> Failure {
    Failure { error, missing: false, gone: false, harmless: true }
}

/// A call that got no usable answer: a read is simply unknown, a write may have taken effect.
pub(crate) fn unanswered(operation: &str, effect: Effect, why: &str, source: Option<kube::Error>) -> Failure {
    let what = cut(&format!("{operation}: {why}"), 300);
    let source: Option<Box<dyn Error + Send + Sync>> = source.map(|error| Box::new(error) as _);
    let error = match effect {
        Effect::Read => ProviderError::Transport { what, source },
        Effect::Write => ProviderError::Unclear { what, source },
    };
    Failure { harmless: effect == Effect::Read, ..settled(error) }
}

/// A call that was never sent.
pub(crate) fn unsent(operation: &str, why: &str) -> Failure {
    settled(ProviderError::Transport { what: cut(&format!("{operation}: {why}"), 300), source: None })
}

/// A call that was not answered at all.
pub(crate) fn broken(operation: &'static str, effect: Effect, error: kube::Error) -> Failure {
    let words = deepest(&error);
    if chain(&error).any(|cause| cause.downcast_ref::<kube::client::AuthError>().is_some()) {
        let what = cut(&format!("{operation}: no credentials: {words}"), 300);
        return settled(ProviderError::Denied { what });
    }
    if words.to_ascii_lowercase().contains("certificate") {
        // The handshake comes before the request.
        let why = format!("{words}; check the server's address and certificate-authority in the kubeconfig");
        return unsent(operation, &why);
    }
    let connecting = chain(&error)
        .filter_map(|cause| cause.downcast_ref::<hyper_util::client::legacy::Error>())
        .any(hyper_util::client::legacy::Error::is_connect);
    if connecting { unsent(operation, &words) } else { unanswered(operation, effect, &words, Some(error)) }
}

/// An answer that is no success.
pub(crate) fn refused(
    operation: &str,
    effect: Effect,
    status: u16,
    retry_after: Option<Duration>,
    body: &[u8],
) -> Failure {
    let told = serde_json::from_slice::<Status>(body).ok().filter(|told| told.kind == "Status");
    let reason = told.as_ref().and_then(|told| told.reason.clone()).unwrap_or_default();
    let details = told.as_ref().and_then(|told| told.details.as_ref()).and_then(|details| details.retry_after_seconds);
    let message = told.as_ref().and_then(|told| told.message.as_deref()).unwrap_or("no reason given");
    let what = cut(&format!("{operation}: {message}"), 300);
    match (status, &told) {
        (429, _) => {
            let retry_after = retry_after.or(details.map(|secs| Duration::from_secs(secs.min(86_400))));
            settled(ProviderError::Throttled { retry_after })
        }
        (401, _) => {
            let what = format!("{what}; the token or client certificate has expired or is unknown to the cluster");
            settled(ProviderError::Expired { what: cut(&what, 300) })
        }
        (403, Some(_)) if message.contains("exceeded quota") => settled(ProviderError::QuotaExceeded { what }),
        (403, _) => settled(ProviderError::Denied { what }),
        (404, Some(_)) => Failure { missing: true, ..settled(ProviderError::NotFound { what }) },
        (409, Some(_)) => settled(ProviderError::Conflict { what }),
        (410, Some(_)) => Failure { gone: true, ..unanswered(operation, Effect::Read, message, None) },
        (408, _) => unanswered(operation, effect, "the server gave up waiting (status 408)", None),
        (400..=499, Some(_)) => {
            settled(ProviderError::Invalid { what: cut(&format!("{operation}: {reason}: {message}"), 300) })
        }
        (400..=499, None) => {
            let what = format!("{operation}: status {status}, not an answer of a Kubernetes API; check its address");
            // An API server says it in these words when no group or version of that name is installed.
            let missing = status == 404 && body.trim_ascii() == b"404 page not found";
            Failure { missing, ..settled(ProviderError::Invalid { what: what.into() }) }
        }
        (300..=399, _) => {
            let why = format!("the server redirects (status {status}), which is not followed; check its address");
            unanswered(operation, effect, &why, None)
        }
        (_, Some(_)) => unanswered(operation, effect, &format!("{reason}: {message} (status {status})"), None),
        (_, None) => {
            let why = format!("status {status}, and the body is not an answer of a Kubernetes API");
            unanswered(operation, effect, &why, None)
        }
    }
}

/// An answer that cannot be right.
pub(crate) fn nonsense(what: String) -> ProviderError {
    ProviderError::Transport { what: cut(&what, 300), source: None }
}

/// Seconds only: the other form of Retry-After, a date, would need a clock. A day is the longest that makes sense.
pub(crate) fn retry_after(header: Option<&http::HeaderValue>) -> Option<Duration> {
    let secs = header?.to_str().ok()?.trim().parse::<u64>().ok()?;
    Some(Duration::from_secs(secs.min(86_400)))
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

/// The innermost cause says the most: outer layers only say which layer they are.
fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut words: Vec<String> = chain(error).map(ToString::to_string).collect();
    words.dedup();
    let from = words.len().saturating_sub(2);
    words.split_off(from).join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_to_do_next() {
        let check = |effect: Effect, status: u16, body: &str, code: &str| {
            let failure = refused("op", effect, status, None, body.as_bytes());
            assert_eq!(failure.error.code(), code, "{status} {body}");
            assert_eq!(failure.harmless, failure.error.code() != "unclear", "{status} {body}");
        };
        let told = |reason: &str, message: &str| {
            format!(
                r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"{message}","reason":"{reason}"}}"#
            )
        };
        use Effect::{Read, Write};
        check(Write, 401, &told("Unauthorized", "Unauthorized"), "expired");
        check(Write, 403, &told("Forbidden", "deployments.apps \\\"web\\\" is forbidden"), "denied");
        check(Write, 403, &told("Forbidden", "pods is forbidden: exceeded quota: q"), "quota_exceeded");
        check(Read, 403, "<html>no</html>", "denied");
        check(Read, 404, &told("NotFound", "no"), "not_found");
        check(Read, 404, "404 page not found\n", "invalid");
        check(Read, 404, "<html>", "invalid");
        check(Write, 409, &told("Conflict", "changed"), "conflict");
        check(Read, 410, &told("Expired", "too old"), "transport");
        check(Write, 422, &told("Invalid", "replicas"), "invalid");
        check(Write, 429, "", "throttled");
        check(Write, 302, "", "unclear");
        check(Read, 302, "", "transport");
        for body in [told("InternalError", "x"), "<html>".into(), String::new()] {
            check(Read, 500, &body, "transport");
            check(Write, 503, &body, "unclear");
        }
    }

    #[test]
    fn the_wait_is_the_headers_or_the_bodys() {
        let body = br#"{"kind":"Status","details":{"retryAfterSeconds":9}}"#;
        let wait =
            |header: Option<u64>| match refused("op", Effect::Read, 429, header.map(Duration::from_secs), body).error {
                ProviderError::Throttled { retry_after } => retry_after.map(|wait| wait.as_secs()),
                _ => None,
            };
        assert_eq!((wait(Some(3)), wait(None)), (Some(3), Some(9)));
    }
}
