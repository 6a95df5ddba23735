//! From a described scaling group and its instances to an observation, purely. What makes no sense is an error, never a
//! capacity.

use crate::api::{Counts, Group, Instance as Listed};
use crate::errors::nonsense;
use crate::{owner, time};
use contract::{
    Abilities, CAPACITY_MAX, Capacity, Instance, InstanceId, InstanceState, Observation, OwnerTag, ProviderError,
    Suspended, Timestamp,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Most instances in one RemoveInstances: the older version of the API named this limit, the present one names none.
pub(super) const TERMINATE_BATCH: u32 = 20;
/// An instance launched longer ago than this has been running since its launch, as far as warm-up is concerned.
const LONG_AGO: Duration = Duration::from_secs(600);

/// The numbers of a group, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub desired: Capacity,
    pub min: Capacity,
    pub max: Capacity,
}

/// Reads the numbers.
///
/// # Errors
/// `Transport` when a number is missing, negative or absurd: such an answer is no answer. `NotFound` for a group that is
/// being deleted. `Invalid` when the group keeps no desired capacity, or it does not count instances.
pub(super) fn sizes(group: &Group) -> Result<Sizes, ProviderError> {
    let name = group.scaling_group_name.as_deref().or(group.scaling_group_id.as_deref()).unwrap_or_default();
    let invalid = |what: &str| ProviderError::Invalid { what: format!("{name}: {what}").into() };
    if group.lifecycle_state.as_deref() == Some("Deleting") {
        return Err(ProviderError::NotFound { what: format!("{name}: it is being deleted").into() });
    }
    if group.launch_template_overrides.iter().any(|each| is_weight(each.weighted_capacity)) {
        return Err(invalid("its instances have weights, so its capacity does not count instances; remove them"));
    }
    match (group.enable_desired_capacity, group.desired_capacity) {
        (Some(false), _) | (None, None) => {
            let what =
                "it keeps no expected number of instances; set DesiredCapacity on the group, which switches it on";
            return Err(invalid(what));
        }
        _ => {}
    }
    let number = |what: &str, value: Option<i64>| {
        let number = value.and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= CAPACITY_MAX);
        number.ok_or_else(|| nonsense(format!("{name}: the answer has {what} {value:?}, which no group can have")))
    };
    Ok(Sizes {
        desired: number("DesiredCapacity", group.desired_capacity)?,
        min: number("MinSize", group.min_size)?,
        max: number("MaxSize", group.max_size)?,
    })
}

fn is_weight(weight: Option<i64>) -> bool {
    weight.is_some_and(|weight| weight != 1 && weight != 0)
}

/// An instance's state in the contract's words; `None` when it is not part of the group's desired capacity.
///
/// `Stopped` waits in economical mode to be started again by a scale-out, which does not count it. `Protected` serves.
/// `Standby` does not serve and still fills its place, as does every state that is new: it is there, so it is counted,
/// and nobody said that it serves.
pub(super) fn state(lifecycle: Option<&str>) -> Option<InstanceState> {
    match lifecycle.unwrap_or_default().split(':').next().unwrap_or_default() {
        "Stopped" => None,
        "InService" | "Protected" => Some(InstanceState::Running),
        "Removing" => Some(InstanceState::Terminating),
        _ => Some(InstanceState::Pending),
    }
}

/// Whether scale-in must leave this instance alone: also in a state that nobody here knows, since naming an instance for
/// termination takes more than a guess.
pub(super) fn is_protected(instance: &Listed) -> bool {
    let lifecycle = instance.lifecycle_state.as_deref().unwrap_or_default();
    !matches!(lifecycle.split(':').next().unwrap_or_default(), "InService" | "Pending" | "Removing" | "Stopped")
}

/// Whether this instance will be in another state soon.
pub(super) fn moves(instance: &Listed) -> bool {
    let lifecycle = instance.lifecycle_state.as_deref().unwrap_or_default();
    !matches!(lifecycle, "InService" | "Protected" | "Standby" | "Stopped")
}

/// Whether a group says that instances come or go, or does not count them.
pub(super) fn is_moving(counts: &Counts) -> bool {
    let some = |count: Option<i64>| count.is_some_and(|count| count != 0);
    let on_the_way = [
        counts.pending_capacity,
        counts.pending_wait_capacity,
        counts.removing_capacity,
        counts.removing_wait_capacity,
    ];
    counts.total_capacity.is_none() || on_the_way.into_iter().any(some)
}

/// The group's owner tag, if it has one that parses.
pub(super) fn owner_tag(group: &Group) -> Option<OwnerTag> {
    let tag = group.tags.iter().find(|tag| tag.tag_key.as_deref() == Some(owner::KEY))?;
    owner::parse(tag.tag_value.as_deref()?)
}

/// The group's functions that are off.
pub(super) fn suspended(group: &Group) -> Vec<Suspended> {
    let mut all: Vec<Suspended> = Vec::new();
    for process in &group.suspended_processes {
        all.push(match process.as_str() {
            "ScaleOut" => Suspended::Launch,
            "ScaleIn" => Suspended::Terminate,
            other => Suspended::Other(other.into()),
        });
    }
    if group.lifecycle_state.as_deref() == Some("Inactive") {
        all.extend([Suspended::Launch, Suspended::Terminate, Suspended::Other("the group is disabled".into())]);
    }
    if group.system_suspended == Some(true) {
        let why = "stopped by Alibaba Cloud: its activities failed for seven days";
        all.extend([Suspended::Launch, Suspended::Other(why.into())]);
    }
    all.sort_by_key(|s| format!("{s:?}"));
    all.dedup();
    all
}

/// How many instances fill a place of desired.
pub(super) fn present(instances: &[Listed]) -> Capacity {
    let states = instances.iter().filter_map(|instance| state(instance.lifecycle_state.as_deref()));
    let count = states.filter(|state| *state != InstanceState::Terminating).count();
    u32::try_from(count).unwrap_or(Capacity::MAX)
}

/// How many instances fill a place of desired by the group's own counts.
pub(super) fn counted(counts: &Counts) -> Capacity {
    let each = [
        counts.active_capacity,
        counts.pending_capacity,
        counts.pending_wait_capacity,
        counts.protected_capacity,
        counts.standby_capacity,
    ];
    let all = each.into_iter().flatten().filter_map(|count| u32::try_from(count).ok());
    all.fold(0, Capacity::saturating_add)
}

/// Whether a list lacks instances that the group counts, while nothing comes or goes. Where something does, the counts and
/// the list change at different moments, and neither is wrong.
///
/// # Errors
/// `Transport`: which of the two is right is not known.
pub(super) fn agree(id: &str, counts: &Counts, listed: &[Listed]) -> Result<(), ProviderError> {
    let (counted, came) = (counted(counts), listed.len());
    if is_moving(counts) || came >= counted as usize {
        return Ok(());
    }
    Err(nonsense(format!("DescribeScalingInstances: {id} counts {counted} instances, and {came} are listed")))
}

/// Since when instances of one group have been running: seen once, and kept.
#[derive(Debug, Default)]
pub(super) struct Facts {
    known: BTreeMap<InstanceId, Fact>,
}

#[derive(Debug, Default)]
struct Fact {
    saw_pending: bool,
    running_since: Option<Timestamp>,
    seen: bool,
}

impl Facts {
    /// Notes an instance in a state, and says since when it has been running, if that is known.
    fn seen(
        &mut self,
        id: &InstanceId,
        state: InstanceState,
        launched: Option<Timestamp>,
        at: Timestamp,
    ) -> Option<Timestamp> {
        let fact = self.known.entry(id.clone()).or_default();
        fact.seen = true;
        match state {
            InstanceState::Pending => (fact.saw_pending, fact.running_since) = (true, None),
            InstanceState::Running if fact.running_since.is_none() => {
                fact.running_since = match launched {
                    _ if fact.saw_pending => Some(at),
                    Some(launched) if at.since(launched) > LONG_AGO => Some(launched),
                    _ => None,
                };
            }
            _ => {}
        }
        fact.running_since.filter(|_| state == InstanceState::Running)
    }

    /// Forgets the instances that were not seen since the last call: they are gone.
    fn prune(&mut self) {
        self.known.retain(|_, fact| std::mem::take(&mut fact.seen));
    }
}

/// Builds the observation from what a group and its instances say.
///
/// # Errors
/// As [`sizes`]; also when an instance has no id, or a weight.
pub(super) fn observation(
    group: &Group,
    listed: &[Listed],
    facts: &mut Facts,
    at: Timestamp,
) -> Result<Observation, ProviderError> {
    let sizes = sizes(group)?;
    let name = group.scaling_group_name.as_deref().unwrap_or_default();
    let mut instances: Vec<Instance> = Vec::with_capacity(listed.len());
    for shown in listed {
        let Some(id) = shown.instance_id.as_deref().filter(|id| !id.is_empty()) else {
            return Err(nonsense(format!("{name}: an instance without an id")));
        };
        if is_weight(shown.weighted_capacity) {
            let what = format!("{name}: {id} has a weight, so the group's capacity does not count instances");
            return Err(ProviderError::Invalid { what: what.into() });
        }
        let Some(state) = state(shown.lifecycle_state.as_deref()) else { continue };
        let id = InstanceId::from(id);
        let launched = shown.created_time.as_deref().or(shown.creation_time.as_deref()).and_then(time::parse);
        let running_since = facts.seen(&id, state, launched, at);
        instances.push(Instance {
            id,
            state,
            launched,
            running_since,
            zone: shown.zone_id.as_deref().filter(|zone| !zone.is_empty()).map(Into::into),
            protected: is_protected(shown),
            outdated: is_outdated(group, shown),
        });
    }
    facts.prune();
    instances.sort_by(|a, b| a.id.cmp(&b.id));
    instances.dedup_by(|a, b| a.id == b.id);
    Ok(Observation {
        desired: Some(sizes.desired),
        cloud_min: Some(sizes.min),
        cloud_max: Some(sizes.max),
        instances,
        suspended: suspended(group),
        owner: owner_tag(group),
        abilities: Abilities { terminate_batch: TERMINATE_BATCH, ..Abilities::default() },
        ..Observation::empty(at)
    })
}

/// Whether an instance was made from another template than the group's present one; `false` when that cannot be told.
fn is_outdated(group: &Group, instance: &Listed) -> bool {
    let both = |wanted: &Option<String>, has: &Option<String>| match (wanted.as_deref(), has.as_deref()) {
        (Some(wanted), Some(has)) if !wanted.is_empty() && !has.is_empty() => Some(wanted != has),
        _ => None,
    };
    if let Some(other) = both(&group.launch_template_id, &instance.launch_template_id) {
        // `Latest` and `Default` are not numbers, and say nothing of what they stand for.
        let number = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<u64>().ok());
        let versions = number(&group.launch_template_version).zip(number(&instance.launch_template_version));
        return other || versions.is_some_and(|(wanted, has)| wanted != has);
    }
    both(&group.active_scaling_configuration_id, &instance.scaling_configuration_id).unwrap_or(false)
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
