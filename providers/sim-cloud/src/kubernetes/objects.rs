//! The machines as objects of the API.

use super::memory::Memory;
use super::path::Path;
use super::scalers::{HPAS, SCALED};
use super::{AUTOSCALER, PREFIX, State, headed};
use contract::{
    FailureKind, GroupId, Instance, InstanceId, InstanceState, LaunchFailure, Observation, OwnerTag, Suspended,
    Timestamp,
};
use serde_json::{Value, json};
use sim::Cloud;
use std::collections::{BTreeMap, BTreeSet};

/// The annotation of skala's owner tag; the machines keep it.
pub(super) const OWNER: &str = "skala.dev/owner";

/// What a simulated group is called in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub group: GroupId,
    pub namespace: String,
    pub plural: &'static str,
    pub name: String,
}

impl Name {
    pub fn of(group: &GroupId) -> Option<Self> {
        let rest = group.as_str().strip_prefix(PREFIX)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let (namespace, plural, name) = match parts.as_slice() {
            [namespace, name] => (namespace, "deployments", name),
            [namespace, "statefulset", name] => (namespace, "statefulsets", name),
            [namespace, "rollouts.argoproj.io", name] => (namespace, "rollouts", name),
            _ => return None,
        };
        Some(Self { group: group.clone(), namespace: (*namespace).into(), plural, name: (*name).into() })
    }

    fn kind(&self) -> (&'static str, &'static str) {
        match self.plural {
            "deployments" => ("Deployment", "apps/v1"),
            "statefulsets" => ("StatefulSet", "apps/v1"),
            _ => ("Rollout", "argoproj.io/v1alpha1"),
        }
    }

    fn hash(&self) -> String {
        let sum = self.name.bytes().fold(5_381_u32, |sum, byte| sum.wrapping_mul(33) ^ u32::from(byte));
        format!("{sum:08x}")
    }

    fn labels(&self) -> Value {
        json!({"app": self.name})
    }
}

pub(super) fn pod_name(name: &Name, ordinal: u32, instance: &InstanceId) -> String {
    match name.plural {
        "statefulsets" => format!("{}-{ordinal}", name.name),
        _ => format!("{}-{}-{}", name.name, name.hash(), instance.as_str().replace("i-", "")),
    }
}

/// A time as the API writes it, in whole seconds.
pub(super) fn time(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.0.div_euclid(1_000_000)).map(|time| time.to_string()).unwrap_or_default()
}

fn names(cloud: &Cloud) -> Vec<Name> {
    cloud.groups().iter().filter_map(Name::of).collect()
}

/// All objects of a kind; `None` when the server has no such kind. In the order of their keys.
pub(super) fn all(cloud: &Cloud, state: &mut State, path: &Path) -> Option<Vec<Value>> {
    let meant = |namespace: &str| path.namespace.as_deref().is_none_or(|asked| asked == namespace);
    let names = names(cloud);
    let keys = names.iter().map(key).collect();
    state.memory.keep_only(&names.iter().map(|name| name.group.clone()).collect(), &keys);
    let mut items = match (&*path.group, &*path.plural) {
        ("apps", "deployments" | "statefulsets") | ("argoproj.io", "rollouts") => {
            let of = names.iter().filter(|name| name.plural == path.plural && meant(&name.namespace));
            of.filter_map(|name| workload(cloud, &mut state.memory, name)).collect()
        }
        ("", "pods") => {
            let of = names.iter().filter(|name| meant(&name.namespace));
            of.flat_map(|name| pods(cloud, &mut state.memory, name)).collect()
        }
        ("", "events") => {
            let of = names.iter().filter(|name| meant(&name.namespace));
            of.filter_map(|name| refusal(cloud, &mut state.memory, name)).collect()
        }
        ("", "nodes") => nodes(cloud, &mut state.memory, &names),
        ("", "namespaces") => namespaces(&mut state.memory, &names),
        ("autoscaling", HPAS) => {
            let mut all = autoscalers(cloud, &mut state.memory, &names);
            all.extend(state.scalers.all(&mut state.memory, HPAS));
            all.into_iter().filter(|item| meant(item["metadata"]["namespace"].as_str().unwrap_or(""))).collect()
        }
        ("keda.sh", SCALED) => {
            state.scalers.keda?;
            let all = state.scalers.all(&mut state.memory, SCALED);
            all.into_iter().filter(|item| meant(item["metadata"]["namespace"].as_str().unwrap_or(""))).collect()
        }
        _ => return None,
    };
    items.sort_by_key(place);
    Some(items)
}

/// Where an object stands in a list.
pub(super) fn place(item: &Value) -> String {
    let of = |key: &str| item["metadata"][key].as_str().unwrap_or_default().to_owned();
    format!("{}/{}", of("namespace"), of("name"))
}

/// One object, or its scale.
pub(super) fn one(cloud: &Cloud, state: &mut State, path: &Path) -> Option<Value> {
    let object = match group(cloud, path) {
        // Alone, since rendering a whole list for one of its items is slow.
        Some(name) => workload(cloud, &mut state.memory, &name)?,
        None => all(cloud, state, path)?
            .into_iter()
            .find(|item| item["metadata"]["name"].as_str() == path.name.as_deref())?,
    };
    match path.sub.as_deref() {
        None | Some("status") => Some(object),
        Some("scale") if object["spec"]["selector"].is_object() => Some(scale(&object)),
        Some(_) => None,
    }
}

/// The simulated group that a path means.
pub(super) fn group(cloud: &Cloud, path: &Path) -> Option<Name> {
    let same = |name: &Name| {
        name.plural == path.plural
            && Some(&*name.name) == path.name.as_deref()
            && Some(&*name.namespace) == path.namespace.as_deref()
    };
    names(cloud).into_iter().find(same)
}

pub(super) fn scale(object: &Value) -> Value {
    let meta = &object["metadata"];
    let picked = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"];
    let meta: serde_json::Map<String, Value> =
        picked.iter().map(|key| ((*key).to_owned(), meta[*key].clone())).collect();
    let selector = object["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten();
    let selector: Vec<String> =
        selector.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    let mut spec = json!({});
    // Left out when it is 0, as the API's own types do.
    if object["spec"]["replicas"] != json!(0) {
        spec["replicas"] = object["spec"]["replicas"].clone();
    }
    let replicas = object["status"].get("replicas").cloned().unwrap_or(json!(0));
    let rest =
        json!({"metadata": meta, "spec": spec, "status": {"replicas": replicas, "selector": selector.join(",")}});
    headed("Scale", "autoscaling/v1", rest)
}

fn key(name: &Name) -> String {
    format!("workload {}", name.group)
}

pub(super) fn workload(cloud: &Cloud, memory: &mut Memory, name: &Name) -> Option<Value> {
    let (seen, revision) = (cloud.look(&name.group)?, cloud.revision(&name.group)?);
    let paused = seen.suspended.iter().any(|what| matches!(what, Suspended::Other(_)));
    let mut annotations: BTreeMap<String, String> = memory.annotations.get(&name.group).cloned().unwrap_or_default();
    annotations.extend(seen.owner.as_ref().map(|tag| (OWNER.to_owned(), owner_text(tag))));
    let there = seen.instances.iter().filter(|instance| instance.state != InstanceState::Terminating);
    let unplaced = waiting(&seen);
    let replicas = there.clone().count() + unplaced;
    let ready = there.filter(|instance| instance.state == InstanceState::Running).count();
    let mut meta = json!({"name": name.name, "namespace": name.namespace, "creationTimestamp": time(seen.at), "labels": name.labels()});
    if let Some(since) = memory.going.get(&name.group) {
        meta["deletionTimestamp"] = since.as_str().into();
    }
    if !annotations.is_empty() {
        meta["annotations"] = json!(annotations);
    }
    let containers = json!([{"name": "app", "image": "registry.example/app:1"}]);
    let mut spec = json!({
        "replicas": seen.desired?,
        "selector": {"matchLabels": name.labels()},
        "template": {"metadata": {"labels": name.labels()}, "spec": {"containers": containers}},
    });
    let mut status = json!({"observedGeneration": 0, "replicas": replicas, "updatedReplicas": replicas});
    if ready > 0 {
        status["readyReplicas"] = ready.into();
        status["availableReplicas"] = ready.into();
    }
    match name.plural {
        "deployments" => {
            if paused {
                spec["paused"] = true.into();
            }
            status["conditions"] = conditions(&seen, ready);
        }
        "statefulsets" => {
            spec["serviceName"] = name.name.as_str().into();
            status["currentRevision"] = format!("{}-1", name.name).into();
            status["updateRevision"] = format!("{}-1", name.name).into();
        }
        _ => {}
    }
    let (kind, version) = name.kind();
    let mut object = headed(kind, version, json!({"metadata": meta, "spec": spec, "status": status}));
    memory.stamp(&key(name), &mut object, Some(&format!("{revision} {paused}")));
    Some(object)
}

/// The event of a pod that the quota forbids, in the words of whatever makes pods: a ReplicaSet, or a StatefulSet.
fn refusal(cloud: &Cloud, memory: &mut Memory, name: &Name) -> Option<Value> {
    let seen = cloud.look(&name.group)?;
    let over = |failure: &&LaunchFailure| failure.kind == FailureKind::QuotaExceeded;
    let failure = seen.launch_failures.iter().filter(over).max_by_key(|failure| failure.at)?;
    let quota = "is forbidden: exceeded quota: pods, requested: pods=1, used: pods=9, limited: pods=9";
    let own = &name.name;
    let (kind, version, maker, message) = match name.plural {
        "statefulsets" => {
            let pod = format!("{own}-{}", seen.instances.len());
            let message = format!("create Pod {pod} in StatefulSet {own} failed error: pods {pod:?} {quota}");
            ("StatefulSet", "apps/v1", own.clone(), message)
        }
        _ => {
            let set = format!("{own}-{}", name.hash());
            let message = format!("Error creating: pods \"{set}-x7k2p\" {quota}");
            ("ReplicaSet", "apps/v1", set, message)
        }
    };
    let at = time(failure.at);
    let rest = json!({
        "metadata": {"name": format!("{maker}.18f"), "namespace": name.namespace, "creationTimestamp": at},
        "involvedObject": {"kind": kind, "apiVersion": version, "name": maker, "namespace": name.namespace},
        "reason": "FailedCreate", "message": message, "type": "Warning", "count": 1,
        "source": {"component": format!("{}-controller", kind.to_lowercase())},
        "firstTimestamp": at, "lastTimestamp": at, "eventTime": null,
        "reportingComponent": "", "reportingInstance": "",
    });
    let mut event = headed("Event", "v1", rest);
    memory.stamp(&format!("event {}", name.group), &mut event, None);
    Some(event)
}

fn conditions(seen: &Observation, ready: usize) -> Value {
    let full = seen.desired.is_some_and(|desired| ready >= desired as usize);
    // Since the last instance came: what makes the condition turn.
    let came = seen.instances.iter().filter_map(|instance| instance.running_since).max();
    let at = time(came.unwrap_or(Timestamp::from_secs(0)));
    let condition = |kind: &str, status: bool, reason: &str, message: &str| {
        json!({"type": kind, "status": if status { "True" } else { "False" }, "reason": reason, "message": message,
               "lastUpdateTime": at, "lastTransitionTime": at})
    };
    let mut all = vec![match full {
        true => condition("Available", true, "MinimumReplicasAvailable", "Deployment has minimum availability."),
        false => condition(
            "Available",
            false,
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        ),
    }];
    let quota = seen.launch_failures.iter().any(|failure| failure.kind == FailureKind::QuotaExceeded);
    if quota && seen.unfilled() > 0 {
        let message =
            "pods \"web-x\" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=9, limited: pods=9";
        all.push(condition("ReplicaFailure", true, "FailedCreate", message));
    }
    json!(all)
}

/// Pods that are there and have no node: capacity that no machine was found for.
fn waiting(seen: &Observation) -> usize {
    let dry = seen.launch_failures.iter().any(|failure| failure.kind == FailureKind::OutOfCapacity);
    if dry { seen.unfilled() as usize } else { 0 }
}

fn pods(cloud: &Cloud, memory: &mut Memory, name: &Name) -> Vec<Value> {
    let Some(seen) = cloud.look(&name.group) else { return Vec::new() };
    memory.keep_ordinals(&name.group, &seen.instances.iter().map(|instance| &instance.id).collect());
    let mut all = Vec::new();
    for instance in &seen.instances {
        let ordinal = memory.ordinal(&name.group, &instance.id);
        let pod = pod_name(name, ordinal, &instance.id);
        all.push(stamped(memory, name, &pod, pod_of(instance, seen.at)));
    }
    for index in 0..waiting(&seen) {
        let ordinal = memory.ordinal(&name.group, &format!("wait{index}").into());
        let pod = pod_name(name, ordinal, &format!("wait{index}").into());
        let message = "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available.";
        let since = memory.first_seen(&pod_key(name, &pod), &time(seen.at));
        let rest = json!({
            "metadata": {"creationTimestamp": since},
            "spec": {},
            "status": {"phase": "Pending", "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
                "lastTransitionTime": since,
            }]},
        });
        all.push(stamped(memory, name, &pod, rest));
    }
    let named = all.iter().filter_map(|pod| pod["metadata"]["name"].as_str());
    memory.keep_pods(&pod_key(name, ""), &named.map(|pod| pod_key(name, pod)).collect());
    all
}

fn pod_key(name: &Name, pod: &str) -> String {
    format!("pod {} {pod}", name.group)
}

fn stamped(memory: &mut Memory, name: &Name, pod: &str, rest: Value) -> Value {
    let mut object = headed("Pod", "v1", rest);
    let (kind, version) = name.kind();
    let owner = match name.plural {
        "statefulsets" => {
            json!({"apiVersion": version, "kind": kind, "name": name.name, "uid": "owner", "controller": true})
        }
        _ => {
            let set = format!("{}-{}", name.name, name.hash());
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": "owner", "controller": true})
        }
    };
    let meta = &mut object["metadata"];
    meta["name"] = pod.into();
    meta["namespace"] = name.namespace.as_str().into();
    meta["labels"] = name.labels();
    match name.plural {
        "statefulsets" => meta["labels"]["controller-revision-hash"] = format!("{}-1", name.name).into(),
        _ => meta["labels"]["pod-template-hash"] = name.hash().into(),
    }
    meta["ownerReferences"] = json!([owner]);
    object["spec"]["containers"] = json!([{"name": "app", "image": "registry.example/app:1"}]);
    memory.stamp(&pod_key(name, pod), &mut object, None);
    object
}

fn pod_of(instance: &Instance, at: Timestamp) -> Value {
    let launched = instance.launched.unwrap_or(at);
    let ready = instance.state == InstanceState::Running;
    let since = instance.running_since.unwrap_or(launched);
    let condition = |kind: &str, status: bool, since: Timestamp| json!({"type": kind, "status": if status { "True" } else { "False" }, "lastTransitionTime": time(since)});
    let state = match instance.state {
        InstanceState::Running => json!({"running": {"startedAt": time(since)}}),
        InstanceState::Failed => {
            json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}})
        }
        InstanceState::Pending | InstanceState::Terminating => json!({"waiting": {"reason": "ContainerCreating"}}),
    };
    let container = json!({"name": "app", "image": "registry.example/app:1", "imageID": "", "ready": ready, "restartCount": 0, "state": state});
    let mut pod = json!({
        "metadata": {"creationTimestamp": time(launched)},
        "spec": {"nodeName": format!("node-{}", instance.zone.as_deref().unwrap_or("a"))},
        "status": {
            "phase": if ready { "Running" } else { "Pending" },
            "conditions": [condition("PodScheduled", true, launched), condition("Ready", ready, since)],
            "containerStatuses": [container],
        },
    });
    if instance.state == InstanceState::Terminating {
        pod["metadata"]["deletionTimestamp"] = time(at).into();
    }
    pod
}

fn nodes(cloud: &Cloud, memory: &mut Memory, names: &[Name]) -> Vec<Value> {
    let seen = names.iter().filter_map(|name| cloud.look(&name.group));
    let zones: BTreeSet<Box<str>> = seen.flat_map(|seen| seen.instances).filter_map(|instance| instance.zone).collect();
    let mut node = |zone: &str| {
        let labels = json!({"topology.kubernetes.io/zone": zone});
        let rest = json!({"metadata": {"name": format!("node-{zone}"), "labels": labels}, "spec": {}, "status": {}});
        let mut node = headed("Node", "v1", rest);
        memory.stamp(&format!("node {zone}"), &mut node, None);
        node
    };
    zones.iter().map(|zone| node(zone)).collect()
}

fn namespaces(memory: &mut Memory, names: &[Name]) -> Vec<Value> {
    let all: BTreeSet<&str> = names.iter().map(|name| &*name.namespace).collect();
    let namespace = |name: &&str| {
        let rest =
            json!({"metadata": {"name": name}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let mut object = headed("Namespace", "v1", rest);
        memory.stamp(&format!("namespace {name}"), &mut object, None);
        object
    };
    all.iter().map(namespace).collect()
}

/// An autoscaler for each group with a foreign controller.
fn autoscalers(cloud: &Cloud, memory: &mut Memory, names: &[Name]) -> Vec<Value> {
    let foreign = |name: &&Name| cloud.look(&name.group).is_some_and(|seen| !seen.foreign.is_empty());
    let of = names.iter().filter(foreign).enumerate();
    of.map(|(index, name)| {
        let own = if index == 0 { AUTOSCALER.to_owned() } else { format!("{AUTOSCALER}-{index}") };
        let (kind, version) = name.kind();
        let target = json!({"kind": kind, "name": name.name, "apiVersion": version});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}});
        let rest = json!({
            "metadata": {"name": own, "namespace": name.namespace},
            "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 10, "metrics": [metric]},
            "status": {"desiredReplicas": 1, "currentMetrics": null, "conditions": []},
        });
        let mut object = headed("HorizontalPodAutoscaler", "autoscaling/v2", rest);
        memory.stamp(&format!("hpa {}", name.group), &mut object, None);
        object
    })
    .collect()
}

pub(super) fn owner_text(tag: &OwnerTag) -> String {
    format!("{}/{}/{}", tag.id, tag.epoch.0, tag.expiry.0 / 1_000_000)
}
