//! The cloud's API goes wrong: it throttles, hangs, answers errors after the effect, refuses, is not there. Calls are
//! counted at the recorder and instances at the cloud: nothing happens twice, and nothing is removed meanwhile.

use super::proxy::Fault;
use super::scene::{Scene, Start};
use serde_json::{Value, json};
use std::time::Duration;

const TROUBLE_SECS: f64 = 8.0;

/// Reading the group fails while the load really falls; the control fleet is in another account.
fn check_reads(name: &'static str, fault: Value) {
    let mut scene = Scene::start(name, Start { own_provider: true, ..Start::default() });
    scene.until_settled();
    scene.cloud.fault(name, "DescribeAutoScalingGroups", fault);
    scene.load(250.0);
    scene.until_hold("group_unknown", Duration::from_secs(15));
    scene.assert_explained("group_unknown");
    scene.pass(TROUBLE_SECS);
    assert_eq!(scene.hold(), "group_unknown");
    assert_eq!(scene.desired(), 6);
    assert_eq!(scene.writes().len(), 0);
    assert!(scene.cloud.clear(name) > 0, "microburst did nothing");
    scene.ends_well();
}

#[test]
fn reads_are_throttled() {
    let error = json!({"code": "Throttling", "status": 400, "message": "Rate exceeded"});
    check_reads("reads-throttled", json!({"error": error}));
}

#[test]
fn reads_hang() {
    check_reads("reads-hang", json!({"timeout_ms": 20_000}));
}

#[test]
fn reads_are_denied() {
    let error = json!({"code": "AccessDenied", "status": 403, "message": "not authorized"});
    check_reads("reads-denied", json!({"error": error}));
}

#[test]
fn reads_are_reset() {
    check_reads("reads-reset", json!({"reset": true}));
}

#[test]
fn nobody_listens_at_the_api() {
    let mut scene = Scene::start("api-gone", Start { own_provider: true, ..Start::default() });
    scene.until_settled();
    scene.proxy.set_down(true);
    scene.load(250.0);
    scene.until_hold("group_unknown", Duration::from_secs(15));
    scene.assert_explained("group_unknown");
    scene.pass(TROUBLE_SECS);
    assert_eq!(scene.desired(), 6);
    scene.proxy.set_down(false);
    scene.ends_well();
}

/// Raising fails `fired` times at least without an effect; then it works, once.
fn check_raise(name: &'static str, fault: Value, patience: Duration) -> Scene {
    let mut scene = Scene::start(name, Start::default());
    scene.until_settled();
    scene.cloud.fault(name, "SetDesiredCapacity", fault);
    scene.load(850.0);
    scene.until_desired(9, patience);
    assert!(scene.cloud.clear(name) > 0, "microburst did nothing");
    let audit = scene.audit();
    assert_eq!(audit.raises().len(), 1, "{:#?}", audit.changes);
    scene
}

#[test]
fn writes_are_throttled() {
    let error = json!({"code": "Throttling", "status": 400, "message": "Rate exceeded"});
    let scene = check_raise("writes-throttled", json!({"times": 3, "error": error}), Duration::from_secs(30));
    assert_eq!(scene.count("SetDesiredCapacity"), 4);
    scene.ends_well();
}

#[test]
fn a_write_hangs_without_effect() {
    // Its end is unknown for a minute (safety rule 2), and then it is made again.
    let scene = check_raise("write-hangs", json!({"times": 1, "timeout_ms": 40_000}), Duration::from_secs(100));
    assert_eq!(scene.count("SetDesiredCapacity"), 2);
    scene.ends_well();
}

#[test]
fn writes_are_denied() {
    let mut scene = Scene::start("writes-denied", Start::default());
    scene.until_settled();
    let error = json!({"code": "AccessDenied", "status": 403, "message": "not authorized"});
    scene.cloud.fault(scene.name, "SetDesiredCapacity", json!({"error": error}));
    scene.load(850.0);
    scene.pass(TROUBLE_SECS);
    assert_eq!(scene.desired(), 6);
    let log = scene.daemon.log();
    assert!(log.contains("code=\"denied\""), "the log says that it was denied\n{log}");
    let refused = scene.daemon.metric(r#"skala_actions_total{provider="aws",action="raise",outcome="refused"}"#);
    assert!(refused > Some(0.0), "{refused:?}");
    scene.cloud.clear(scene.name);
    scene.until_desired(9, Duration::from_secs(60));
    assert_eq!(scene.audit().raises().len(), 1);
    scene.ends_well();
}

/// One write takes effect and its caller is told otherwise, or nothing.
fn check_after_effect(name: &'static str, fault: Fault) {
    let mut scene = Scene::start(name, Start::default());
    scene.until_settled();
    scene.proxy.fault("SetDesiredCapacity", fault, 1);
    scene.load(850.0);
    scene.until_desired(9, Duration::from_secs(15));
    scene.pass(4.0);
    assert_eq!(scene.count("SetDesiredCapacity"), 1);
    scene.proxy.fault("TerminateInstanceInAutoScalingGroup", fault, 1);
    scene.load(650.0);
    scene.until_desired(7, Duration::from_secs(100));
    scene.pass(4.0);
    assert_eq!(scene.count("TerminateInstanceInAutoScalingGroup"), 2);
    scene.ends_well();
}

#[test]
fn an_error_is_answered_after_the_effect() {
    check_after_effect("error-after-effect", Fault::ErrorAfterEffect);
}

#[test]
fn the_answer_is_lost_after_the_effect() {
    check_after_effect("answer-lost", Fault::LostAnswer);
}
