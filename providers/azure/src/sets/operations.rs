//! Following what Azure still works on: asynchronous operations, by the URL that a write was answered with.
//!
//! Such a URL is kept by the caller, over a restart too, as an operation's name. Behind its `#`, which is never sent, stands
//! what must not be lost with it: what kind of write it was, whose action, and before when it must not be asked. In: those
//! names. Out: which are still under way; launches that failed are noted.

use super::Sets;
use crate::arm::{self, AsyncOperation, ScaleSet};
use crate::codes::{Meaning, meaning};
use crate::errors::{ArmError, cut, nonsense};
use crate::limiter::Wait;
use crate::shape;
use crate::wire::Answer;
use contract::{ActionId, Ask, FailureKind, LaunchFailure, OperationInFlight, ProviderError, Scope, Timestamp};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// An operation that does not say when to ask again is asked after this long.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// One that has not ended so long after its first time to ask is followed no more: no write to a set takes as long.
const GIVE_UP: Duration = Duration::from_secs(86_400);
/// The permission that following needs, as a custom role spells it.
const PERMISSION: &str = "Microsoft.Compute/locations/operations/read";

/// What kind of write an operation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Raise,
    Other,
}

/// An operation as its name tells it.
#[derive(Debug, PartialEq)]
struct Name<'a> {
    url: &'a str,
    purpose: Purpose,
    action: Option<ActionId>,
    not_before: Timestamp,
}

/// What is known of an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Followed {
    /// It must not be asked before.
    Waiting(Wait),
    Ended,
}

/// What one answer says of an operation.
#[derive(Debug, PartialEq)]
enum Progress {
    UnderWay,
    Done,
    Failed(ArmError, Option<Timestamp>),
}

/// The name of the operation that an accepted write began; `None` when the write is done already.
pub(super) fn name(answer: &Answer, purpose: Purpose, action: ActionId, now: Timestamp) -> Option<Box<str>> {
    // The first says how it went, the second only that it went on.
    let url = answer.header("azure-asyncoperation").or(answer.header("location")).filter(|url| !url.is_empty())?;
    let word = if purpose == Purpose::Raise { "raise" } else { "other" };
    let after = now.after(answer.retry_after.unwrap_or(ASK_AGAIN));
    let secs = after.0.div_euclid(1_000_000) + i64::from(after.0.rem_euclid(1_000_000) > 0);
    let bare = url.split('#').next().unwrap_or(url);
    Some(format!("{bare}#{word}/{action}/{secs}").into())
}

fn parse(name: &str) -> Name<'_> {
    let (url, mark) = name.split_once('#').unwrap_or((name, ""));
    let mut parts = mark.split('/');
    let purpose = if parts.next() == Some("raise") { Purpose::Raise } else { Purpose::Other };
    let action = parts.next().and_then(|action| u128::from_str_radix(action, 16).ok()).map(ActionId);
    let not_before = parts.next().and_then(|secs| secs.parse().ok()).map_or(Timestamp(0), Timestamp::from_secs);
    Name { url, purpose, action, not_before }
}

/// What an answer says. An operation's own resource has a status word; a Location answers 202 until it is done.
///
/// # Errors
/// When it cannot be read, which says nothing of the operation.
fn progress(status: u16, body: &[u8]) -> Result<Progress, ProviderError> {
    if status == 202 {
        return Ok(Progress::UnderWay);
    }
    let wrong = |error: serde_json::Error| nonsense(format!("GetOperation: not what the API promises ({error})"));
    let body = body.trim_ascii();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).map_err(wrong)? };
    // A Location that is done answers with the resource, or with nothing.
    if body.is_null() || body.is_object() && body.get("status").is_none() {
        return Ok(Progress::Done);
    }
    let operation: AsyncOperation = serde_json::from_value(body).map_err(wrong)?;
    Ok(match operation.status.as_str() {
        "Succeeded" => Progress::Done,
        "Failed" | "Canceled" => {
            Progress::Failed(operation.error.unwrap_or_default(), arm::time(operation.end_time.as_deref()))
        }
        // Azure's rule: every word that is not one of those three means that it goes on.
        _ => Progress::UnderWay,
    })
}

impl Sets {
    /// Follows the operations of an ask, each at its own pace. Those still under way.
    pub(super) async fn follow(
        &self,
        key: &str,
        set: &ScaleSet,
        ask: &Ask,
        deadline: Instant,
    ) -> Vec<OperationInFlight> {
        self.group(key, |group| group.operations.retain(|name, _| ask.operations.contains(name)));
        let mut under_way = Vec::new();
        for text in &ask.operations {
            let name = parse(text);
            let now = (self.now)();
            let known = self.group(key, |group| {
                let new = || Followed::Waiting(Wait::until(name.not_before));
                *group.operations.entry(text.clone()).or_insert_with(new)
            });
            let followed = match known {
                Followed::Waiting(wait) if wait.left(now) == Duration::ZERO => {
                    given_up(key, &name, self.ask_operation(key, set, &name, deadline).await, now)
                }
                known => known,
            };
            self.group(key, |group| group.operations.insert(text.clone(), followed));
            if followed != Followed::Ended {
                under_way.push(OperationInFlight { name: text.clone(), action: name.action });
            }
        }
        under_way
    }

    async fn ask_operation(&self, key: &str, set: &ScaleSet, name: &Name<'_>, deadline: Instant) -> Followed {
        let Some(url) = self.wire.own(name.url) else {
            tracing::warn!(group = key, "an operation on another host than the endpoint's is not followed");
            return Followed::Ended;
        };
        let answer = self.wire.read("GetOperation", &url, deadline).await;
        let now = (self.now)();
        let after = |wait: Option<Duration>| Followed::Waiting(Wait::new(now, wait.unwrap_or(ASK_AGAIN)));
        let answer = match answer {
            Ok(answer) => answer,
            Err(ProviderError::Throttled { retry_after }) => return after(retry_after),
            // Azure forgets operations after a while: how it went, the set shows.
            Err(ProviderError::NotFound { .. }) => return Followed::Ended,
            // A Location tells of a failure by its own status.
            Err(error @ (ProviderError::OutOfCapacity { .. } | ProviderError::QuotaExceeded { .. })) => {
                if name.purpose == Purpose::Raise {
                    self.group(key, |group| group.note(of_refusal(&error, now)));
                }
                return Followed::Ended;
            }
            Err(error @ (ProviderError::Denied { .. } | ProviderError::Invalid { .. })) => {
                tracing::warn!(group = key, %error, "an operation is not followed: allow {PERMISSION} to these credentials");
                return Followed::Ended;
            }
            Err(error) => {
                tracing::debug!(group = key, %error, "an operation could not be asked");
                return after(None);
            }
        };
        let progress = match progress(answer.status, answer.body()) {
            Ok(progress) => progress,
            Err(error) => {
                tracing::debug!(group = key, %error, "an operation is asked again");
                return after(answer.retry_after);
            }
        };
        match progress {
            Progress::UnderWay => return after(answer.retry_after),
            Progress::Done => {}
            Progress::Failed(error, ended) => {
                let (code, message) = error.telling();
                tracing::warn!(group = key, code, message, "an operation failed");
                // One that another write took the place of has failed nobody.
                let preempted = meaning(code, message) == Some(Meaning::Preempted);
                if name.purpose == Purpose::Raise && !preempted {
                    let failure = shape::failure(set, code, message, ended.filter(|at| *at <= now).unwrap_or(now));
                    self.group(key, |group| group.note(failure));
                }
            }
        }
        Followed::Ended
    }
}

/// Ends what has gone on for too long: nobody would ever hear how it went.
fn given_up(key: &str, name: &Name<'_>, followed: Followed, now: Timestamp) -> Followed {
    if followed == Followed::Ended || now.since(name.not_before) < GIVE_UP {
        return followed;
    }
    tracing::warn!(
        group = key,
        operation = name.url,
        "an operation has not ended within a day and is not followed any more"
    );
    Followed::Ended
}

/// The launch failure that such a refusal is.
fn of_refusal(error: &ProviderError, at: Timestamp) -> LaunchFailure {
    let (kind, scope) = match error {
        ProviderError::OutOfCapacity { scope } => (FailureKind::OutOfCapacity, scope.clone()),
        _ => (FailureKind::QuotaExceeded, Scope::Region),
    };
    LaunchFailure { kind, scope, at, message: cut(&error.to_string(), 200) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_carries_what_a_restart_must_not_lose() {
        let text = "https://arm.example/operations/1?api-version=x#raise/0000000000000000000000000000002a/1700000010";
        let expected = Name {
            url: "https://arm.example/operations/1?api-version=x",
            purpose: Purpose::Raise,
            action: Some(ActionId(42)),
            not_before: Timestamp::from_secs(1_700_000_010),
        };
        assert_eq!(parse(text), expected);
        let bare = parse("https://arm.example/operations/1");
        assert_eq!((bare.purpose, bare.action, bare.not_before), (Purpose::Other, None, Timestamp(0)));
    }

    #[test]
    fn what_cannot_be_read_has_not_succeeded() {
        let said = |status: u16, body: &str| progress(status, body.as_bytes()).map_err(|error| error.code());
        let failed = ArmError { code: Some("AllocationFailed".into()), message: None, details: Vec::new() };
        let body = r#"{"status":"Failed","error":{"code":"AllocationFailed","details":null}}"#;
        assert_eq!(said(200, body), Ok(Progress::Failed(failed, None)));
        assert_eq!(said(200, r#"{"status":"Succeeded","properties":{}}"#), Ok(Progress::Done));
        assert_eq!(said(200, r#"{"status":"Updating"}"#), Ok(Progress::UnderWay));
        for (status, done) in [(200, ""), (204, ""), (200, "null"), (200, r#"{"id":"/x","properties":{}}"#)] {
            assert_eq!(said(status, done), Ok(Progress::Done), "{done}");
        }
        for unreadable in ["<html>", r#"{"status":"Succ"#, r#"{"status":null}"#, r#"{"status":7}"#, "[]", "true"] {
            assert_eq!(said(200, unreadable), Err("transport"), "{unreadable}");
        }
        assert_eq!(said(202, "<html>"), Ok(Progress::UnderWay));
    }
}
