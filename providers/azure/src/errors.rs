//! From an answer that is no success, or from none at all, to a [`ProviderError`]: by what the caller does next.
//!
//! In comes what a call ended with and whether it could change anything; out goes one typed error. It must never call a
//! write that was sent and not answered harmless.

use crate::codes::{Meaning, meaning};
use azure_core::error::ErrorKind;
pub(crate) use contract::Effect;
use contract::{ProviderError, Scope};
use serde::Deserialize;
use std::error::Error;
use std::time::Duration;

/// The cloud's words, cut so that a log line stays a line.
pub(crate) fn cut(text: &str, most: usize) -> Box<str> {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => line[..end].into(),
        None => line.into(),
    }
}

/// ARM's error, as answers and failed operations carry it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ArmError {
    pub code: Option<String>,
    pub message: Option<String>,
    #[serde(deserialize_with = "details")]
    pub details: Vec<ArmError>,
}

/// Details are words beside the code: null ones, or some of another form, spoil nothing.
fn details<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<ArmError>, D::Error> {
    let items = match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Array(items) => items,
        _ => Vec::new(),
    };
    Ok(items.into_iter().filter_map(|item| serde_json::from_value(item).ok()).collect())
}

impl ArmError {
    /// The code and message that say most: the outermost that is in the table, for the outer one is often `DeploymentFailed`.
    pub fn telling(&self) -> (&str, &str) {
        let own = (self.code.as_deref().unwrap_or_default(), self.message.as_deref().unwrap_or_default());
        if meaning(own.0, own.1).is_some() {
            return own;
        }
        let inner = self.details.iter().map(ArmError::telling).find(|(code, text)| meaning(code, text).is_some());
        inner.unwrap_or(own)
    }

    fn has(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code) || self.details.iter().any(|inner| inner.has(code))
    }
}

/// What is busy when Azure says to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// Resource Manager has had too many calls of this principal, whatever they asked for.
    Subscription,
    /// There were too many calls of this kind.
    Calls,
    /// Something else is being done to this one resource; that says nothing of how often we call.
    Resource,
}

/// Whose patience a busy answer with this body asks for.
pub(crate) fn busy(body: &[u8]) -> Busy {
    let Some(error) = read(body) else { return Busy::Calls };
    let is = |codes: &[&str]| codes.iter().any(|code| error.has(code));
    match () {
        () if is(&["SubscriptionRequestsThrottled"]) => Busy::Subscription,
        () if is(&["RetryableErrorDueToAnotherOperation", "AnotherOperationInProgress"]) => Busy::Resource,
        () => Busy::Calls,
    }
}

#[derive(Deserialize)]
struct Body {
    error: Option<ArmError>,
    #[serde(flatten)]
    bare: ArmError,
}

/// The error in an answer's body; `None` when it is not ARM's JSON.
fn read(body: &[u8]) -> Option<ArmError> {
    let body: Body = serde_json::from_slice(body).ok()?;
    Some(body.error.unwrap_or(body.bare)).filter(|error| error.code.is_some())
}

/// Classifies an answer whose status is no success.
pub(crate) fn refused(
    operation: &str,
    effect: Effect,
    status: u16,
    retry_after: Option<Duration>,
    body: &[u8],
) -> ProviderError {
    let Some(error) = read(body) else {
        return by_status(operation, effect, status, retry_after);
    };
    let (code, message) = error.telling();
    let what = cut(&format!("{operation}: {code}: {message}"), 300);
    let meant = match (status, meaning(code, message)) {
        // Whatever it is called, it says to wait.
        (429, _) => Some(Meaning::Throttled),
        (412, _) => Some(Meaning::Conflict),
        // An operation that ended badly on the server's side may have begun.
        (500.., Some(Meaning::Conflict | Meaning::NotFound | Meaning::Invalid)) => None,
        (_, meant) => meant,
    };
    match meant {
        Some(Meaning::Throttled) => ProviderError::Throttled { retry_after },
        Some(Meaning::Denied) => ProviderError::Denied { what },
        Some(Meaning::Expired) => ProviderError::Expired { what },
        Some(Meaning::NotFound) => ProviderError::NotFound { what },
        Some(Meaning::Conflict) => ProviderError::Conflict { what },
        Some(Meaning::Preempted) => unanswered(effect, what, None),
        Some(Meaning::OutOfCapacity) => ProviderError::OutOfCapacity { scope: scope(code, message, None, &[]) },
        Some(Meaning::Quota) => ProviderError::QuotaExceeded { what },
        Some(Meaning::Invalid) => ProviderError::Invalid { what },
        None => match status {
            401 | 403 => ProviderError::Denied { what },
            404 => ProviderError::NotFound { what },
            409 => ProviderError::Conflict { what },
            400..=499 => ProviderError::Invalid { what },
            _ => unanswered(effect, what, None),
        },
    }
}

fn by_status(operation: &str, effect: Effect, status: u16, retry_after: Option<Duration>) -> ProviderError {
    let what = format!("{operation}: status {status}, and the body is not an answer of this API; check endpoint_url");
    match status {
        429 => ProviderError::Throttled { retry_after },
        401 | 403 => ProviderError::Denied { what: what.into() },
        412 => ProviderError::Conflict { what: what.into() },
        // Not 404 either: a web server that knows no such page says nothing of the set.
        400..=499 => ProviderError::Invalid { what: what.into() },
        300..=399 => {
            let what =
                format!("{operation}: the endpoint redirects (status {status}); not followed, check endpoint_url");
            ProviderError::Transport { what: what.into(), source: None }
        }
        _ => unanswered(effect, what.into(), None),
    }
}

/// A call that got no usable answer: a read is simply unknown, a write may have taken effect.
pub(crate) fn unanswered(
    effect: Effect,
    what: Box<str>,
    source: Option<Box<dyn Error + Send + Sync>>,
) -> ProviderError {
    match effect {
        Effect::Read => ProviderError::Transport { what, source },
        Effect::Write => ProviderError::Unclear { what, source },
    }
}

/// Classifies a call that ended without an answer. The flag says that a connection broke: a read may be tried again.
pub(crate) fn failed(operation: &str, effect: Effect, error: azure_core::Error) -> (ProviderError, bool) {
    let what = cut(&format!("{operation}: {}", deepest(&error)), 300);
    match error.kind() {
        ErrorKind::Credential => (no_token(error), false),
        // Never sent.
        ErrorKind::Connection => (ProviderError::Transport { what, source: Some(Box::new(error)) }, true),
        ErrorKind::Io => (unanswered(effect, what, Some(Box::new(error))), true),
        _ => (unanswered(effect, what, Some(Box::new(error))), false),
    }
}

/// Classifies the failure to get a token: nothing was sent, and who must act depends on what Entra said.
pub(crate) fn no_token(error: azure_core::Error) -> ProviderError {
    let words = chain(&error).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let what = cut(&format!("no token: {}", deepest(&error)), 300);
    let of_entra = chain(&error).filter_map(|cause| cause.downcast_ref::<azure_core::Error>()).find_map(|cause| {
        match cause.kind() {
            ErrorKind::HttpResponse { status, .. } => Some(u16::from(*status)),
            _ => None,
        }
    });
    let unreachable = chain(&error)
        .filter_map(|cause| cause.downcast_ref::<azure_core::Error>())
        .any(|cause| matches!(cause.kind(), ErrorKind::Connection | ErrorKind::Io | ErrorKind::DataConversion));
    match of_entra {
        Some(429) => ProviderError::Throttled { retry_after: None },
        Some(status) if status >= 500 => ProviderError::Transport { what, source: Some(Box::new(error)) },
        _ if meaning("invalid_client", &words) == Some(Meaning::Expired) => ProviderError::Expired { what },
        Some(_) => ProviderError::Denied { what },
        None if unreachable => ProviderError::Transport { what, source: Some(Box::new(error)) },
        None => ProviderError::Denied { what },
    }
}

/// How far a refusal reaches: the zone when the set has just one or the words name it, the size, else the group.
pub(crate) fn scope(code: &str, message: &str, size: Option<&str>, zones: &[String]) -> Scope {
    match code {
        "ZonalAllocationFailed" | "OverconstrainedZonalAllocationRequest" => match zones {
            [only] => Scope::Zone(only.as_str().into()),
            _ => zone_in(message).map_or(Scope::Group, |zone| Scope::Zone(zone.into())),
        },
        "SkuNotAvailable" => size.map_or(Scope::Group, |size| Scope::Type(size.into())),
        _ => Scope::Group,
    }
}

/// The zone in words like `... in zone '2' ...`: a single digit, as Azure numbers them.
fn zone_in(message: &str) -> Option<&str> {
    let after = &message[message.to_ascii_lowercase().find("zone '")? + "zone '".len()..];
    after.split('\'').next().filter(|zone| zone.len() == 1 && zone.chars().all(|c| c.is_ascii_digit()))
}

/// An answer that makes no sense; the group stays unknown.
pub(crate) fn nonsense(what: impl Into<Box<str>>) -> ProviderError {
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
