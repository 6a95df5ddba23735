//! How an API server refuses: objects of kind `Status`, with its own reasons.

use super::headed;
use super::path::Path;
use crate::request::Reply;
use serde_json::{Value, json};
use std::time::Duration;

/// A reply that ends a request early.
pub(super) type Refused = Box<Reply>;

fn status(code: u16, reason: &str, message: &str, details: Value) -> Refused {
    let body = json!({"metadata": {}, "status": "Failure", "message": message, "reason": reason, "details": details, "code": code});
    Box::new(Reply::json(code, &headed("Status", "v1", body)))
}

fn details(path: &Path) -> Value {
    json!({"name": path.name.clone().unwrap_or_default(), "group": path.group, "kind": path.plural})
}

fn qualified(path: &Path) -> String {
    if path.group.is_empty() { path.plural.clone() } else { format!("{}.{}", path.plural, path.group) }
}

pub(super) fn not_found(path: &Path) -> Refused {
    let message = format!("{} {:?} not found", qualified(path), path.name.as_deref().unwrap_or_default());
    status(404, "NotFound", &message, details(path))
}

/// What the server's own router says of a group, version or resource that nobody installed.
pub(super) fn no_page() -> Refused {
    Box::new(Reply::text(404, "text/plain; charset=utf-8", "404 page not found\n"))
}

pub(super) fn unauthorized() -> Refused {
    status(401, "Unauthorized", "Unauthorized", json!({}))
}

pub(super) fn forbidden(path: &Path) -> Refused {
    let place = match &path.namespace {
        Some(namespace) => format!("in the namespace {namespace:?}"),
        None => "at the cluster scope".into(),
    };
    let message = format!(
        "{} is forbidden: User \"system:serviceaccount:skala:skala\" cannot {} resource {:?} in API group {:?} {place}",
        qualified(path),
        path.verb,
        path.resource(),
        path.group,
    );
    status(403, "Forbidden", &message, details(path))
}

pub(super) fn over_quota(path: &Path) -> Refused {
    let message = format!(
        "{} is forbidden: exceeded quota: compute, requested: pods=1, used: pods=9, limited: pods=9",
        path.plural
    );
    status(403, "Forbidden", &message, details(path))
}

pub(super) fn conflict(path: &Path) -> Refused {
    let message = format!(
        "Operation cannot be fulfilled on {} {:?}: the object has been modified; please apply your changes to the latest \
         version and try again",
        qualified(path),
        path.name.as_deref().unwrap_or_default(),
    );
    status(409, "Conflict", &message, details(path))
}

pub(super) fn invalid(path: &Path, field: &str, why: &str) -> Refused {
    let name = path.name.as_deref().unwrap_or_default();
    let message = format!("{} {name:?} is invalid: {field}: {why}", qualified(path));
    let mut details = details(path);
    details["causes"] = json!([{"reason": "FieldValueInvalid", "message": why, "field": field}]);
    status(422, "Invalid", &message, details)
}

pub(super) fn bad_request(message: &str) -> Refused {
    status(400, "BadRequest", message, json!({}))
}

pub(super) fn media_type() -> Refused {
    let message = "the body of the request was in an unknown format - accepted media types include: \
                   application/merge-patch+json, application/strategic-merge-patch+json";
    status(415, "UnsupportedMediaType", message, json!({}))
}

pub(super) fn method(path: &Path) -> Refused {
    let message = format!("the server does not allow this method on the requested resource {}", path.resource());
    status(405, "MethodNotAllowed", &message, details(path))
}

pub(super) fn expired() -> Refused {
    let message = "The provided continue parameter is too old to display a consistent list result. You can start a new list \
                   without the continue parameter.";
    status(410, "Expired", message, json!({}))
}

pub(super) fn throttled(retry_after: Option<Duration>) -> Refused {
    let secs = retry_after.map_or(1, |wait| wait.as_secs().max(1));
    let message = "Too many requests, please try again later.";
    let refused = status(429, "TooManyRequests", message, json!({"retryAfterSeconds": secs}));
    Box::new(refused.with("retry-after", secs.to_string()))
}

pub(super) fn internal() -> Refused {
    let message = "Internal error occurred: etcdserver: leader changed";
    status(500, "InternalError", message, json!({"causes": [{"message": "etcdserver: leader changed"}]}))
}
