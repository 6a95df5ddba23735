//! A group's own autoscaler on the simulated Compute Engine: suspended, seen to be, and given back as it was.
#![allow(clippy::unwrap_used, dead_code, reason = "a test; and not every test needs all of the stand")]

mod stand;

use contract::native::{NativeKind, NativeMode, Switch};
use contract::{Foreign, GroupId, Provider, ProviderError, Undo};
use gcp::Gcp;
use serde_json::{Value, json};
use sim_cloud::{Fault, Kind, Refusal};
use stand::{LONG, SHORT, Stand, look};
use std::time::Duration;

/// A stand whose clock runs, since operations take a while.
async fn stand() -> Stand {
    let stand = Stand::new().await;
    let clock = stand.wire.clock.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            clock.pass(Duration::from_secs(1));
        }
    });
    stand
}

/// A group with an autoscaler that is set to more than a mode.
fn furnished(stand: &Stand, name: &str, removes: bool) -> (GroupId, Value) {
    let group = stand.group(name, 2);
    let policy = json!({
        "minNumReplicas": 2,
        "maxNumReplicas": 40,
        "coolDownPeriodSec": 90,
        "stabilizationPeriodSec": 600,
        "cpuUtilization": { "utilizationTarget": 0.55, "predictiveMethod": "NONE" },
        "scaleInControl": { "maxScaledInReplicas": { "percent": 20 }, "timeWindowSec": 600 },
        "scalingSchedules": { "office-hours": {
            "schedule": "0 8 * * MON-FRI", "durationSec": 36000, "timeZone": "Asia/Jakarta", "minRequiredReplicas": 10,
        }},
    });
    stand.api.set_autoscaling_policy(name, policy);
    let scaler = Foreign { name: format!("autoscaler {name}-k2xq").into(), removes: Some(removes) };
    assert!(stand.wire.cloud.set_foreign(&name.into(), vec![scaler]));
    (group, stand.api.autoscaling_policy(name).unwrap())
}

fn mode(stand: &Stand, name: &str) -> String {
    stand.api.autoscaling_policy(name).unwrap()["mode"].as_str().unwrap().to_owned()
}

async fn foreign(provider: &Gcp, group: &GroupId) -> usize {
    look(provider, group).await.unwrap().foreign.len()
}

#[tokio::test]
async fn it_is_suspended_and_comes_back_as_it_was() {
    let stand = stand().await;
    for (name, removes, was) in [("web-1", true, "ON"), ("web-2", true, "ON"), ("web-3", false, "ONLY_SCALE_OUT")] {
        let (group, before) = furnished(&stand, name, removes);
        let provider = stand.provider(LONG).await;
        let native = provider.native().unwrap();
        assert_eq!(foreign(&provider, &group).await, 1);
        let undo = native.prepare(&group).await.unwrap();
        let shown: Vec<String> = undo.switches.iter().map(ToString::to_string).collect();
        assert_eq!(shown, [format!("autoscaler {name}-k2xq: mode {was} -> OFF")]);
        // Twice each way, and once more from the start: each attempt is a request of its own.
        for _ in 0..2 {
            for _ in 0..2 {
                native.suspend(&group, &undo).await.unwrap();
                assert_eq!(mode(&stand, name), "OFF");
            }
            assert!(native.prepare(&group).await.unwrap().switches.is_empty(), "nothing is left that may act");
            assert_eq!(native.describe(&group).await.unwrap().mode, NativeMode::Off);
            assert_eq!(foreign(&provider, &group).await, 0, "the same provider sees it at once");
            for _ in 0..2 {
                native.restore(&group, &undo).await.unwrap();
                assert_eq!(stand.api.autoscaling_policy(name).unwrap(), before, "not a word of it has changed");
            }
        }
        assert_eq!(foreign(&provider, &group).await, 1);
        let exchanges = stand.wire.server.exchanges();
        let patches = exchanges.iter().filter(|one| one.method == "PATCH");
        let own = patches.filter(|one| one.query.iter().any(|(_, value)| *value == format!("{name}-k2xq")));
        let bodies: Vec<Value> = own.map(|one| serde_json::from_str(&one.body).unwrap()).collect();
        let (off, back) = ("OFF", was);
        let wanted = [off, back, off, back].map(|mode| json!({ "autoscalingPolicy": { "mode": mode } }));
        assert_eq!(bodies, wanted, "only the mode is sent, and what stands as wanted is not written");
    }
}

#[tokio::test]
async fn it_reads_as_the_command_lines_output_does() {
    let stand = stand().await;
    let (group, _) = furnished(&stand, "web-1", true);
    let provider = stand.provider(LONG).await;
    let native = provider.native().unwrap().describe(&group).await.unwrap();
    assert_eq!((&*native.name, native.mode), ("autoscaler web-1-k2xq", NativeMode::On));
    assert_eq!((native.min, native.max, native.warmup), (Some(2), Some(40), Some(Duration::from_secs(90))));
    assert!(matches!(native.rules[0].kind, NativeKind::Average { target: 0.55, .. }), "{native:?}");
    let NativeKind::Schedule(schedule) = &native.rules[1].kind else { panic!("{native:?}") };
    assert_eq!((&*schedule.cron, &*schedule.tz, schedule.min), ("0 8 * * MON-FRI", "Asia/Jakarta", Some(10)));
    assert_eq!(native.scale_in.rates.len(), 1);
    let alone = stand.group("web-3", 1);
    let none = provider.native().unwrap().describe(&alone).await.unwrap();
    assert_eq!((none.rules.len(), none.min), (0, None), "a group without one is a policy without rules");
    assert!(provider.native().unwrap().prepare(&alone).await.unwrap().switches.is_empty());
}

#[tokio::test]
async fn what_somebody_has_set_since_is_not_overwritten() {
    let stand = stand().await;
    let (group, _) = furnished(&stand, "web-1", true);
    let provider = stand.provider(LONG).await;
    let native = provider.native().unwrap();
    let undo = native.prepare(&group).await.unwrap();
    native.suspend(&group, &undo).await.unwrap();
    let only_out = Foreign { name: "autoscaler web-1-k2xq".into(), removes: Some(false) };
    stand.wire.cloud.set_foreign(&"web-1".into(), vec![only_out]);
    for done in [native.suspend(&group, &undo).await, native.restore(&group, &undo).await] {
        let error = done.unwrap_err();
        assert!(matches!(error, ProviderError::Conflict { .. }), "{error}");
        assert!(error.to_string().contains("mode is ONLY_SCALE_OUT, neither ON nor OFF"), "{error}");
    }
    // Another one has come in its place: it may act, and nobody prepared for it; and nothing is given to it.
    let other = Foreign { name: "autoscaler new".into(), removes: Some(true) };
    stand.wire.cloud.set_foreign(&"web-1".into(), vec![other]);
    let error = native.suspend(&group, &undo).await.unwrap_err();
    assert!(matches!(&error, ProviderError::Conflict { what } if what.contains("autoscaler new may act")), "{error}");
    let patches = stand.count("PATCH", "/autoscalers");
    native.restore(&group, &undo).await.unwrap();
    assert_eq!(stand.count("PATCH", "/autoscalers"), patches);
    let edited = Undo { switches: vec![Switch { what: "process X".into(), ..undo.switches[0].clone() }] };
    let error = native.restore(&group, &edited).await.unwrap_err();
    assert!(matches!(error, ProviderError::Invalid { .. }), "{error}");
    let error = native.prepare(&"zones/europe-west1-b/never".into()).await.unwrap_err();
    assert!(matches!(error, ProviderError::NotFound { .. }), "{error}");
    let error = native.prepare(&"web-1".into()).await.unwrap_err();
    assert!(matches!(error, ProviderError::Invalid { .. }), "{error}");
}

#[tokio::test]
async fn trouble_is_typed_and_asking_again_ends_it() {
    let stand = stand().await;
    let (group, before) = furnished(&stand, "web-1", true);
    let provider = stand.provider(SHORT).await;
    let native = provider.native().unwrap();
    let undo = native.prepare(&group).await.unwrap();
    for (fault, code, now) in [
        (Fault::Refuse(Refusal::Denied), "denied", "ON"),
        (Fault::Refuse(Refusal::Internal), "unclear", "ON"),
        (Fault::Html, "unclear", "ON"),
        (Fault::Redirect, "unclear", "ON"),
        (Fault::Truncated, "unclear", "OFF"),
        (Fault::ErrorAfterEffect, "unclear", "OFF"),
        (Fault::Hang { effect: true }, "unclear", "OFF"),
    ] {
        stand.wire.server.inject(Kind::Write, fault);
        let error = native.suspend(&group, &undo).await.unwrap_err();
        assert_eq!((error.code(), &*mode(&stand, "web-1")), (code, now), "{fault:?}: {error}");
        stand.wire.server.clear();
        native.suspend(&group, &undo).await.unwrap();
        assert_eq!(mode(&stand, "web-1"), "OFF");
        native.restore(&group, &undo).await.unwrap();
        assert_eq!(stand.api.autoscaling_policy("web-1").unwrap(), before, "{fault:?}");
    }
    // Taken, and the operation fails: what it says is the error, and nothing has changed.
    stand.api.fail_next_operation("INVALID_USAGE", "not now");
    let error = native.suspend(&group, &undo).await.unwrap_err();
    assert!(error.to_string().contains("not now"), "{error}");
    assert_eq!(mode(&stand, "web-1"), "ON");
    // Reads that fail leave nothing half done.
    for fault in [Fault::Refuse(Refusal::Internal), Fault::Html, Fault::Truncated] {
        stand.wire.server.inject(Kind::Read, fault);
        let before = stand.count("PATCH", "/autoscalers");
        assert_eq!(native.suspend(&group, &undo).await.unwrap_err().code(), "transport", "{fault:?}");
        assert_eq!(native.prepare(&group).await.unwrap_err().code(), "transport", "{fault:?}");
        assert_eq!(native.describe(&group).await.unwrap_err().code(), "transport", "{fault:?}");
        assert_eq!(stand.count("PATCH", "/autoscalers"), before);
        stand.wire.server.clear();
    }
}

#[tokio::test]
async fn what_is_taken_and_does_not_end_is_unclear() {
    // Its clock stands still, and so do its operations.
    let stand = Stand::new().await;
    let (group, _) = furnished(&stand, "web-2", true);
    let provider = stand.provider(contract::Deadlines { write: Duration::from_millis(1_800), ..SHORT }).await;
    let native = provider.native().unwrap();
    let undo = native.prepare(&group).await.unwrap();
    let error = native.suspend(&group, &undo).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unclear { .. }), "{error}");
    assert!(error.to_string().contains("has not ended yet"), "{error}");
    native.suspend(&group, &undo).await.unwrap();
    assert_eq!((mode(&stand, "web-2").as_str(), stand.count("PATCH", "/autoscalers")), ("OFF", 1));
}
