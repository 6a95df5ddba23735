//! From a described Auto Scaling group to an observation, purely. What makes no sense is an error, never a capacity.

use crate::ec2::facts::Facts;
use crate::owner;
use aws_sdk_autoscaling::types::{
    AutoScalingGroup, Instance as AsgInstance, LaunchTemplateSpecification, LifecycleState,
};
use contract::{
    Abilities, CAPACITY_MAX, Capacity, Instance, InstanceId, InstanceState, Observation, OwnerTag, ProviderError,
    Suspended, Timestamp,
};
use std::collections::BTreeSet;

/// Most instances in one TerminateInstanceInAutoScalingGroup.
pub(crate) const TERMINATE_BATCH: u32 = 100;

/// The numbers of a group, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub desired: Capacity,
    pub min: Capacity,
    pub max: Capacity,
}

/// Reads the numbers.
///
/// # Errors
/// `Transport` when a number is missing, negative or absurd: such an answer is no answer. `NotFound` for a group that is
/// being deleted. `Invalid` when desired does not count instances.
pub(crate) fn sizes(group: &AutoScalingGroup) -> Result<Sizes, ProviderError> {
    let name = group.auto_scaling_group_name().unwrap_or_default();
    if let Some(status) = group.status().filter(|status| status.starts_with("Delete")) {
        return Err(ProviderError::NotFound { what: format!("{name}: {status}").into() });
    }
    if let Some(unit) = group.desired_capacity_type().filter(|unit| !unit.is_empty() && *unit != "units") {
        let what =
            format!("{name}: its capacity counts {unit}, not instances; only DesiredCapacityType units can be scaled");
        return Err(ProviderError::Invalid { what: what.into() });
    }
    let weighted = |weight: Option<&str>| weight.is_some_and(|weight| !weight.is_empty() && weight != "1");
    let overrides =
        group.mixed_instances_policy().and_then(|p| p.launch_template()).map(|t| t.overrides()).unwrap_or_default();
    if overrides.iter().any(|o| weighted(o.weighted_capacity()))
        || group.instances().iter().any(|i| weighted(i.weighted_capacity()))
    {
        let what = format!("{name}: its instances have weights, so its capacity does not count instances; remove them");
        return Err(ProviderError::Invalid { what: what.into() });
    }
    let number = |what: &str, value: Option<i32>| {
        value.and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= CAPACITY_MAX).ok_or_else(|| {
            let what = format!("{name}: the answer has {what} {value:?}, which no group can have");
            ProviderError::Transport { what: what.into(), source: None }
        })
    };
    Ok(Sizes {
        desired: number("DesiredCapacity", group.desired_capacity())?,
        min: number("MinSize", group.min_size())?,
        max: number("MaxSize", group.max_size())?,
    })
}

/// An instance's state in the contract's words; `None` when it is not part of the group's desired capacity.
///
/// `Warmed:*` waits in the warm pool and `Standby` was taken out of service: desired counts neither, so they are left
/// out. An unhealthy instance in service still runs and is counted; the group replaces it by itself.
pub(crate) fn state(lifecycle: Option<&LifecycleState>) -> Option<InstanceState> {
    let text = lifecycle.map_or("", LifecycleState::as_str);
    match text.split(':').next().unwrap_or_default() {
        "Warmed" | "Standby" => None,
        "InService" => Some(InstanceState::Running),
        "Terminating" | "Terminated" | "Detaching" | "Detached" | "EnteringStandby" => Some(InstanceState::Terminating),
        // Also everything unknown: it is there, so it is counted, and nobody said that it serves.
        _ => Some(InstanceState::Pending),
    }
}

/// Whether a state is one that this crate knows how to judge. Others are treated as protected: naming an instance for
/// termination takes more than a guess.
fn is_known(lifecycle: Option<&LifecycleState>) -> bool {
    let text = lifecycle.map_or("", LifecycleState::as_str);
    matches!(
        text.split(':').next().unwrap_or_default(),
        "Pending" | "InService" | "Terminating" | "Terminated" | "Detaching" | "Detached" | "EnteringStandby"
    )
}

/// Whether scale-in must leave this instance alone.
pub(crate) fn is_protected(instance: &AsgInstance) -> bool {
    instance.protected_from_scale_in().unwrap_or(false) || !is_known(instance.lifecycle_state())
}

/// The group's owner tag, if it has one that parses.
pub(crate) fn owner_tag(group: &AutoScalingGroup) -> Option<OwnerTag> {
    group.tags().iter().find(|tag| tag.key() == Some(owner::KEY)).and_then(|tag| tag.value()).and_then(owner::parse)
}

/// The group's suspended processes.
pub(crate) fn suspended(group: &AutoScalingGroup) -> Vec<Suspended> {
    let mut all: Vec<Suspended> = group
        .suspended_processes()
        .iter()
        .filter_map(|process| process.process_name())
        .map(|name| match name {
            "Launch" => Suspended::Launch,
            "Terminate" => Suspended::Terminate,
            other => Suspended::Other(other.into()),
        })
        .collect();
    all.sort_by_key(|s| format!("{s:?}"));
    all.dedup();
    all
}

/// How many instances the group holds, those on their way out not counted.
pub(crate) fn present(group: &AutoScalingGroup) -> Capacity {
    let there =
        |i: &&AsgInstance| matches!(state(i.lifecycle_state()), Some(InstanceState::Pending | InstanceState::Running));
    let ids: BTreeSet<Option<&str>> = group.instances().iter().filter(there).map(AsgInstance::instance_id).collect();
    u32::try_from(ids.len()).unwrap_or(Capacity::MAX)
}

/// Builds the observation from what DescribeAutoScalingGroups alone says, and the facts known of its instances.
///
/// # Errors
/// As [`sizes`]; also `Transport` when an instance has no id.
pub(crate) fn observation(
    group: &AutoScalingGroup,
    facts: &mut Facts,
    at: Timestamp,
) -> Result<Observation, ProviderError> {
    let sizes = sizes(group)?;
    let mut instances: Vec<Instance> = Vec::with_capacity(group.instances().len());
    for shown in group.instances() {
        let Some(id) = shown.instance_id().filter(|id| !id.is_empty()) else {
            let what = format!("{}: an instance without an id", group.auto_scaling_group_name().unwrap_or_default());
            return Err(ProviderError::Transport { what: what.into(), source: None });
        };
        let Some(state) = state(shown.lifecycle_state()) else {
            continue;
        };
        let id = InstanceId::from(id);
        let (launched, running_since) = facts.seen(&id, state, at);
        instances.push(Instance {
            id,
            state,
            launched,
            running_since,
            zone: shown.availability_zone().map(Into::into),
            protected: is_protected(shown),
            outdated: is_outdated(group, shown),
        });
    }
    instances.sort_by(|a, b| a.id.cmp(&b.id));
    instances.dedup_by(|a, b| a.id == b.id);
    Ok(Observation {
        desired: Some(sizes.desired),
        cloud_min: Some(sizes.min),
        cloud_max: Some(sizes.max),
        instances,
        operations: Vec::new(),
        launch_failures: Vec::new(),
        suspended: suspended(group),
        foreign: Vec::new(),
        owner: owner_tag(group),
        abilities: Abilities { terminate_batch: TERMINATE_BATCH, ..Abilities::default() },
        token: None,
        at,
    })
}

/// Whether an instance was made from another template than the group's present one; `false` when that cannot be told.
fn is_outdated(group: &AutoScalingGroup, instance: &AsgInstance) -> bool {
    if let Some(config) = group.launch_configuration_name() {
        return instance.launch_configuration_name() != Some(config);
    }
    let mixed = group.mixed_instances_policy().and_then(|policy| policy.launch_template());
    // With a template per override there is more than one present template.
    if mixed.is_some_and(|m| m.overrides().iter().any(|o| o.launch_template_specification().is_some())) {
        return false;
    }
    let Some(wanted) = group.launch_template().or(mixed.and_then(|m| m.launch_template_specification())) else {
        return false;
    };
    instance.launch_template().is_some_and(|has| differs(wanted, has))
}

fn differs(wanted: &LaunchTemplateSpecification, has: &LaunchTemplateSpecification) -> bool {
    let same_template = match (wanted.launch_template_id(), has.launch_template_id()) {
        (Some(a), Some(b)) => a == b,
        _ => wanted.launch_template_name() == has.launch_template_name(),
    };
    // `$Latest` and `$Default` (also meant by none) are resolved at launch; which number they mean now is not in this answer.
    let is_number = |v: &&str| v.starts_with(|c: char| c.is_ascii_digit());
    let other_version = match (wanted.version().filter(is_number), has.version().filter(is_number)) {
        (Some(a), Some(b)) => a != b,
        _ => false,
    };
    !same_template || other_version
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
