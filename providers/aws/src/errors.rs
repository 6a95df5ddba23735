//! From an SDK's error to a [`ProviderError`]: by what the caller does next.
//!
//! In comes whatever a call ended with, and whether the call could change anything; out goes one typed error. The only
//! place that knows AWS' error codes and words. It must never call a write that was sent and not answered harmless.

use crate::codes::{Meaning, meaning};
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
pub(crate) use contract::Effect;
use contract::{ProviderError, Scope};
use std::error::Error;
use std::time::Duration;

/// A failed call: the typed error, and what only this crate needs to know of it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub error: ProviderError,
    /// The API itself says that it does not know the call.
    pub unknown_call: bool,
    /// The answer was not in the API's own language (a web server's error page): a hint of the same, and no more.
    pub foreign_tongue: bool,
    /// A 5xx that nobody could read: either that, or something stands in between and is in trouble.
    pub garbled: bool,
    /// The call has certainly changed nothing, so that it may be tried again after another look.
    pub harmless: bool,
}

impl Failure {
    /// One that has certainly changed nothing, and says nothing of the endpoint.
    pub fn settled(error: ProviderError) -> Self {
        Self { error, unknown_call: false, foreign_tongue: false, garbled: false, harmless: true }
    }
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

/// Classifies a call's failure.
pub(crate) fn classify<E>(operation: &str, effect: Effect, error: SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let status = error.raw_response().map(|raw| raw.status().as_u16());
    let retry_after = error.raw_response().and_then(|raw| retry_after(raw.headers().get("retry-after")));
    let code = error.code().filter(|code| !code.is_empty()).map(str::to_owned);
    let message = error.message().unwrap_or_default().to_owned();
    match (&error, status, code) {
        (_, Some(status), Some(code)) => by_code(operation, effect, &code, &message, status, retry_after, error),
        (_, Some(status), None) => by_status(operation, effect, status, retry_after, error),
        _ if !was_sent(&error) => unsent(operation, error),
        _ => unanswered(operation, effect, &deepest(&error), Some(Box::new(error))),
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
    Failure { harmless: effect == Effect::Read, ..Failure::settled(error) }
}

fn unsent<E>(operation: &str, error: SdkError<E, HttpResponse>) -> Failure
where
    E: Error + Send + Sync + 'static,
{
    let advice = match is_distrust(&error) {
        true => "; check endpoint_url, or let this machine trust the certificate's authority (SSL_CERT_FILE)",
        false => "",
    };
    let words = cut(&format!("{operation}: {}{advice}", deepest(&error)), 300);
    let error = match credentials_error(&error) {
        Some(CredentialsError::InvalidConfiguration(_)) => ProviderError::Invalid { what: words },
        Some(CredentialsError::ProviderTimedOut(_)) | None => {
            ProviderError::Transport { what: words, source: Some(Box::new(error)) }
        }
        Some(_) => {
            let what = format!("no credentials (environment, profile, web identity, container, IMDS): {words}");
            ProviderError::Denied { what: cut(&what, 300) }
        }
    };
    Failure::settled(error)
}

fn by_status<E>(
    operation: &str,
    effect: Effect,
    status: u16,
    retry_after: Option<Duration>,
    error: SdkError<E, HttpResponse>,
) -> Failure
where
    E: Error + Send + Sync + 'static,
{
    let settled = Failure::settled;
    match status {
        429 => settled(ProviderError::Throttled { retry_after }),
        401 | 403 => {
            settled(ProviderError::Denied { what: format!("{operation}: status {status} without a reason").into() })
        }
        400..=499 => {
            let what = format!("{operation}: status {status}, not an answer of this API; check endpoint_url");
            Failure { foreign_tongue: true, ..settled(ProviderError::Invalid { what: what.into() }) }
        }
        300..=399 => {
            let why = format!("the endpoint redirects (status {status}), which is not followed; check endpoint_url");
            unanswered(operation, effect, &why, Some(Box::new(error)))
        }
        _ => {
            let why = format!("status {status}, and the body is not an answer of this API ({})", deepest(&error));
            // 502 to 504 come from what stands in front of an endpoint; only 500 and 501 speak of the call itself.
            let foreign_tongue = matches!(status, 500 | 501);
            Failure {
                foreign_tongue,
                garbled: status >= 500,
                ..unanswered(operation, effect, &why, Some(Box::new(error)))
            }
        }
    }
}

fn by_code<E>(
    operation: &str,
    effect: Effect,
    code: &str,
    message: &str,
    status: u16,
    retry_after: Option<Duration>,
    error: SdkError<E, HttpResponse>,
) -> Failure
where
    E: Error + Send + Sync + 'static,
{
    let what = cut(&format!("{operation}: {code}: {message}"), 300);
    let settled = Failure::settled;
    match meaning(code, message) {
        Some(Meaning::Throttled) => settled(ProviderError::Throttled { retry_after }),
        Some(Meaning::Denied) => settled(ProviderError::Denied { what }),
        Some(Meaning::Expired) => settled(ProviderError::Expired { what }),
        Some(Meaning::NotFound) => settled(ProviderError::NotFound { what }),
        Some(Meaning::Conflict) => settled(ProviderError::Conflict { what }),
        Some(Meaning::OutOfCapacity) => settled(ProviderError::OutOfCapacity { scope: scope(message) }),
        Some(Meaning::Quota) => settled(ProviderError::QuotaExceeded { what }),
        Some(Meaning::Unknown) => Failure { unknown_call: true, ..settled(ProviderError::Invalid { what }) },
        None if !(400..500).contains(&status) => {
            unanswered(operation, effect, &format!("{code}: {message} (status {status})"), Some(Box::new(error)))
        }
        None => settled(ProviderError::Invalid { what }),
    }
}

/// How far a refusal reaches, from its words: the zone it names, else the instance type, else the group.
pub(crate) fn scope(message: &str) -> Scope {
    if let Some(zone) = zone_in(message) {
        return Scope::Zone(zone.into());
    }
    match type_in(message) {
        Some(kind) => Scope::Type(kind.into()),
        None => Scope::Group,
    }
}

/// The zone in `... in the Availability Zone you requested (us-east-1e). ...`: the first one in brackets after the words.
fn zone_in(message: &str) -> Option<&str> {
    let after = &message[message.find("Availability Zone")?..];
    let inside = &after[after.find('(')? + 1..];
    Some(&inside[..inside.find(')')?]).filter(|text| is_zone(text))
}

/// `us-east-1a`, `us-gov-west-1b`, `us-west-2-lax-1a`.
fn is_zone(text: &str) -> bool {
    let plain = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    plain && text.matches('-').count() >= 2 && text.len() <= 32 && text.ends_with(|c: char| c.is_ascii_lowercase())
}

/// The type in `... do not have sufficient m5.large capacity ...`.
fn type_in(message: &str) -> Option<&str> {
    let after = &message[message.find("sufficient ")? + "sufficient ".len()..];
    let word = after.split_whitespace().next()?;
    word.split_once('.').filter(|(family, size)| !family.is_empty() && !size.is_empty()).map(|_| word)
}

fn retry_after(header: Option<&str>) -> Option<Duration> {
    // Seconds only: the other form, a date, would need a clock. A day is the longest that makes sense.
    header?.trim().parse::<u64>().ok().map(|secs| Duration::from_secs(secs.min(86_400)))
}

/// False only when the request has certainly not left: it could not be built, no credentials, or no connection.
fn was_sent<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    E: Error + Send + Sync + 'static,
{
    match error {
        SdkError::ConstructionFailure(_) => false,
        SdkError::DispatchFailure(_) => {
            credentials_error(error).is_none()
                // The HTTP stack keeps these types to itself, so their words have to do; a test drives each of them, and
                // an unknown wording counts as sent, which is the careful side.
                && !chain(error).any(|cause| {
                    let words = cause.to_string();
                    words.starts_with("client error (Connect)")
                        || words.starts_with("HTTP connect timeout")
                        || words.starts_with("tcp connect error")
                        || words.starts_with("dns error")
                        || cause
                            .downcast_ref::<std::io::Error>()
                            .is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
                })
        }
        _ => true,
    }
}

/// Whether the server's certificate is not trusted, or not the server's. The TLS library's own error is not among this
/// crate's types, so its words have to do, as above.
fn is_distrust(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|cause| cause.to_string().starts_with("invalid peer certificate"))
}

fn credentials_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CredentialsError> {
    chain(error).find_map(|cause| cause.downcast_ref::<CredentialsError>())
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
#[path = "errors_tests.rs"]
mod tests;
