//! A workload's own scaler on the simulated cluster: suspended, seen to be, and given back as it was.
#![allow(clippy::unwrap_used)]

mod stand;

use contract::native::{NativeMode, Switch};
use contract::{GroupId, Lowerer, Native, NativePolicy, Observation, Provider, ProviderError, Undo};
use kubernetes::Kubernetes;
use serde_json::{Value, json};
use sim_cloud::kubernetes::{Faster, Keda};
use stand::{Stand, look, target};
use std::time::Duration;

const HPA: &str = "HorizontalPodAutoscaler shop/web";

async fn one() -> (Stand, Kubernetes, GroupId) {
    let stand = Stand::start("deployment:shop/", 500).await;
    let group = stand.groups("shop/", 1, 3).remove(0);
    let provider = stand.provider().await;
    (stand, provider, group)
}

fn hpa(behavior: Value) -> Value {
    let metric = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}});
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web-0"});
    let mut spec = json!({
        "scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 9,
        "metrics": [{"type": "Resource", "resource": metric}],
    });
    if !behavior.is_null() {
        spec["behavior"] = behavior;
    }
    json!({"metadata": {"labels": {"team": "shop"}, "annotations": {"note": "ours"}}, "spec": spec})
}

fn code<T: std::fmt::Debug>(answer: &Result<T, ProviderError>) -> &'static str {
    answer.as_ref().err().map_or("ok", ProviderError::code)
}

fn shown(undo: &Undo) -> Vec<String> {
    undo.switches.iter().map(ToString::to_string).collect()
}

/// The foreign controllers that a process of its own sees: one that was there before looks every half minute.
async fn foreign(stand: &Stand, group: &GroupId) -> Vec<(String, Option<bool>)> {
    let seen = look(&stand.provider().await, group).await.unwrap();
    seen.foreign.iter().map(|foreign| (foreign.name.to_string(), foreign.removes)).collect()
}

/// What was set, without what the server says by itself.
fn set(stand: &Stand, name: &str) -> Value {
    let mut object = stand.api.autoscaler("shop", name).unwrap();
    object.as_object_mut().unwrap().remove("status");
    object
}

async fn suspended(provider: &Kubernetes, group: &GroupId) -> Undo {
    let undo = provider.prepare(group).await.unwrap();
    provider.suspend(group, &undo).await.unwrap();
    undo
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hpa_is_suspended_and_comes_back_as_it_was() {
    let rules = json!({
        "scaleUp": {"selectPolicy": "Max", "policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]},
        "scaleDown": {"selectPolicy": "Min", "stabilizationWindowSeconds": 120},
    });
    for (behavior, was) in [
        (Value::Null, ["not there", "not there"]),
        (rules, ["Min", "Max"]),
        (json!({"scaleDown": {"selectPolicy": "Disabled"}}), ["", "Max"]),
    ] {
        let (stand, provider, group) = one().await;
        stand.api.put_autoscaler("shop", "web", hpa(behavior.clone()));
        // Another workload's is nobody's business here.
        let mut other = hpa(Value::Null);
        other["spec"]["scaleTargetRef"]["name"] = "api".into();
        stand.api.put_autoscaler("shop", "api", other);
        let before = [set(&stand, "web"), set(&stand, "api")];
        let removes = !was[0].is_empty();
        assert_eq!(foreign(&stand, &group).await, [(HPA.to_owned(), Some(removes))]);
        let undo = provider.prepare(&group).await.unwrap();
        let ways = ["scaleDown", "scaleUp"].iter().zip(was).filter(|(_, was)| !was.is_empty());
        let expected: Vec<String> =
            ways.map(|(way, was)| format!("{HPA}: spec.behavior.{way}.selectPolicy {was} -> Disabled")).collect();
        assert_eq!(shown(&undo), expected);
        for _ in 0..2 {
            provider.suspend(&group, &undo).await.unwrap();
            let now = set(&stand, "web");
            for way in ["scaleUp", "scaleDown"] {
                assert_eq!(now["spec"]["behavior"][way]["selectPolicy"], "Disabled", "{now}");
            }
            // Nothing else of it has changed.
            for key in ["metadata", "kind", "apiVersion"] {
                assert_eq!(now[key], before[0][key]);
            }
            for key in ["scaleTargetRef", "minReplicas", "maxReplicas", "metrics"] {
                assert_eq!(now["spec"][key], before[0]["spec"][key]);
            }
            assert!(provider.prepare(&group).await.unwrap().switches.is_empty(), "nothing is left that may act");
        }
        assert_eq!(foreign(&stand, &group).await, []);
        for _ in 0..2 {
            provider.restore(&group, &undo).await.unwrap();
            assert_eq!([set(&stand, "web"), set(&stand, "api")], before, "exactly what was there");
        }
        assert_eq!(foreign(&stand, &group).await, [(HPA.to_owned(), Some(removes))]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_set_since_is_not_overwritten() {
    let (stand, provider, group) = one().await;
    stand.api.put_autoscaler("shop", "web", hpa(Value::Null));
    let undo = suspended(&provider, &group).await;
    let min = json!({"scaleUp": {"selectPolicy": "Min"}, "scaleDown": {"selectPolicy": "Disabled"}});
    stand.api.put_autoscaler("shop", "web", hpa(min));
    let theirs = set(&stand, "web");
    for answer in [provider.restore(&group, &undo).await, provider.suspend(&group, &undo).await] {
        let Err(ProviderError::Conflict { what }) = &answer else { panic!("{answer:?}") };
        assert!(what.contains("is Min, neither not there nor Disabled"), "{what}");
    }
    assert_eq!(set(&stand, "web"), theirs, "not even the other direction was written");
    // Rules that were written meanwhile stay when the switches go back.
    let mut edited = theirs.clone();
    edited["spec"]["behavior"]["scaleUp"] = json!({
        "selectPolicy": "Disabled", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 30}],
    });
    stand.api.put_autoscaler("shop", "web", edited);
    for _ in 0..2 {
        provider.restore(&group, &undo).await.unwrap();
        let up = &set(&stand, "web")["spec"]["behavior"]["scaleUp"];
        assert_eq!((&up["selectPolicy"], &up["policies"][0]["periodSeconds"]), (&json!("Max"), &json!(30)));
    }
    // One that came since is one more to prepare.
    let undo = suspended(&provider, &group).await;
    stand.api.put_autoscaler("shop", "more", hpa(Value::Null));
    let answer = provider.suspend(&group, &undo).await;
    assert!(
        matches!(&answer, Err(ProviderError::Conflict { what }) if what.contains("shop/more may act")),
        "{answer:?}"
    );
    // One that is gone stays gone.
    stand.api.delete_autoscaler("shop", "web");
    stand.api.delete_autoscaler("shop", "more");
    for answer in [provider.suspend(&group, &undo).await, provider.restore(&group, &undo).await] {
        assert_eq!(code(&answer), "ok", "{answer:?}");
    }
    assert_eq!(stand.api.autoscaler("shop", "web"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_the_precondition_of_every_write() {
    let (stand, provider, group) = one().await;
    stand.api.put_autoscaler("shop", "web", hpa(Value::Null));
    let undo = provider.prepare(&group).await.unwrap();
    let patches = |stand: &Stand, from: usize| {
        let all = &stand.wire.server.exchanges()[from..];
        all.iter().filter(|one| one.method == "PATCH").map(|one| one.status).collect::<Vec<_>>()
    };
    // The HPA's controller writes its status between our read and our write: refused, read again, written.
    let from = stand.exchanged();
    stand.api.be_faster(Faster::Touches);
    provider.suspend(&group, &undo).await.unwrap();
    assert_eq!(patches(&stand, from), [409, 200]);
    let from = stand.exchanged();
    stand.api.be_faster(Faster::Touches);
    provider.restore(&group, &undo).await.unwrap();
    assert_eq!(patches(&stand, from), [409, 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keda_is_paused_and_its_hpa_is_not_touched() {
    let paused = "autoscaling.keda.sh/paused";
    for (annotations, first) in [
        (json!({}), vec![format!("ScaledObject shop/web-0: {paused} not there -> true")]),
        (json!({paused: "false", "x": "y"}), vec![format!("ScaledObject shop/web-0: {paused} false -> true")]),
        (
            json!({format!("{paused}-replicas"): "4"}),
            vec![
                format!("ScaledObject shop/web-0: {paused} not there -> true"),
                format!("ScaledObject shop/web-0: {paused}-replicas 4 -> not there"),
            ],
        ),
    ] {
        let (stand, provider, group) = one().await;
        stand.api.install_keda(Keda::Present, Some(("shop", "web-0")));
        let mut object = stand.api.scaled_object("shop", "web-0").unwrap();
        object["metadata"]["annotations"] = annotations.clone();
        stand.api.put_scaled_object("shop", "web-0", object);
        let set = |stand: &Stand| {
            let mut object = stand.api.scaled_object("shop", "web-0").unwrap();
            object.as_object_mut().unwrap().remove("status");
            if object["metadata"]["annotations"] == json!({}) {
                object["metadata"].as_object_mut().unwrap().remove("annotations");
            }
            object
        };
        let (before, seen) = (set(&stand), foreign(&stand, &group).await);
        assert!(seen.contains(&("ScaledObject shop/web-0".into(), Some(true))), "{seen:?}");
        let from = stand.exchanged();
        let undo = provider.prepare(&group).await.unwrap();
        assert_eq!(shown(&undo), first);
        for _ in 0..2 {
            provider.suspend(&group, &undo).await.unwrap();
            assert_eq!(foreign(&stand, &group).await, []);
            assert!(provider.prepare(&group).await.unwrap().switches.is_empty());
        }
        assert_eq!(stand.api.autoscaler("shop", "keda-hpa-web-0"), None, "KEDA has obeyed");
        for _ in 0..2 {
            provider.restore(&group, &undo).await.unwrap();
            assert_eq!(set(&stand), before, "exactly what was there");
        }
        assert_eq!(foreign(&stand, &group).await, seen);
        let all = &stand.wire.server.exchanges()[from..];
        let touched = all.iter().filter(|one| one.method == "PATCH" && one.path.contains("horizontalpod"));
        assert_eq!(touched.count(), 0, "what KEDA made is KEDA's");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keda_that_does_not_obey_is_no_success() {
    let (stand, provider, group) = one().await;
    stand.api.install_keda(Keda::Old, Some(("shop", "web-0")));
    let undo = provider.prepare(&group).await.unwrap();
    let answer = provider.suspend(&group, &undo).await;
    assert_eq!(code(&answer), "unclear", "{answer:?}");
    assert!(answer.unwrap_err().to_string().contains("A KEDA of before 2.12"));
    // What acts is shown, and asked for again it is not said that there is nothing to suspend.
    let acts = ("HorizontalPodAutoscaler shop/keda-hpa-web-0".to_owned(), Some(true));
    assert_eq!(foreign(&stand, &group).await, [acts]);
    assert_eq!(code(&provider.prepare(&group).await), "conflict");
    provider.restore(&group, &undo).await.unwrap();
    let object = stand.api.scaled_object("shop", "web-0").unwrap();
    assert!(object["metadata"]["annotations"].get("autoscaling.keda.sh/paused").is_none(), "{object}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hpa_of_another_controller_is_left_to_that() {
    let (stand, provider, group) = one().await;
    let mut kept = hpa(Value::Null);
    kept["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "x/v1", "kind": "Operator", "name": "ops", "uid": "1", "controller": true}]);
    stand.api.put_autoscaler("shop", "web", kept);
    let answer = provider.prepare(&group).await;
    let words = answer.as_ref().map(shown).map_err(ToString::to_string);
    assert!(code(&answer) == "invalid" && words.unwrap_err().contains("belongs to Operator ops"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_not_allowed_is_said() {
    let (stand, provider, group) = one().await;
    for (id, expected) in [("shop/gone", "not_found"), ("web", "invalid"), ("shop/pods/x", "invalid")] {
        let group = GroupId::from(id);
        assert_eq!(code(&provider.prepare(&group).await), expected, "{id}");
        assert_eq!(code(&provider.describe(&group).await), expected, "{id}");
    }
    assert_eq!(provider.prepare(&group).await.unwrap(), Undo::default());
    let none = provider.describe(&group).await.unwrap();
    assert_eq!(none, NativePolicy::named("shop/web-0, which has no autoscaler,"));
    stand.api.put_autoscaler("shop", "web", hpa(Value::Null));
    let undo = provider.prepare(&group).await.unwrap();
    let before = set(&stand, "web");
    stand.api.forbid("patch horizontalpodautoscalers");
    assert_eq!(code(&provider.suspend(&group, &undo).await), "denied");
    assert_eq!(set(&stand, "web"), before);
    // What cannot be read is not "nothing to suspend".
    stand.api.install_keda(Keda::Present, None);
    stand.api.forbid("list scaledobjects");
    assert_eq!(code(&provider.prepare(&group).await), "denied");
    assert_eq!(code(&provider.describe(&group).await), "denied");
    let edited = Switch { setting: "spec.maxReplicas".into(), ..undo.switches[0].clone() };
    let (stand, provider, group) = one().await;
    stand.api.put_autoscaler("shop", "web", hpa(Value::Null));
    assert_eq!(code(&provider.restore(&group, &Undo { switches: vec![edited] }).await), "invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_described_by_what_it_is_set_to() {
    let (stand, provider, group) = one().await;
    stand.api.put_autoscaler("shop", "web", hpa(Value::Null));
    let described = provider.describe(&group).await.unwrap();
    assert_eq!((&*described.name, described.mode), (HPA, NativeMode::On));
    assert_eq!((described.min, described.max, &*described.rules[0].name), (Some(2), Some(9), "cpu"));
    suspended(&provider, &group).await;
    let resting = provider.describe(&group).await.unwrap();
    assert_eq!(
        (resting.mode, &resting.rules, &resting.scale_in),
        (NativeMode::Off, &described.rules, &described.scale_in)
    );
    stand.api.delete_autoscaler("shop", "web");
    stand.api.install_keda(Keda::Present, Some(("shop", "web-0")));
    let described = provider.describe(&group).await.unwrap();
    assert_eq!((&*described.name, described.min, described.max), ("ScaledObject shop/web-0", Some(1), Some(20)));
}

/// What an HPA does above its max and below its min, whatever its directions say.
fn enforce(stand: &Stand, group: &GroupId, (min, max): (u32, u32)) -> u32 {
    let desired = stand.desired(group).unwrap();
    let kept = if desired == 0 { 0 } else { desired.clamp(min, max) };
    stand.wire.cloud.set_desired(&Stand::simulated(group), kept);
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn its_bounds_hold_also_while_it_rests() {
    let bounds = |seen: &Observation| (seen.cloud_min, seen.cloud_max);
    for suspend in [true, false] {
        let (stand, provider, group) = one().await;
        assert_eq!(bounds(&look(&provider, &group).await.unwrap()), (None, None));
        let behavior = if suspend { Value::Null } else { json!({"scaleDown": {"selectPolicy": "Disabled"}}) };
        stand.api.put_autoscaler("shop", "web", hpa(behavior));
        if suspend {
            suspended(&provider, &group).await;
        }
        let provider = stand.provider().await;
        let seen = look(&provider, &group).await.unwrap();
        assert_eq!((bounds(&seen), seen.foreign.is_empty()), ((Some(2), Some(9)), suspend), "{seen:?}");
        // Beyond them the HPA would take back at once what came.
        for to in [10, 50] {
            let answer = provider.raise(&target(&group, &seen), to).await;
            assert_eq!((code(&answer), stand.desired(&group)), ("conflict", Some(3)), "{answer:?}");
        }
        assert_eq!(code(&provider.lower(&target(&group, &seen), 1).await), "conflict");
        provider.raise(&target(&group, &seen), 9).await.unwrap();
        assert_eq!(enforce(&stand, &group, (2, 9)), 9);
        // Of nothing it keeps its hands.
        let seen = look(&provider, &group).await.unwrap();
        provider.lower(&target(&group, &seen), 0).await.unwrap();
        assert_eq!(enforce(&stand, &group, (2, 9)), 0);
        assert_eq!(bounds(&look(&provider, &group).await.unwrap()), (None, Some(9)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hpa_that_acts_again_stops_the_next_write() {
    let (stand, provider, group) = one().await;
    stand.api.put_autoscaler("shop", "web", hpa(Value::Null));
    let undo = suspended(&provider, &group).await;
    let daemon = stand.provider().await;
    let seen = look(&daemon, &group).await.unwrap();
    daemon.raise(&target(&group, &seen), 4).await.unwrap();
    // Given back by another process; this one has looked a moment ago, and looks again before it writes.
    provider.restore(&group, &undo).await.unwrap();
    let seen = look(&daemon, &group).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5_100)).await;
    let answer = daemon.raise(&target(&group, &seen), 5).await;
    assert_eq!((code(&answer), stand.desired(&group)), ("conflict", Some(4)), "{answer:?}");
    assert_eq!(look(&daemon, &group).await.unwrap().foreign.len(), 1);
}
