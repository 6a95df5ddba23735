//! Refusals as the gateway and ESS word them, and what the caller does next.

use super::*;

fn code(status: u16, code: &str, message: &str, effect: Effect) -> (&'static str, bool) {
    let failure = refused("Op", effect, &Refusal { status, code, message, retry_after: None });
    (failure.error.code(), failure.harmless)
}

#[test]
fn a_refusal_is_typed_by_its_code_and_has_no_effect() {
    let check = |status: u16, name: &str, expected: &str| {
        assert_eq!(code(status, name, "words", Effect::Write), (expected, true), "{name}");
    };
    check(400, "Throttling.User", "throttled");
    check(429, "Whatever", "throttled");
    check(404, "InvalidScalingGroupId.NotFound", "not_found");
    check(404, "InvalidAccessKeyId.NotFound", "denied");
    check(403, "Forbidden.RAM", "denied");
    check(403, "SomethingNew", "denied");
    check(400, "InvalidSecurityToken.Expired", "expired");
    check(400, "ScalingActivityInProgress", "conflict");
    check(400, "QuotaExceed.Instance", "quota_exceeded");
    check(403, "OperationDenied.NoStock", "out_of_capacity");
    check(400, "SomethingNew", "invalid");
}

#[test]
fn a_clock_that_is_off_is_said_to_be_the_trouble() {
    for name in ["InvalidTimeStamp.Expired", "SignatureNonceUsed"] {
        let failure = refused("Op", Effect::Read, &Refusal { status: 400, code: name, message: "", retry_after: None });
        assert_eq!(failure.error.code(), "expired");
        assert!(failure.error.to_string().contains("clock"), "{}", failure.error);
    }
}

#[test]
fn an_internal_error_of_a_write_is_unclear_and_of_a_read_unknown() {
    assert_eq!(code(500, "InternalError", "", Effect::Write), ("unclear", false));
    assert_eq!(code(503, "ServiceUnavailable", "", Effect::Read), ("transport", true));
}

#[test]
fn what_is_no_answer_of_the_api_is_judged_by_its_status() {
    let check = |status: u16, effect: Effect, expected: &str| {
        assert_eq!(foreign("Op", effect, status, None).error.code(), expected, "{status}");
    };
    check(200, Effect::Read, "transport");
    check(200, Effect::Write, "unclear");
    check(302, Effect::Read, "transport");
    check(302, Effect::Write, "unclear");
    check(404, Effect::Write, "invalid");
    check(403, Effect::Read, "denied");
    check(429, Effect::Write, "throttled");
    check(502, Effect::Write, "unclear");
}

#[test]
fn a_refusals_reach_is_the_zone_that_its_words_name() {
    let check = |words: &str, expected: Scope| assert_eq!(scope(words), expected, "{words}");
    check("the resource is sold out in zone cn-hangzhou-h; try others", Scope::Zone("cn-hangzhou-h".into()));
    check("sold out in eu-central-1a.", Scope::Zone("eu-central-1a".into()));
    check("the specified zone is sold out", Scope::Group);
    check("ecs.g7.large is not on sale in region cn-hangzhou", Scope::Group);
    check("the x-acs-date header", Scope::Group);
}

#[test]
fn the_clouds_words_stay_one_short_line() {
    assert_eq!(&*cut("a\n b\t c", 100), "a b c");
    assert_eq!(&*cut("äöü", 2), "äö");
}
