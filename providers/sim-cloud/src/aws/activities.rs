//! Scaling activities, and the lifecycle hooks that they wait for.
//!
//! The machines tell what is there now; an activity is of what changed. So each request first notes what has come, gone and
//! failed since the last one.

use super::query::{Params, time};
use super::{Aws, Refused, TYPE, invalid, is_group, zone};
use contract::{FailureKind, GroupId, Instance, InstanceId, InstanceState, LaunchFailure, Scope, Timestamp};
use serde_json::{Value, json};
use sim::Removal;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One activity, as far as it has come.
pub(super) struct Activity {
    pub group: GroupId,
    pub instance: Option<InstanceId>,
    begun: Timestamp,
    ended: Option<Timestamp>,
    launches: bool,
    status: &'static str,
    words: String,
    zone: Option<Box<str>>,
}

/// What was last seen of a group's machines.
#[derive(Default)]
pub(super) struct Noted {
    states: BTreeMap<InstanceId, InstanceState>,
    failed_until: Option<Timestamp>,
    /// The failures of that very time which are noted.
    failed_then: usize,
    begun: bool,
}

/// A hook on launches; one on ends is the machines' own drain.
pub(super) struct Hook {
    pub name: String,
    pub timeout: Duration,
    /// Instances that were there before it know nothing of it.
    pub before: BTreeSet<InstanceId>,
}

impl Hook {
    /// Whether it holds an instance back.
    pub fn holds(&self, released: &BTreeSet<InstanceId>, instance: &Instance, at: Timestamp) -> bool {
        self.concerns(released, instance) && instance.running_since.is_some_and(|since| at.since(since) < self.timeout)
    }

    fn concerns(&self, released: &BTreeSet<InstanceId>, instance: &Instance) -> bool {
        !self.before.contains(&instance.id)
            && instance.state == InstanceState::Running
            && !released.contains(&instance.id)
    }

    /// Nobody said how it ended: an instance is thrown away then.
    fn abandons(&self, released: &BTreeSet<InstanceId>, instance: &Instance, at: Timestamp) -> bool {
        self.concerns(released, instance) && !self.holds(released, instance, at)
    }
}

/// An instance's state in the API's words; `waits`: whether a hook holds it, none when no hook has to do with it.
pub(super) fn lifecycle(instance: &Instance, waits: Option<bool>) -> &'static str {
    match (instance.state, waits) {
        (InstanceState::Pending, _) => "Pending",
        (InstanceState::Running, Some(true)) => "Pending:Wait",
        (InstanceState::Running | InstanceState::Failed, _) => "InService",
        (InstanceState::Terminating, None) => "Terminating",
        (InstanceState::Terminating, Some(true)) => "Terminating:Wait",
        (InstanceState::Terminating, Some(false)) => "Terminating:Proceed",
    }
}

impl Aws {
    /// Notes what has happened to all groups since the last look.
    pub(super) fn note_all(&self) {
        for group in self.cloud.groups().iter().filter(|group| is_group(group)) {
            self.abandon(group);
            self.note(group);
            self.note_drains(group);
        }
    }

    /// Throws away what a hook has held for too long.
    fn abandon(&self, group: &GroupId) {
        let Some(seen) = self.cloud.look(group) else { return };
        let late: Vec<InstanceId> = {
            let state = self.lock();
            let Some(hook) = state.hooks.get(group) else { return };
            let late = seen.instances.iter().filter(|instance| hook.abandons(&state.released, instance, seen.at));
            late.map(|instance| instance.id.clone()).collect()
        };
        self.throw_away(group, late, "Lifecycle Action was abandoned: Heartbeat Timeout");
    }

    fn throw_away(&self, group: &GroupId, ids: Vec<InstanceId>, why: &str) {
        if ids.is_empty() {
            return;
        }
        let replaced = Removal { lower: false, protected_too: true, skip_missing: true };
        let at = self.cloud.now();
        if self.cloud.remove(group, &ids, replaced).is_ok() {
            let mut state = self.lock();
            state.released.extend(ids.iter().cloned());
            for activity in state.activities.iter_mut().filter(|each| each.launches && each.group == *group) {
                if activity.instance.as_ref().is_some_and(|id| ids.contains(id)) {
                    (activity.status, activity.ended, activity.words) = ("Cancelled", Some(at), why.into());
                }
            }
        }
    }

    fn note(&self, group: &GroupId) {
        let Some(seen) = self.cloud.look(group) else { return };
        // Every attempt is an activity, also when the next zone had room.
        let mut failures = self.cloud.passed_over(group);
        failures.extend(seen.launch_failures.iter().cloned());
        failures.sort_by_key(|failure| failure.at);
        let mut state = self.lock();
        let state = &mut *state;
        let noted = state.noted.entry(group.clone()).or_default();
        // What a group holds when it is first seen was there before it.
        let first = !std::mem::replace(&mut noted.begun, true);
        let blank = |instance: Option<InstanceId>, zone: Option<Box<str>>| Activity {
            group: group.clone(),
            instance,
            begun: seen.at,
            ended: None,
            launches: true,
            status: "PreInService",
            words: String::new(),
            zone,
        };
        let hook = state.hooks.get(group);
        for instance in &seen.instances {
            let before = noted.states.insert(instance.id.clone(), instance.state);
            if before.is_none() && !first {
                let begun = instance.launched.unwrap_or(seen.at);
                let launch = blank(Some(instance.id.clone()), instance.zone.clone());
                state.activities.push(Activity { begun, ..launch });
            }
            let leaves = instance.state == InstanceState::Terminating;
            if leaves && before != Some(InstanceState::Terminating) {
                let end = blank(Some(instance.id.clone()), instance.zone.clone());
                state.activities.push(Activity { launches: false, status: "InProgress", ..end });
            }
            let waits = hook.is_some_and(|hook| hook.concerns(&state.released, instance));
            if instance.state == InstanceState::Running {
                let open = |each: &&mut Activity| each.launches && each.ended.is_none();
                for activity in
                    state.activities.iter_mut().filter(open).filter(|each| each.instance.as_ref() == Some(&instance.id))
                {
                    (activity.status, activity.ended) =
                        if waits { ("MidLifecycleAction", None) } else { ("Successful", Some(seen.at)) };
                }
            }
        }
        let there: BTreeSet<&InstanceId> = seen.instances.iter().map(|instance| &instance.id).collect();
        // What went faster than anybody looked, or died, has an end all the same.
        let unseen =
            |(id, state): &(&InstanceId, &InstanceState)| !there.contains(id) && **state != InstanceState::Terminating;
        for (id, _) in noted.states.iter().filter(unseen) {
            let (status, ended) = ("Successful", Some(seen.at));
            state.activities.push(Activity { launches: false, status, ended, ..blank(Some(id.clone()), None) });
        }
        noted.states.retain(|id, _| there.contains(id));
        let gone = |each: &&mut Activity| {
            let of_group = each.group == *group && each.ended.is_none();
            of_group && each.instance.as_ref().is_some_and(|id| !there.contains(id))
        };
        for activity in state.activities.iter_mut().filter(gone) {
            let status = if activity.launches { "Cancelled" } else { "Successful" };
            (activity.status, activity.ended) = (status, Some(seen.at));
        }
        for failure in new_failures(noted, &failures) {
            let (place, words) = told(failure, state.words.get(group));
            let failed = blank(None, place);
            let ended = Some(failure.at);
            state.activities.push(Activity { begun: failure.at, ended, status: "Failed", words, ..failed });
        }
    }

    /// Whether a hook holds an instance now; none when no hook has to do with it.
    pub(super) fn waits(&self, group: &GroupId, instance: &Instance, at: Timestamp) -> Option<bool> {
        if instance.state == InstanceState::Terminating {
            return self.cloud.held_until(group, &instance.id).map(|until| until > at);
        }
        let state = self.lock();
        state.hooks.get(group).map(|hook| hook.holds(&state.released, instance, at))
    }

    /// Notes which ends a hook holds back.
    fn note_drains(&self, group: &GroupId) {
        let at = self.cloud.now();
        let mut state = self.lock();
        let ends = |each: &&mut Activity| !each.launches && each.ended.is_none() && each.group == *group;
        for end in state.activities.iter_mut().filter(ends) {
            let until = end.instance.as_ref().and_then(|id| self.cloud.held_until(group, id));
            end.status = if until.is_some_and(|until| until > at) { "MidLifecycleAction" } else { "InProgress" };
        }
    }

    /// The activity of an instance's end.
    pub(super) fn end_of(&self, group: &GroupId, id: &InstanceId) -> Option<Value> {
        let state = self.lock();
        let found = state
            .activities
            .iter()
            .enumerate()
            .rev()
            .find(|(_, each)| !each.launches && each.group == *group && each.instance.as_ref() == Some(id));
        found.map(|(index, activity)| shown(index, activity))
    }

    pub(super) fn describe_activities(&self, params: &Params) -> Result<Value, Refused> {
        let groups: BTreeSet<GroupId> = self.groups_of(params)?.into_iter().collect();
        let mut all: Vec<(Timestamp, Value)> = {
            let state = self.lock();
            let of_groups = state.activities.iter().enumerate().filter(|(_, each)| groups.contains(&each.group));
            of_groups.map(|(index, activity)| (activity.begun, shown(index, activity))).collect()
        };
        // The newest first.
        all.reverse();
        all.sort_by_key(|(begun, _)| std::cmp::Reverse(*begun));
        let (all, next) = params.page(all, 100, 100)?;
        let all: Vec<Value> = all.into_iter().map(|(_, shown)| shown).collect();
        Ok(json!({ "Activities": all, "NextToken": next }))
    }

    pub(super) fn put_hook(&self, params: &Params) -> Result<Value, Refused> {
        let group = self.group_of(params)?;
        let name = params.need("LifecycleHookName")?.to_owned();
        let timeout = Duration::from_secs(params.number("HeartbeatTimeout")?.unwrap_or(3_600).into());
        match params.need("LifecycleTransition")? {
            "autoscaling:EC2_INSTANCE_LAUNCHING" => {
                let before = self.look(&group)?.instances.into_iter().map(|instance| instance.id).collect();
                self.lock().hooks.insert(group, Hook { name, timeout, before });
            }
            "autoscaling:EC2_INSTANCE_TERMINATING" => {
                self.cloud.set_drain(&group, timeout);
                self.lock().drains.insert(group, name);
            }
            other => return Err(invalid(format!("{other} is not a lifecycle transition"))),
        }
        Ok(json!({}))
    }

    pub(super) fn complete_hook(&self, params: &Params) -> Result<Value, Refused> {
        let group = self.group_of(params)?;
        let id = InstanceId::from(params.need("InstanceId")?);
        let (seen, result) = (self.look(&group)?, params.need("LifecycleActionResult")?);
        let none = || invalid(format!("No active Lifecycle Action found with instance ID {id}"));
        let instance = seen.instances.iter().find(|instance| instance.id == id).ok_or_else(none)?;
        let ends = instance.state == InstanceState::Terminating;
        let of_this_hook = {
            let (state, name) = (self.lock(), params.need("LifecycleHookName")?);
            let hook = if ends { state.drains.get(&group) } else { state.hooks.get(&group).map(|hook| &hook.name) };
            hook.is_some_and(|hook| hook == name)
        };
        if !of_this_hook || self.waits(&group, instance, seen.at) != Some(true) {
            return Err(none());
        }
        if ends {
            // Whatever the result is: there is no way back.
            self.cloud.let_go(&group, &id);
        } else if result == "CONTINUE" {
            self.lock().released.insert(id);
        } else {
            self.throw_away(&group, vec![id], "Lifecycle Action was completed with ABANDON Result");
        }
        Ok(json!({}))
    }
}

/// The failures that came since the last look.
fn new_failures<'a>(noted: &mut Noted, failures: &'a [LaunchFailure]) -> Vec<&'a LaunchFailure> {
    let known = noted.failed_until;
    let mut then = noted.failed_then;
    let mut new = Vec::new();
    for failure in failures {
        if known.is_some_and(|known| failure.at < known) {
            continue;
        }
        if known == Some(failure.at) && then > 0 {
            then -= 1;
            continue;
        }
        new.push(failure);
    }
    if let Some(last) = failures.iter().map(|failure| failure.at).max() {
        noted.failed_until = Some(last);
        noted.failed_then = failures.iter().filter(|failure| failure.at == last).count();
    }
    new
}

/// Where a launch failed, and what is said of it: like AWS, in a sentence.
fn told(failure: &LaunchFailure, words: Option<&String>) -> (Option<Box<str>>, String) {
    let place = match &failure.scope {
        Scope::Zone(zone) => Some(zone.clone()),
        _ => None,
    };
    let said = match (words, failure.kind) {
        (Some(words), _) => words.clone(),
        (None, FailureKind::OutOfCapacity) => {
            let place = place.as_deref().map(zone).unwrap_or_default();
            format!(
                "We currently do not have sufficient {TYPE} capacity in the Availability Zone you requested ({place}). Our \
                 system will be working on provisioning additional capacity."
            )
        }
        (None, FailureKind::QuotaExceeded) => {
            "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the instance bucket that \
             the specified instance type belongs to."
                .into()
        }
        (None, _) => failure.message.to_string(),
    };
    (place, format!("{said} Launching EC2 instance failed."))
}

fn shown(index: usize, activity: &Activity) -> Value {
    let what = match (&activity.instance, activity.launches) {
        (Some(id), true) => format!("Launching a new EC2 instance: {id}"),
        (Some(id), false) => format!("Terminating EC2 instance: {id}"),
        (None, _) => format!("Launching a new EC2 instance.  Status Reason: {}", activity.words),
    };
    let place = activity.zone.as_deref().map(zone).unwrap_or_default();
    let details = json!({ "Subnet ID": "subnet-0d1", "Availability Zone": place });
    json!({
        "ActivityId": format!("{index:08x}-0000-4000-8000-000000000000"),
        "AutoScalingGroupName": activity.group.as_str(),
        "Description": what,
        "Cause": format!("At {} desired and actual capacity differed.", time(activity.begun)),
        "StartTime": time(activity.begun),
        "EndTime": activity.ended.map(time),
        "StatusCode": activity.status,
        "StatusMessage": Some(activity.words.as_str()).filter(|words| !words.is_empty()),
        "Progress": if activity.ended.is_some() { 100 } else { 30 },
        "Details": details.to_string(),
    })
}
