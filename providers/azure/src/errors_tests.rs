//! Every shape of refusal, by what the caller does next.

#![allow(clippy::unwrap_used)]

use super::*;

fn refusal(effect: Effect, status: u16, body: &str) -> ProviderError {
    refused("Call", effect, status, Some(Duration::from_secs(7)), body.as_bytes())
}

fn arm(code: &str, message: &str) -> String {
    serde_json::json!({ "error": { "code": code, "message": message } }).to_string()
}

#[test]
fn a_refusal_is_named_by_what_to_do() {
    let check = |status: u16, code: &str, message: &str, expected: &str| {
        let error = refusal(Effect::Write, status, &arm(code, message));
        assert_eq!(error.code(), expected, "{status} {code}: {error}");
    };
    check(401, "ExpiredAuthenticationToken", "The access token expired", "expired");
    check(401, "InvalidAuthenticationToken", "The access token is invalid", "denied");
    check(401, "InvalidAuthenticationToken", "Lifetime validation failed", "expired");
    check(403, "AuthorizationFailed", "no", "denied");
    check(404, "ResourceNotFound", "no", "not_found");
    check(404, "ResourceGroupNotFound", "no", "not_found");
    check(404, "SubscriptionNotFound", "no", "denied");
    check(409, "AnotherOperationInProgress", "no", "conflict");
    check(409, "SomethingNew", "no", "conflict");
    check(409, "OperationPreempted", "by a more recent one", "unclear");
    check(409, "ScopeLocked", "read-only lock", "denied");
    check(409, "OperationNotAllowed", "exceeding approved standardDSv3Family Cores quota", "quota_exceeded");
    check(409, "AllocationFailed", "no", "out_of_capacity");
    check(409, "SkuNotAvailable", "no", "out_of_capacity");
    check(412, "PreconditionFailed", "etag", "conflict");
    check(412, "Anything", "etag", "conflict");
    check(429, "OperationNotAllowed", "too many requests", "throttled");
    check(429, "RetryableErrorDueToAnotherOperation", "no", "throttled");
    check(400, "InvalidParameter", "no", "invalid");
    check(500, "InternalServerError", "no", "unclear");
    check(500, "NotFound", "a part of it", "unclear");
    check(503, "ServerTimeout", "no", "unclear");
}

#[test]
fn what_is_no_answer_of_the_api_says_nothing_of_the_set() {
    let check = |effect: Effect, status: u16, expected: &str| {
        for body in ["", "<html><body>Not found</body></html>", "{}", "{\"error\":", "[]"] {
            assert_eq!(refusal(effect, status, body).code(), expected, "{status} {body}");
        }
    };
    check(Effect::Read, 404, "invalid");
    check(Effect::Read, 401, "denied");
    check(Effect::Read, 429, "throttled");
    check(Effect::Read, 302, "transport");
    check(Effect::Write, 307, "transport");
    check(Effect::Read, 502, "transport");
    check(Effect::Write, 502, "unclear");
}

#[test]
fn a_wait_is_kept() {
    let error = refusal(Effect::Read, 429, &arm("TooManyRequests", "wait"));
    assert!(matches!(error, ProviderError::Throttled { retry_after: Some(wait) } if wait == Duration::from_secs(7)));
}

#[test]
fn the_code_that_says_most_may_be_inside() {
    let body = r#"{"error":{"code":"DeploymentFailed","message":"see details","details":[
        {"code":"Note","message":"x"},{"code":"ZonalAllocationFailed","message":"Allocation failed in zone '2'."}]}}"#;
    let error = refusal(Effect::Write, 409, body);
    assert!(matches!(&error, ProviderError::OutOfCapacity { scope } if *scope == Scope::Zone("2".into())), "{error:?}");
    let bare = refusal(Effect::Read, 404, r#"{"code":"ResourceNotFound","message":"no"}"#);
    assert_eq!(bare.code(), "not_found");
}

#[test]
fn details_that_are_none_spoil_nothing() {
    for details in ["null", "{}", "[null]", r#"[{"code":7}]"#] {
        let body = format!(r#"{{"error":{{"code":"AllocationFailed","message":"no","details":{details}}}}}"#);
        assert_eq!(refusal(Effect::Write, 409, &body).code(), "out_of_capacity", "{details}");
        let bare = format!(r#"{{"code":"ResourceNotFound","message":"no","details":{details}}}"#);
        assert_eq!(refusal(Effect::Read, 404, &bare).code(), "not_found", "{details}");
    }
}

#[test]
fn a_busy_answer_says_what_is_busy() {
    let check = |body: &str, expected: Busy| assert_eq!(busy(body.as_bytes()), expected, "{body}");
    check(&arm("SubscriptionRequestsThrottled", "Number of requests exceeded"), Busy::Subscription);
    check(&arm("TooManyRequests", "no"), Busy::Calls);
    check(&arm("RetryableErrorDueToAnotherOperation", "no"), Busy::Resource);
    let inside = r#"{"error":{"code":"OperationNotAllowed","message":"x","details":[{"code":"TooManyRequests"}]}}"#;
    check(inside, Busy::Calls);
    check("<html>", Busy::Calls);
}

#[test]
fn a_refusal_reaches_no_further_than_said() {
    let one = ["3".to_owned()];
    assert_eq!(scope("ZonalAllocationFailed", "", None, &one), Scope::Zone("3".into()));
    assert_eq!(scope("ZonalAllocationFailed", "", None, &[]), Scope::Group);
    assert_eq!(scope("SkuNotAvailable", "", Some("Standard_D2s_v5"), &one), Scope::Type("Standard_D2s_v5".into()));
    assert_eq!(scope("AllocationFailed", "in zone '1'", None, &one), Scope::Group);
}
