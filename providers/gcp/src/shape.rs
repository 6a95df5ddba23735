//! From the API's groups and managed instances to the contract's words, purely. What makes no sense is an error, never a
//! capacity.

use crate::codes;
use crate::errors::{cut, transport};
use crate::names::{GroupName, Place, instance_id, last};
use contract::{CAPACITY_MAX, Capacity, FailureKind, InstanceId, InstanceState, ProviderError, Scope, Suspended};
use google_cloud_compute_v1::model::instance_group_manager_update_policy::Type;
use google_cloud_compute_v1::model::managed_instance::{
    CurrentAction as Action, InstanceStatus as Status, TargetStatus,
};
use google_cloud_compute_v1::model::{InstanceGroupManager, ManagedInstance};
use std::collections::BTreeSet;

/// What a group says of itself, as far as it matters here; two equal ones hold the same instances, unless one was
/// replaced unseen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub desired: Capacity,
    /// Instances with nothing to be done, with anything, to be created, and to be deleted or abandoned.
    pub idle: Option<u32>,
    pub all: u32,
    pub creating: u32,
    pub leaving: u32,
    pub stable: bool,
    /// The last parts of its present templates' names.
    pub templates: Vec<Box<str>>,
    /// A rolling replacement runs.
    pub rolling: bool,
    /// The native autoscaler's place and name.
    pub autoscaler: Option<(Place, Box<str>)>,
    /// Another group of the same name has another number.
    pub number: Option<u64>,
}

/// Reads a group.
///
/// # Errors
/// `Transport` when a number is missing, negative or absurd: such an answer is no answer.
pub(crate) fn head(name: &GroupName, group: &InstanceGroupManager) -> Result<Head, ProviderError> {
    let wrong = |what: &str, value: Option<i32>| {
        transport(format!("{name}: the answer has {what} {value:?}, which no group can have"))
    };
    let size = |what: &str, value: Option<i32>| {
        let number = value.and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= CAPACITY_MAX);
        number.ok_or_else(|| wrong(what, value))
    };
    let actions = group.current_actions.as_ref();
    let counts = actions.map(|a| {
        [
            a.none,
            a.creating,
            a.creating_without_retries,
            a.abandoning,
            a.deleting,
            a.recreating,
            a.refreshing,
            a.restarting,
            a.resuming,
            a.starting,
            a.stopping,
            a.suspending,
            a.verifying,
        ]
    });
    let counts = counts.unwrap_or_default();
    let mut numbers = [0_u32; 13];
    for (number, count) in numbers.iter_mut().zip(counts) {
        *number = size("currentActions", Some(count.unwrap_or(0)))?;
    }
    let status = group.status.as_ref();
    let proactive = group.update_policy.as_ref().is_some_and(|policy| policy.r#type == Some(Type::Proactive));
    let reached = status.and_then(|status| status.version_target.as_ref()).and_then(|target| target.is_reached);
    let link = status.and_then(|status| status.autoscaler.as_deref()).filter(|link| !link.is_empty());
    Ok(Head {
        desired: size("targetSize", group.target_size)?,
        idle: actions.map(|_| numbers[0]),
        all: numbers.iter().sum(),
        creating: numbers[1] + numbers[2],
        leaving: numbers[3] + numbers[4],
        stable: status.and_then(|status| status.is_stable).unwrap_or(false),
        templates: templates(group),
        rolling: proactive && reached == Some(false),
        autoscaler: link.map(|link| (Place::find_in(link).unwrap_or(name.place.clone()), last(link).into())),
        number: group.id,
    })
}

fn templates(group: &InstanceGroupManager) -> Vec<Box<str>> {
    let versions = group.versions.iter().filter_map(|version| version.instance_template.as_deref());
    let mut all: Vec<Box<str>> = versions.map(|template| last(template).into()).collect();
    if all.is_empty() {
        all.extend(group.instance_template.as_deref().map(|template| last(template).into()));
    }
    all.sort();
    all.dedup();
    all
}

impl Head {
    /// Nothing goes on: all it should hold is there and idle.
    pub fn is_calm(&self) -> bool {
        self.stable && self.idle == Some(self.desired) && self.all == self.desired
    }

    /// So many instances it counts that are not about to go.
    pub fn staying(&self) -> u32 {
        self.all.saturating_sub(self.leaving)
    }

    /// Whether an instance of this template is of none of the present ones; `false` when that cannot be told.
    pub fn is_outdated(&self, template: Option<&str>) -> bool {
        let known = !self.templates.is_empty();
        known && template.is_some_and(|template| !self.templates.iter().any(|present| **present == *template))
    }

    /// The functions that are switched off, as far as a group can say so.
    pub fn suspended(&self) -> Vec<Suspended> {
        if self.rolling { vec![Suspended::Refresh] } else { Vec::new() }
    }
}

/// One instance of a group, or the place of one that has no machine yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    pub id: InstanceId,
    /// The machine's number; a machine that was made again under the same name has another. `None`: no machine.
    pub number: Option<u64>,
    pub state: InstanceState,
    pub zone: Box<str>,
    /// It is to be created and there is no machine: it can be withdrawn without losing anything.
    pub unfilled: bool,
    /// It runs and nothing is to be done with it.
    pub settled: bool,
    pub outdated: bool,
    /// Why the last try to make it failed.
    pub failure: Option<Failed>,
}

/// A try to make an instance that failed; the API does not say when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Failed {
    pub code: Box<str>,
    pub scope: Scope,
    pub message: Box<str>,
}

impl Failed {
    pub fn new(code: &str, zone: Option<&str>, message: &str) -> Self {
        let message = cut(&format!("{code}: {message}"), 200);
        Self { code: code.into(), scope: codes::launch(code, zone).1, message }
    }

    pub fn kind(&self) -> FailureKind {
        codes::launch(&self.code, None).0
    }
}

/// Reads a managed instance; `None` when the group's number does not count it (stopped or suspended on purpose).
///
/// # Errors
/// `Transport` when it cannot be told apart from others.
pub(crate) fn member(group: &GroupName, head: &Head, shown: &ManagedInstance) -> Result<Option<Member>, ProviderError> {
    let link = shown.instance.as_deref().unwrap_or_default();
    let name = shown.name.as_deref().filter(|name| !name.is_empty()).unwrap_or(last(link));
    let zone = match zone_of(group, shown) {
        Some(zone) => zone,
        // Not decided yet where: it is not there, and its place is in the group's number.
        None if is_unfilled(shown) => return Ok(None),
        None => return Err(transport(format!("{group}: an instance without a zone"))),
    };
    if name.is_empty() {
        return Err(transport(format!("{group}: an instance without a name")));
    }
    if matches!(shown.target_status, Some(TargetStatus::Stopped | TargetStatus::Suspended)) {
        return Ok(None);
    }
    let state = state(shown.current_action.as_ref(), shown.instance_status.as_ref());
    let template = shown.version.as_ref().and_then(|version| version.instance_template.as_deref()).map(last);
    let in_trouble = !matches!(shown.current_action, Some(Action::None)) || state == InstanceState::Failed;
    Ok(Some(Member {
        id: instance_id(&zone, name),
        number: shown.id.filter(|number| *number != 0),
        state,
        unfilled: is_unfilled(shown),
        settled: state == InstanceState::Running && matches!(shown.current_action, Some(Action::None)),
        outdated: head.is_outdated(template),
        failure: if in_trouble { failure(shown, Some(&zone)) } else { None },
        zone,
    }))
}

/// Where an instance is; `None` in a group of a region that has not decided.
fn zone_of(group: &GroupName, shown: &ManagedInstance) -> Option<Box<str>> {
    match (Place::find_in(shown.instance.as_deref().unwrap_or_default()), &group.place) {
        (Some(Place::Zone(zone)), _) => Some(zone),
        (_, Place::Zone(zone)) => Some(zone.clone()),
        _ => None,
    }
}

/// To be created, and there is no machine: the API leaves the machine's status out then.
fn is_unfilled(shown: &ManagedInstance) -> bool {
    is_creating(shown) && shown.instance_status.is_none()
}

fn is_creating(shown: &ManagedInstance) -> bool {
    matches!(shown.current_action, Some(Action::Creating | Action::CreatingWithoutRetries))
}

/// A machine's state in the contract's words. What has no known words is there, so it is counted, and nobody said that it
/// serves.
fn state(action: Option<&Action>, status: Option<&Status>) -> InstanceState {
    match action {
        Some(Action::Deleting | Action::Abandoning | Action::Stopping | Action::Suspending) => {
            return InstanceState::Terminating;
        }
        // It goes and comes back under its name.
        Some(Action::Recreating | Action::Restarting) => return InstanceState::Pending,
        _ => {}
    }
    let at_rest = matches!(action, Some(Action::None));
    match status {
        Some(Status::Running) => InstanceState::Running,
        // Gone down by itself; the group makes it again, unless it was told not to.
        Some(Status::Terminated | Status::Stopped | Status::Suspended) if at_rest => InstanceState::Failed,
        Some(Status::Stopping | Status::PendingStop | Status::Deprovisioning) if at_rest => InstanceState::Failed,
        _ => InstanceState::Pending,
    }
}

fn failure(shown: &ManagedInstance, zone: Option<&str>) -> Option<Failed> {
    let errors = &shown.last_attempt.as_ref()?.errors.as_ref()?.errors;
    let error = errors.iter().find(|error| error.code.is_some()).or(errors.first())?;
    Some(Failed::new(error.code.as_deref().unwrap_or("UNKNOWN"), zone, error.message.as_deref().unwrap_or_default()))
}

/// A group's instances.
#[derive(Debug, PartialEq)]
pub(crate) struct Listed {
    /// Each once, by id.
    pub members: Vec<Member>,
    /// Why those failed of which the group has not decided where they shall be.
    pub undecided: Vec<Failed>,
}

/// Reads a group's instances. `head` is of before they were listed.
///
/// # Errors
/// As [`member`]; also when fewer are listed than the group says that it holds.
pub(crate) fn members(group: &GroupName, head: &Head, shown: &[ManagedInstance]) -> Result<Listed, ProviderError> {
    let (listed, standing) = counts(shown);
    let staying = head.staying();
    // What was leaving may be gone by now, and what is to be created may be withdrawn or not be listed yet. So a list is
    // too short only when it also lacks instances that were there; one with all of them may still call some of them new.
    let short = listed < staying && standing < staying.saturating_sub(head.creating);
    if short || (listed == 0 && staying > 0) {
        return Err(transport(format!("{group}: it has {staying} instances that stay, and {listed} were listed")));
    }
    let (mut members, mut undecided) = (Vec::with_capacity(shown.len()), Vec::new());
    for one in shown {
        match member(group, head, one)? {
            Some(member) => members.push(member),
            None if zone_of(group, one).is_none() => undecided.extend(failure(one, None)),
            None => {}
        }
    }
    members.sort_by(|a: &Member, b: &Member| a.id.cmp(&b.id));
    members.dedup_by(|a, b| a.id == b.id);
    Ok(Listed { members, undecided })
}

/// How many are listed, each once, and how many of them are not still to be created.
fn counts(shown: &[ManagedInstance]) -> (u32, u32) {
    let mut seen = BTreeSet::new();
    let (mut listed, mut standing) = (0, 0);
    for one in shown {
        let name = [&one.instance, &one.name].into_iter().flatten().find(|name| !name.is_empty());
        // What has no name yet is not another's double.
        if name.is_none_or(|name| seen.insert(name)) {
            listed += 1;
            standing += u32::from(!is_creating(one));
        }
    }
    (listed, standing)
}

/// How many of them fill a place of the group's number: machines, and places whose machine is to come.
pub(crate) fn filling(members: &[Member]) -> (Capacity, Capacity) {
    let there = members.iter().filter(|member| member.state != InstanceState::Terminating);
    let (unfilled, present): (Vec<_>, Vec<_>) = there.partition(|member| member.unfilled);
    let count = |members: Vec<&Member>| Capacity::try_from(members.len()).unwrap_or(Capacity::MAX);
    (count(present), count(unfilled))
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
