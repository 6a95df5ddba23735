//! Operations: what a write answers, and what becomes of it. One is done a few seconds after it was begun, when the group
//! has been told; machines come and go later. A request id that was seen before answers the operation of then.

use super::Gcp;
use super::place::Place;
use super::refusals::refuse;
use super::shapes::{last, link, number_of};
use super::writes::refused;
use crate::request::{Reply, Request};
use contract::{GroupId, Timestamp};
use serde_json::{Value, json};
use sim::Refused;
use std::collections::BTreeMap;
use std::time::Duration;

/// From the request until the operation is under way, and until it is done.
const BEGINS: Duration = Duration::from_secs(1);
const TAKES: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Operations {
    all: BTreeMap<String, Operation>,
    by_request: BTreeMap<String, String>,
    made: u64,
    fails: Option<(String, String)>,
}

struct Operation {
    place: Place,
    /// The path of what it changes.
    target: String,
    kind: &'static str,
    at: Timestamp,
    error: Option<(String, String)>,
}

impl Operations {
    pub fn fail_next(&mut self, code: &str, message: &str) {
        self.fails = Some((code.to_owned(), message.to_owned()));
    }
}

/// The path of a group.
pub(super) fn target_of(place: &Place, group: &str) -> String {
    format!("{place}/instanceGroupManagers/{group}")
}

fn time(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0).map(|at| at.to_string()).unwrap_or_default()
}

impl Gcp {
    /// Does a write once for each request id, and answers its operation.
    pub(super) fn once(
        &self,
        request: &Request,
        group: &GroupId,
        (kind, target): (&'static str, &str),
        write: impl FnOnce() -> Result<(), Refused>,
    ) -> Reply {
        let id = request.param("requestId").map(str::to_owned);
        if id.as_deref().is_some_and(|id| !is_uuid(id)) {
            return refuse(400, "invalid", "Invalid value for field 'requestId'. Must be a valid UUID");
        }
        let place = Place::of_group(group.as_str());
        let known = id.as_ref().and_then(|id| self.lock().operations.by_request.get(id).cloned());
        if let Some(name) = known {
            return self.operation(&place, &name);
        }
        let error = self.lock().operations.fails.take();
        if error.is_none()
            && let Err(why) = write()
        {
            return refused(&why);
        }
        let at = self.now();
        let mut state = self.lock();
        let operations = &mut state.operations;
        operations.made += 1;
        let name = format!("operation-{}-{:08x}", at.0, operations.made);
        operations.by_request.extend(id.map(|id| (id, name.clone())));
        let made = Operation { place: place.clone(), target: target.to_owned(), kind, at, error };
        operations.all.insert(name.clone(), made);
        drop(state);
        self.operation(&place, &name)
    }

    /// How an operation goes on.
    pub(super) fn operation(&self, place: &Place, name: &str) -> Reply {
        let now = self.now();
        let state = self.lock();
        match state.operations.all.get(name).filter(|operation| operation.place == *place) {
            Some(operation) => Reply::json(200, &shape(&self.project, name, operation, now)),
            None => refuse(404, "notFound", &format!("The resource '{place}/operations/{name}' was not found")),
        }
    }
}

fn shape(project: &str, name: &str, operation: &Operation, now: Timestamp) -> Value {
    let age = now.since(operation.at);
    let done = age >= TAKES;
    let status = if done {
        "DONE"
    } else if age >= BEGINS {
        "RUNNING"
    } else {
        "PENDING"
    };
    let place = &operation.place;
    let mut shown = json!({
        "kind": "compute#operation",
        "id": number_of(name).to_string(),
        "name": name,
        "operationType": operation.kind,
        "targetLink": link(project, &operation.target),
        "targetId": number_of(last(&operation.target)).to_string(),
        "status": status,
        "user": "skala@example.iam.gserviceaccount.com",
        "progress": if done { 100 } else { 0 },
        "insertTime": time(operation.at),
        "selfLink": link(project, &format!("{place}/operations/{name}")),
    });
    shown[if matches!(place, Place::Zone(_)) { "zone" } else { "region" }] = link(project, &place.to_string()).into();
    if age >= BEGINS {
        shown["startTime"] = time(operation.at.after(BEGINS)).into();
    }
    if done {
        shown["endTime"] = time(operation.at.after(TAKES)).into();
        if let Some((code, message)) = &operation.error {
            shown["error"] = json!({ "errors": [{ "code": code, "message": message }] });
            shown["httpErrorStatusCode"] = 503.into();
            shown["httpErrorMessage"] = "SERVICE UNAVAILABLE".into();
        }
    }
    shown
}

/// An operation that has ended with an error when it is answered; nothing was done.
pub(super) fn ended_at_once(request: &Request, code: &str, message: &str, now: Timestamp) -> Reply {
    let parts = request.parts();
    let [_, _, _, project, kind, place, _, group, ..] = parts.as_slice() else {
        return refuse(503, "backendError", "Backend Error");
    };
    let place = Place::of(&format!("{kind}/{place}")).unwrap_or_else(|| Place::of_group(group));
    let error = Some((code.to_owned(), message.to_owned()));
    let at = now.before(TAKES);
    let target = target_of(&place, group);
    let operation = Operation { place, target, kind: "resize", at, error };
    Reply::json(200, &shape(project, &format!("operation-{}-ended", now.0), &operation, now))
}

/// 8-4-4-4-12 hexadecimal digits, and not all zero.
fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    lengths == [8, 4, 4, 4, 12]
        && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()))
        && text.bytes().any(|b| b != b'0' && b != b'-')
}
