//! Azure's errors, and its answers made wrong.

use super::sets::next_link;
use crate::faults::{Garble, Refusal};
use crate::request::{Reply, Request};
use serde_json::{Value, json};

/// How many empty pages come before the right ones.
const EMPTY: usize = 2;

/// An error in ARM's form.
pub(super) fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, &json!({ "error": { "code": code, "message": message } }))
}

pub(super) fn refuse(refusal: &Refusal) -> Reply {
    match refusal {
        Refusal::Throttled { retry_after } => {
            // Resource Manager's own, which is of every call of the subscription.
            let text = "There were more requests of this principal for this subscription than are allowed.";
            let reply = error(429, "SubscriptionRequestsThrottled", text);
            match retry_after {
                Some(wait) => reply.with("retry-after", wait.as_secs().to_string()),
                None => reply,
            }
        }
        Refusal::Internal => error(500, "InternalServerError", "An unexpected error occurred."),
        Refusal::Denied => {
            error(403, "AuthorizationFailed", "The client does not have authorization to perform action.")
        }
        Refusal::Expired => {
            error(401, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than now.")
        }
        Refusal::WrongCredentials => error(401, "InvalidAuthenticationToken", "The access token is invalid."),
        Refusal::ClockOff => {
            error(401, "InvalidAuthenticationToken", "Lifetime validation failed: the token is not yet valid.")
        }
        Refusal::OutOfCapacity => error(409, "AllocationFailed", "Allocation failed. There is not enough capacity."),
        Refusal::QuotaExceeded => error(
            409,
            "OperationNotAllowed",
            "Operation could not be completed as it results in exceeding approved Total Regional Cores quota.",
        ),
    }
}

pub(super) fn garble(garble: Garble, request: &Request, reply: &Reply) -> Option<Reply> {
    if !reply.is_success() {
        return None;
    }
    let mut body = reply.to_json();
    match garble {
        Garble::EmptyPages => {
            let token = request.param("$skiptoken");
            let made = token.and_then(|token| token.strip_prefix("empty-")).and_then(|n| n.parse::<usize>().ok());
            let next = match (token, made) {
                (None, _) => 1,
                (_, Some(made)) if made < EMPTY => made + 1,
                _ => return None,
            };
            body.get("value")?.as_array()?;
            body = json!({ "value": [], "nextLink": next_link(request, &format!("empty-{next}")) });
        }
        Garble::Duplicates => {
            let items = body.get_mut("value")?.as_array_mut()?;
            let twice: Vec<Value> = items.iter().flat_map(|item| [item.clone(), item.clone()]).collect();
            *items = twice;
        }
        Garble::UnknownWords => each(&mut body, &mut |item| {
            if let Some(properties) = item.get_mut("properties") {
                for (key, word) in [("provisioningState", "Liquefying"), ("orchestrationMode", "Fluid")] {
                    if properties.get(key).is_some() {
                        properties[key] = word.into();
                    }
                }
                for status in
                    properties.pointer_mut("/instanceView/statuses").and_then(Value::as_array_mut).into_iter().flatten()
                {
                    status["code"] = "PowerState/evaporated".into();
                }
            }
        }),
        Garble::OutOfRange => {
            let mut capacities = [json!(-1), json!(4_000_000_000_u32), json!(1e30)].into_iter().cycle();
            each(&mut body, &mut |item| {
                if let Some(capacity) = item.pointer_mut("/sku/capacity") {
                    *capacity = capacities.next().unwrap_or_default();
                }
            });
        }
    }
    Some(reply.clone().with_json(&body))
}

/// Changes every item of a list, or the one thing that is shown.
fn each(body: &mut Value, change: &mut dyn FnMut(&mut Value)) {
    match body.get_mut("value").and_then(Value::as_array_mut) {
        Some(items) => items.iter_mut().for_each(change),
        None => change(body),
    }
}
