use super::*;
use google_cloud_gax::error::rpc::Status;
use wire::refusal;

/// What the SDK makes of a refusal's body.
mod wire {
    use super::*;

    pub fn refusal(status: u16, body: &serde_json::Value) -> SdkError {
        let bytes = body.to_string().into_bytes().into();
        match Status::try_from(&bytes) {
            Ok(rpc) => SdkError::service_with_http_metadata(rpc, Some(status), None),
            Err(_) => SdkError::http(status, Default::default(), bytes),
        }
    }
}

fn body(status: u16, reason: &str, message: &str) -> serde_json::Value {
    serde_json::json!({"error": {
        "code": status, "message": message, "errors": [{ "message": message, "domain": "global", "reason": reason }],
    }})
}

#[test]
fn a_refusal_is_judged_by_its_reason_before_its_status() {
    let check = |status: u16, reason: &str, message: &str, expected: &str| {
        let failure = classify("resize", Effect::Write, refusal(status, &body(status, reason, message)), Timestamp(0));
        assert_eq!(failure.error.code(), expected, "{status} {reason}: {}", failure.error);
        assert_eq!(failure.harmless, expected != "unclear", "{status} {reason}");
    };
    check(403, "rateLimitExceeded", "Rate Limit Exceeded", "throttled");
    check(403, "quotaExceeded", "Quota 'CPUS' exceeded. Limit: 24.0 in region europe-west1.", "quota_exceeded");
    check(403, "forbidden", "Required 'compute.instanceGroupManagers.update' permission", "denied");
    check(403, "somethingNew", "no", "denied");
    check(429, "somethingNew", "slow down", "throttled");
    check(401, "authError", "Invalid Credentials", "denied");
    check(401, "ACCESS_TOKEN_EXPIRED", "Request had invalid authentication credentials.", "expired");
    check(401, "authError", "Invalid JWT: check your iat and exp values", "expired");
    check(404, "notFound", "The resource was not found", "not_found");
    check(412, "conditionNotMet", "Precondition Failed", "conflict");
    check(409, "somethingNew", "busy", "conflict");
    check(400, "invalid", "Invalid value for field", "invalid");
    check(500, "backendError", "Backend Error", "unclear");
    check(503, "backendError", "Backend Error", "unclear");
    check(503, "ZONE_RESOURCE_POOL_EXHAUSTED", "no machines", "out_of_capacity");
}

#[test]
fn what_nobody_of_the_api_said_is_judged_by_its_status() {
    let check = |status: u16, effect: Effect, expected: &str| {
        let failure =
            classify("get", effect, SdkError::http(status, Default::default(), "<html>".into()), Timestamp(0));
        assert_eq!(failure.error.code(), expected, "{status} {effect:?}");
    };
    check(302, Effect::Read, "transport");
    check(302, Effect::Write, "unclear");
    check(403, Effect::Write, "denied");
    check(404, Effect::Read, "invalid");
    check(429, Effect::Write, "throttled");
    check(502, Effect::Read, "transport");
    check(502, Effect::Write, "unclear");
}

#[test]
fn a_throttle_lasts_until_the_minute_turns() {
    let wait = |now: i64| {
        let error = refusal(403, &body(403, "rateLimitExceeded", "slow"));
        match classify("get", Effect::Read, error, Timestamp::from_secs(now)).error {
            ProviderError::Throttled { retry_after } => retry_after.unwrap().as_secs(),
            other => panic!("{other}"),
        }
    };
    assert_eq!(wait(1_700_000_040), 61);
    assert_eq!(wait(1_700_000_099), 2);
    assert_eq!(second_of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(37));
    assert_eq!(second_of("tomorrow"), None);
    assert_eq!(second_of("Sun, 06 Nov 1994 08:49:99 GMT"), None);
}

#[test]
fn a_broken_connection_is_unclear_only_to_a_write() {
    let io = || SdkError::io("connection reset");
    let read = classify("get", Effect::Read, io(), Timestamp(0));
    assert!(read.broke && read.harmless, "{read:?}");
    let write = classify("resize", Effect::Write, io(), Timestamp(0));
    assert!(!write.harmless && write.error.may_have_taken_effect(), "{write:?}");
    let unsent = classify("resize", Effect::Write, SdkError::connect("refused"), Timestamp(0));
    assert!(unsent.harmless && matches!(unsent.error, ProviderError::Transport { .. }), "{unsent:?}");
}

#[test]
fn missing_credentials_say_what_is_wrong_with_them() {
    let check = |transient: bool, message: &str, expected: &str| {
        let error = SdkError::authentication(CredentialsError::from_msg(transient, message));
        let failure = classify("resize", Effect::Write, error, Timestamp(0));
        assert_eq!((failure.error.code(), failure.harmless), (expected, true), "{message}");
    };
    check(false, "invalid_grant: Account not found", "denied");
    check(false, "invalid_grant: Token must be in a reasonable timeframe. Check your iat and exp values", "expired");
    check(true, "the metadata server does not answer", "transport");
}
