#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::{Value, json};

const AT: Timestamp = Timestamp::from_secs(1_800_000_000);

fn pod(name: &str, change: impl FnOnce(&mut Value)) -> Pod {
    let mut value = json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": "5",
            "creationTimestamp": "2027-01-15T07:00:00Z", "labels": {"app": "web"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d4", "uid": "r", "controller": true}],
        },
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2027-01-15T07:30:00Z"},
        ]},
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

fn show(pods: &[Pod], node_wait: u64) -> Shown {
    let zones = Zones::from([("n1".into(), Some("a".into()))]);
    Judge { at: AT, node_wait: Duration::from_secs(node_wait), zones: &zones, revision: Some("r2") }.show(pods.iter())
}

fn unschedulable(value: &mut Value) {
    value["spec"] = json!({});
    value["status"] = json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient cpu.", "lastTransitionTime": "2027-01-15T07:59:00Z",
    }]});
}

#[test]
fn a_pods_state_is_one_of_four_or_it_is_no_instance() {
    let check = |what: &str, expected: Option<InstanceState>, change: &dyn Fn(&mut Value)| {
        let shown = show(&[pod("web-5d4-a", change)], 0);
        assert_eq!(shown.instances.first().map(|instance| instance.state), expected, "{what}");
    };
    use InstanceState::{Failed, Pending, Running, Terminating};
    check("ready", Some(Running), &|_| {});
    check("on its way out", Some(Terminating), &|pod| {
        pod["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:30Z");
    });
    check("not ready any more", Some(Pending), &|pod| pod["status"]["conditions"][0]["status"] = json!("False"));
    check("its node is lost", Some(Pending), &|pod| pod["status"]["conditions"][0]["status"] = json!("Unknown"));
    check("no condition yet", Some(Pending), &|pod| pod["status"] = json!({"phase": "Pending"}));
    check("a phase nobody knows, and ready", Some(Running), &|pod| pod["status"]["phase"] = json!("Dreaming"));
    check("evicted", None, &|pod| pod["status"]["phase"] = json!("Failed"));
    check("done", None, &|pod| pod["status"]["phase"] = json!("Succeeded"));
    check("no node has room", None, &unschedulable);
    check("crashing", Some(Failed), &|pod| {
        pod["status"]["conditions"][0]["status"] = json!("False");
        pod["status"]["containerStatuses"] = json!([{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]);
    });
}

#[test]
fn times_and_places_come_from_the_pod_and_its_node() {
    let shown = show(&[pod("web-5d4-a", |_| {}), pod("web-5d4-a", |_| {})], 0);
    assert_eq!(shown.instances.len(), 1, "a pod shown twice is one");
    let instance = &shown.instances[0];
    assert_eq!(instance.running_since, time(Some("2027-01-15T07:30:00Z")));
    assert_eq!(instance.launched, time(Some("2027-01-15T07:00:00Z")));
    assert_eq!(instance.zone.as_deref(), Some("a"));
    let ahead = pod("web-5d4-b", |pod| {
        pod["status"]["conditions"][0]["lastTransitionTime"] = json!("2027-01-15T08:10:00Z");
        pod["spec"]["nodeName"] = json!("n9");
        pod["metadata"]["labels"]["controller-revision-hash"] = json!("r1");
    });
    let shown = show(&[ahead], 0);
    assert_eq!(shown.instances[0].running_since, Some(AT), "a clock ahead of ours says nothing of the future");
    assert!(shown.instances[0].outdated);
    assert_eq!(shown.unknown_nodes.len(), 1);
}

#[test]
fn launches_that_fail_say_why() {
    let check = |change: &dyn Fn(&mut Value), node_wait: u64, kind: Option<FailureKind>, instances: usize| {
        let shown = show(&[pod("web-5d4-a", change)], node_wait);
        assert_eq!(shown.failures.first().map(|failure| failure.kind), kind, "{shown:?}");
        assert_eq!(shown.instances.len(), instances, "{shown:?}");
    };
    check(&unschedulable, 0, Some(FailureKind::OutOfCapacity), 0);
    // It has waited for a minute by now.
    check(&unschedulable, 60, Some(FailureKind::OutOfCapacity), 0);
    check(&unschedulable, 61, None, 1);
    let image = |pod: &mut Value| {
        pod["status"] = json!({"phase": "Pending", "containerStatuses": [
            {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}
        ]});
    };
    check(&image, 0, Some(FailureKind::Invalid), 1);
    check(&|_| {}, 0, None, 1);
}

#[test]
fn a_pod_belongs_to_one_group() {
    let selector = Selector::parse("app=web").unwrap();
    let siblings = |name: &str| ["web", "web-canary"].contains(&name);
    let check = |resource: Resource, kind: &str, controller: &str, expected: bool| {
        let pod = pod("p", |pod| {
            pod["metadata"]["ownerReferences"][0]["kind"] = json!(kind);
            pod["metadata"]["ownerReferences"][0]["name"] = json!(controller);
        });
        let family = Family { resource: &resource, name: "web", selector: &selector, siblings: &siblings };
        assert_eq!(family.has(&pod), expected, "{resource:?} {kind} {controller}");
    };
    check(Resource::Deployment, "ReplicaSet", "web-5d4", true);
    // The neighbour's labels match too, and its pods are its own.
    check(Resource::Deployment, "ReplicaSet", "web-canary-77f", false);
    check(Resource::Deployment, "ReplicaSet", "adopted", true);
    check(Resource::Deployment, "Job", "web-5d4", false);
    check(Resource::StatefulSet, "StatefulSet", "web", true);
    check(Resource::StatefulSet, "StatefulSet", "web-2", false);
    let custom = || Resource::Custom { plural: "rollouts".into(), group: "argoproj.io".into() };
    check(custom(), "ReplicaSet", "anything", true);
    let bare = pod("p", |pod| pod["metadata"]["ownerReferences"] = Value::Null);
    let of =
        |resource: &Resource| Family { resource, name: "web", selector: &selector, siblings: &siblings }.has(&bare);
    assert!(!of(&Resource::Deployment) && of(&custom()));
}
