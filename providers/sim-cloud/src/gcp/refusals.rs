//! How Compute Engine refuses.

use crate::faults::Refusal;
use crate::request::{Reply, Request};
use contract::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// An error in the API's own form.
pub(super) fn refuse(status: u16, reason: &str, message: &str) -> Reply {
    Reply::json(status, &body(status, reason, message))
}

fn body(status: u16, reason: &str, message: &str) -> Value {
    json!({ "error": {
        "code": status,
        "message": message,
        "errors": [{ "message": message, "domain": "global", "reason": reason }],
    }})
}

const BAD_TOKEN: &str = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or \
                         other valid authentication credential.";

/// An error as Cloud Monitoring and other newer APIs write it: with a status word, and a reason where they have one.
pub(super) fn rpc(code: u16, status: &str, message: &str, reason: Option<&str>) -> Reply {
    let mut error = json!({ "error": { "code": code, "message": message, "status": status } });
    if let Some(reason) = reason {
        error["error"]["details"] = json!([{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": "googleapis.com",
            "metadata": { "service": "monitoring.googleapis.com" },
        }]);
    }
    Reply::json(code, &error)
}

fn of_monitoring(refusal: &Refusal) -> Reply {
    match refusal {
        Refusal::Throttled { .. } | Refusal::QuotaExceeded | Refusal::OutOfCapacity => {
            let what =
                "Quota exceeded for quota metric 'Time series queries' and limit 'Time series queries per minute'";
            rpc(429, "RESOURCE_EXHAUSTED", what, Some("RATE_LIMIT_EXCEEDED"))
        }
        Refusal::Internal => rpc(500, "INTERNAL", "Internal error encountered.", None),
        Refusal::Denied => {
            let what = "Permission monitoring.timeSeries.list denied (or the resource may not exist).";
            rpc(403, "PERMISSION_DENIED", what, None)
        }
        Refusal::Expired => rpc(401, "UNAUTHENTICATED", BAD_TOKEN, Some("ACCESS_TOKEN_EXPIRED")),
        Refusal::WrongCredentials | Refusal::ClockOff => {
            rpc(401, "UNAUTHENTICATED", BAD_TOKEN, Some("ACCESS_TOKEN_TYPE_UNSUPPORTED"))
        }
    }
}

/// A refusal that a test or a script asks for.
pub(super) fn refusal(refusal: &Refusal, request: &Request, now: Timestamp) -> Reply {
    if request.path.starts_with("/v3/") {
        return of_monitoring(refusal);
    }
    match refusal {
        Refusal::Throttled { retry_after } => {
            let reply = refuse(403, "rateLimitExceeded", "Rate Limit Exceeded");
            // Budgets are filled up when the minute turns: by the date of the answer that is so far away.
            let wait = retry_after.unwrap_or(Duration::from_secs(1)).as_secs().clamp(1, 60);
            let minute = now.0.div_euclid(60_000_000) * 60;
            let at = minute + 60 - i64::try_from(wait).unwrap_or(60);
            let date = jiff::Timestamp::from_second(at).map(|at| at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
            reply.with("date", date.unwrap_or_default())
        }
        Refusal::Internal => refuse(503, "backendError", "Backend Error"),
        Refusal::Denied => {
            let what = "Required 'compute.instanceGroupManagers.update' permission for the resource";
            refuse(403, "forbidden", what)
        }
        Refusal::Expired => {
            let mut error = body(401, "authError", BAD_TOKEN);
            error["error"]["status"] = "UNAUTHENTICATED".into();
            error["error"]["details"] = json!([{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "ACCESS_TOKEN_EXPIRED",
                "domain": "googleapis.com",
                "metadata": { "service": "compute.googleapis.com" },
            }]);
            Reply::json(401, &error)
        }
        Refusal::WrongCredentials => refuse(401, "authError", "Invalid Credentials"),
        Refusal::ClockOff => {
            let what = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check \
                        your iat and exp values in the JWT claim.";
            refuse(401, "authError", what)
        }
        Refusal::OutOfCapacity => {
            let what = "The zone does not have enough resources available to fulfill the request.";
            super::operations::ended_at_once(request, "ZONE_RESOURCE_POOL_EXHAUSTED", what, now)
        }
        Refusal::QuotaExceeded => {
            refuse(403, "quotaExceeded", "Quota 'CPUS' exceeded.  Limit: 24.0 in region europe-west1.")
        }
    }
}
