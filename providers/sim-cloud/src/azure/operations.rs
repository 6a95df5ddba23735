//! Asynchronous operations: begun by a write, ended by what the machines do.

use super::{Azure, LOCATION, SUBSCRIPTION, host};
use crate::azure::refusals::error;
use crate::request::{Reply, Request};
use contract::{FailureKind, GroupId, InstanceState, LaunchFailure, Timestamp};
use serde_json::{Value, json};

/// What every answer of an operation under way says to wait.
const RETRY_AFTER: &str = "10";

/// An operation of a set.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    group: GroupId,
    started: Timestamp,
    launches: bool,
    ended: Option<(Timestamp, End)>,
}

/// How it ended: well, or with a code and its words.
type End = Result<(), (String, String)>;

impl Azure {
    /// Begins an operation; the headers that tell of it.
    pub(super) fn begin(&self, request: &Request, group: &GroupId, launches: bool, reply: Reply) -> Reply {
        let mut state = self.lock();
        state.made += 1;
        let id = format!("{:08x}-0000-4000-8000-000000000000", state.made);
        let operation = Operation { group: group.clone(), started: self.cloud.now(), launches, ended: None };
        state.operations.insert(id.clone(), operation);
        let version = request.param("api-version").unwrap_or_default();
        let url = format!(
            "{}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/{LOCATION}/operations/{id}",
            host(request)
        );
        reply
            .with("azure-asyncoperation", format!("{url}?p={SUBSCRIPTION}&api-version={version}"))
            .with("location", format!("{url}?p={SUBSCRIPTION}&monitor=true&api-version={version}"))
            .with("retry-after", RETRY_AFTER)
    }

    /// How an operation is doing; asked as a Location it answers 202 until it is done.
    pub(super) fn operation(&self, request: &Request, id: &str) -> Reply {
        let Some(mut operation) = self.lock().operations.get(id).cloned() else {
            return error(404, "NotFound", "The operation was not found.");
        };
        if operation.ended.is_none() {
            operation.ended = self.end_of(&operation).map(|end| (self.cloud.now(), end));
            self.lock().operations.insert(id.to_owned(), operation.clone());
        }
        let monitor = request.param("monitor").is_some();
        let started = time(operation.started);
        match operation.ended {
            None if monitor => Reply::empty(202).with("location", own_url(request)).with("retry-after", RETRY_AFTER),
            None => {
                let body = json!({ "startTime": started, "status": "InProgress", "name": id });
                Reply::json(200, &body).with("retry-after", RETRY_AFTER)
            }
            Some((_, Ok(()))) if monitor => Reply::empty(200),
            Some((_, Err((code, message)))) if monitor => error(409, &code, &message),
            Some((at, end)) => {
                let mut body = json!({ "startTime": started, "endTime": time(at), "name": id });
                match end {
                    Ok(()) => body["status"] = "Succeeded".into(),
                    Err((code, message)) => {
                        body["status"] = "Failed".into();
                        body["error"] = json!({ "code": code, "message": message });
                    }
                }
                Reply::json(200, &body)
            }
        }
    }

    fn end_of(&self, operation: &Operation) -> Option<End> {
        let Some(seen) = self.cloud.look(&operation.group) else {
            return Some(Err(("OperationPreempted".into(), "The scale set was deleted.".into())));
        };
        let is = |state: InstanceState| seen.instances.iter().any(|instance| instance.state == state);
        if !operation.launches {
            return (!is(InstanceState::Terminating)).then_some(Ok(()));
        }
        let failed = seen.launch_failures.iter().rev().find(|failure| failure.at >= operation.started);
        match failed {
            Some(failure) if seen.unfilled() > 0 => Some(Err(words(failure))),
            _ if seen.unfilled() > 0 || is(InstanceState::Pending) => None,
            _ => Some(Ok(())),
        }
    }
}

/// A failed launch in Azure's words.
fn words(failure: &LaunchFailure) -> (String, String) {
    let (code, text) = match failure.kind {
        FailureKind::OutOfCapacity => (
            "AllocationFailed",
            "Allocation failed. We do not have sufficient capacity for the requested VM size in this region.",
        ),
        FailureKind::QuotaExceeded => (
            "OperationNotAllowed",
            "Operation could not be completed as it results in exceeding approved Total Regional Cores quota.",
        ),
        _ => ("OSProvisioningTimedOut", "OS Provisioning for VM did not finish in the allotted time."),
    };
    (code.to_owned(), text.to_owned())
}

fn own_url(request: &Request) -> String {
    let query: Vec<String> = request.query.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{}{}?{}", host(request), request.path, query.join("&"))
}

/// A time as ARM writes it.
pub(super) fn time(at: Timestamp) -> Value {
    // Days since the epoch to a date of the Gregorian calendar, by eras of 400 years that begin in March.
    let (secs, micros) = (at.0.div_euclid(1_000_000), at.0.rem_euclid(1_000_000));
    let (days, of_day) = (secs.div_euclid(86_400) + 719_468, secs.rem_euclid(86_400));
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year + era * 400) } else { (month - 9, year + era * 400 + 1) };
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{of_month:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}+00:00").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_dates() {
        let check = |secs: i64, expected: &str| assert_eq!(time(Timestamp::from_secs(secs)), expected);
        check(0, "1970-01-01T00:00:00.000000+00:00");
        check(951_782_400, "2000-02-29T00:00:00.000000+00:00");
        check(1_738_786_292, "2025-02-05T20:11:32.000000+00:00");
        check(1_767_225_599, "2025-12-31T23:59:59.000000+00:00");
    }
}
