//! How OpenStack's services refuse: Nova's faults by name, Keystone's and Neutron's errors.

use crate::faults::Refusal;
use crate::request::Reply;
use serde_json::json;

/// One of Nova's faults.
pub(super) fn fault(status: u16, name: &str, message: &str) -> Reply {
    Reply::json(status, &json!({ name: { "code": status, "message": message } }))
}

pub(super) fn bad_request(message: &str) -> Reply {
    fault(400, "badRequest", message)
}

pub(super) fn not_found(message: &str) -> Reply {
    fault(404, "itemNotFound", message)
}

pub(super) fn conflict(message: &str) -> Reply {
    fault(409, "conflictingRequest", message)
}

pub(super) fn quota() -> Reply {
    fault(403, "forbidden", "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances")
}

/// Keystone's words for an application credential that was deleted, or never was.
pub(super) fn no_credential(id: &str) -> Reply {
    let message = format!("Could not find Application Credential: {id}.");
    Reply::json(404, &json!({ "error": { "code": 404, "message": message, "title": "Not Found" } }))
}

/// What stands before every service says this to a token that is not good, and Keystone to credentials that are not.
pub(super) fn unauthorized() -> Reply {
    let message = "The request you have made requires authentication.";
    Reply::json(401, &json!({ "error": { "code": 401, "message": message, "title": "Unauthorized" } }))
        .with("www-authenticate", "Keystone uri=\"http://127.0.0.1/identity\"")
}

pub(super) fn of_network(status: u16, kind: &str, message: &str) -> Reply {
    Reply::json(status, &json!({ "NeutronError": { "type": kind, "message": message, "detail": "" } }))
}

pub(super) fn refusal(refusal: &Refusal) -> Reply {
    match refusal {
        Refusal::Throttled { retry_after } => {
            let reply = fault(429, "overLimit", "This request was rate-limited.");
            match retry_after {
                Some(wait) => reply.with("retry-after", wait.as_secs().to_string()),
                None => reply,
            }
        }
        Refusal::Denied => fault(403, "forbidden", "Policy doesn't allow os_compute_api:servers to be performed."),
        // A token is all that a request carries: whatever is wrong with it is said by these words.
        Refusal::Expired | Refusal::WrongCredentials | Refusal::ClockOff => unauthorized(),
        Refusal::QuotaExceeded => quota(),
        // Nova finds no host only after it has accepted the request, so at once this cannot be said.
        Refusal::Internal | Refusal::OutOfCapacity => fault(
            500,
            "computeFault",
            "Unexpected API Error. Please report this at the bug tracker and attach the API log if possible.",
        ),
    }
}
