//! Pods as instances: which belong to a group, what each one's state is, and which launches have failed.
//!
//! - A pod with a deletion timestamp is terminating, whatever else it says.
//! - One whose phase is `Failed` or `Succeeded` is history: its controller has replaced it or will, and no longer counts
//!   it, so it is no instance.
//! - One that no node has room for is capacity that was asked for and has not come: no instance either, but a launch that
//!   failed for want of capacity, for as long as it waits.
//! - One whose `Ready` condition is true runs, since that condition turned; every other one is pending, also one that was
//!   ready before: it serves nothing.
//! - One whose container crashes again and again (`CrashLoopBackOff`) has failed: its controller never replaces it, so it
//!   stays until somebody does something.

use crate::errors::cut;
use crate::names::Resource;
use crate::selector::Selector;
use crate::shapes::{Condition, Pod, Waiting, time};
use contract::{FailureKind, Instance, InstanceId, InstanceState, LaunchFailure, Scope, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Zones by node.
pub(crate) type Zones = BTreeMap<Box<str>, Option<Box<str>>>;

/// What tells a group's pods from others.
pub(crate) struct Family<'a> {
    pub resource: &'a Resource,
    pub name: &'a str,
    pub selector: &'a Selector,
    /// Other Deployments of the namespace: their pods may match the selector too.
    pub siblings: &'a dyn Fn(&str) -> bool,
}

impl Family<'_> {
    /// Whether a pod is one of the group's. The selector decides, as for the scale subresource; a pod that says by its
    /// controller whose it is, is nobody else's, and one without any is not replaced, so it is none.
    pub fn has(&self, pod: &Pod) -> bool {
        let none = BTreeMap::new();
        if !self.selector.matches(pod.metadata.labels.as_ref().unwrap_or(&none)) {
            return false;
        }
        let Some(controller) = pod.metadata.controller() else {
            return matches!(self.resource, Resource::Custom { .. });
        };
        match self.resource {
            Resource::StatefulSet => controller.kind == "StatefulSet" && controller.name == self.name,
            Resource::Deployment => {
                // A Deployment's ReplicaSets are called NAME-HASH; one that it adopted may have any name.
                let of = controller.name.rsplit_once('-').map(|(name, _)| name);
                controller.kind == "ReplicaSet" && !of.is_some_and(|name| name != self.name && (self.siblings)(name))
            }
            Resource::Custom { .. } => true,
        }
    }
}

/// What a group's pods are.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub instances: Vec<Instance>,
    pub failures: Vec<LaunchFailure>,
    /// Nodes that nobody has named the zone of yet.
    pub unknown_nodes: BTreeSet<Box<str>>,
}

/// How pods are judged.
pub(crate) struct Judge<'a> {
    pub at: Timestamp,
    /// How long a pod may wait for a node.
    pub node_wait: Duration,
    pub zones: &'a Zones,
    /// The revision that the group's pods should have; those with another are outdated.
    pub revision: Option<&'a str>,
}

impl Judge<'_> {
    /// All pods of a group; one shown twice is one.
    pub fn show<'a>(&self, pods: impl Iterator<Item = &'a Pod>) -> Shown {
        let (mut shown, mut seen) = (Shown::default(), BTreeSet::new());
        for pod in pods.filter(|pod| !is_over(pod)) {
            if !seen.insert(pod.metadata.uid.as_str()) {
                continue;
            }
            if let Some(condition) = self.unplaced(pod) {
                let message = condition.message.as_deref().unwrap_or("no node has room for it");
                shown.fail(self.at, FailureKind::OutOfCapacity, message);
                continue;
            }
            if let Some((kind, message)) = trouble(pod) {
                shown.fail(self.at, kind, &message);
            }
            let instance = self.instance(pod, &mut shown.unknown_nodes);
            shown.instances.push(instance);
        }
        shown
    }

    /// A pod that no node has room for, for longer than is granted.
    fn unplaced<'a>(&self, pod: &'a Pod) -> Option<&'a Condition> {
        let condition = unscheduled(pod)?;
        let since = time(condition.last_transition_time.as_deref()).unwrap_or(self.at);
        (self.node_wait.is_zero() || self.at.since(since) >= self.node_wait).then_some(condition)
    }

    fn instance(&self, pod: &Pod, unknown_nodes: &mut BTreeSet<Box<str>>) -> Instance {
        // By the cluster's clock, which may be ahead of ours: nothing has happened later than it was seen.
        let known = |text: Option<&str>| time(text).map(|time| time.min(self.at));
        let ready = condition(pod, "Ready").filter(|condition| condition.status == "True");
        let state = match (&pod.metadata.deletion_timestamp, ready) {
            (Some(_), _) => InstanceState::Terminating,
            (None, Some(_)) => InstanceState::Running,
            (None, None) if crashes(pod) => InstanceState::Failed,
            (None, None) => InstanceState::Pending,
        };
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let zone = node.and_then(|node| match self.zones.get(node) {
            Some(zone) => zone.clone(),
            None => {
                unknown_nodes.insert(node.into());
                None
            }
        });
        let revision = pod.metadata.label("controller-revision-hash");
        Instance {
            id: InstanceId::from(pod.metadata.name.as_str()),
            state,
            launched: known(pod.metadata.creation_timestamp.as_deref()),
            running_since: match state {
                InstanceState::Running => ready.and_then(|ready| known(ready.last_transition_time.as_deref())),
                _ => None,
            },
            zone,
            protected: false,
            outdated: self.revision.zip(revision).is_some_and(|(wanted, has)| wanted != has),
        }
    }
}

impl Shown {
    /// Notes a failed launch. It stands now, so now is when it failed; the same words twice say nothing new.
    pub fn fail(&mut self, at: Timestamp, kind: FailureKind, message: &str) {
        let message = cut(message, 200);
        if !self.failures.iter().any(|failure| failure.kind == kind && failure.message == message) {
            self.failures.push(LaunchFailure { kind, scope: Scope::Group, at, message });
        }
    }
}

/// Ended for good: its controller no longer counts it.
pub(crate) fn is_over(pod: &Pod) -> bool {
    matches!(pod.status.phase.as_deref(), Some("Failed" | "Succeeded"))
}

/// The condition that says that no node has room for a pod.
pub(crate) fn unscheduled(pod: &Pod) -> Option<&Condition> {
    let placed = pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref().is_some_and(|node| !node.is_empty()));
    if placed || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    condition(pod, "PodScheduled").filter(|c| c.status == "False" && c.reason.as_deref() == Some("Unschedulable"))
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a Condition> {
    pod.status.conditions.iter().flatten().find(|condition| condition.kind == kind)
}

fn waiting(pod: &Pod) -> impl Iterator<Item = &Waiting> {
    let all = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses).flatten();
    all.filter_map(|container| container.state.as_ref()?.waiting.as_ref())
}

fn crashes(pod: &Pod) -> bool {
    waiting(pod).any(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"))
}

/// Why a pod that has a node does not start.
fn trouble(pod: &Pod) -> Option<(FailureKind, String)> {
    waiting(pod).find_map(|waiting| {
        let reason = waiting.reason.as_deref()?;
        let kind = match reason {
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => FailureKind::Invalid,
            "CreateContainerConfigError" | "CreateContainerError" => FailureKind::Invalid,
            "CrashLoopBackOff" | "RunContainerError" => FailureKind::Other,
            _ => return None,
        };
        Some((kind, format!("{}: {reason}: {}", pod.metadata.name, waiting.message.as_deref().unwrap_or_default())))
    })
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
