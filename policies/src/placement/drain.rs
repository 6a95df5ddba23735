//! Draining: an instance that is to leave lets go of its work first, and is terminated when it has, or at the deadline.
//!
//! To everything else an instance that drains is on its way out already: it is left out of what its group holds, so it
//! serves nothing, is chosen for nothing and does not count as capacity ([`leave_out`]). Its cloud holds it still, so the
//! group's plan is put into the cloud's numbers at the end ([`Diversion`]): who is chosen begins to drain instead of being
//! terminated, who has drained is terminated where scale-in is allowed at that time, and capacity that is wanted again is
//! taken back from those that drain before anything is launched. Brakes count an instance when it begins to drain: it serves
//! no more from then on.
//!
//! One batch drains at a time: an average over instances that let go of their work says too little of the others, so
//! nothing more leaves meanwhile, and the scale-in window begins again afterwards.

use super::{Stand, VictimWhy};
use crate::facts::{FleetFacts, GroupFact};
use crate::memory::{DrainEnd, FleetMemory};
use crate::observe::launches_fail;
use crate::plan::{Action, GroupPlan};
use crate::policy::{Drain, Group, Policy};
use contract::{Capacity, Instance, InstanceId, InstanceState, Observation, Suspended, Timestamp};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// Whoever drains an instance of a group that has left the policy is told to take it back for this long.
const RETURN_WITHIN: Duration = Duration::from_secs(10 * 60);

/// An instance on its way out, or back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// Which.
    pub id: InstanceId,
    /// Since when it drains, or is taken back.
    pub since: Timestamp,
    /// How far it is.
    pub stage: DrainStage,
    /// The drainer's name in skala.toml: who drained it has to take it back.
    pub with: Box<str>,
}

/// How far an instance is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DrainStage {
    /// It lets go of its work.
    Draining,
    /// It has.
    Drained,
    /// Its termination was recorded then, and has not shown yet.
    Leaving(Timestamp),
    /// It is wanted again, and counts again; whoever drains it has to be told.
    Returning,
}

impl Draining {
    /// Whether it is left out of what its group holds.
    pub fn is_out(&self) -> bool {
        self.stage != DrainStage::Returning
    }

    /// Taken back because its group has left the policy: remembered for as long as anybody is told so.
    fn goes_back(&mut self, now: Timestamp) -> bool {
        if self.is_asked() {
            (self.stage, self.since) = (DrainStage::Returning, now);
        }
        self.stage == DrainStage::Returning && now < self.since.after(RETURN_WITHIN)
    }

    fn is_asked(&self) -> bool {
        matches!(self.stage, DrainStage::Draining | DrainStage::Drained)
    }
}

/// What drains in a fleet, by [`crate::memory::GroupMemory::key`].
pub type Drains = BTreeMap<Box<str>, Vec<Draining>>;

/// How many instances of a group the cloud holds beside what skala counts.
pub(crate) fn held(drains: &Drains, key: &str) -> Capacity {
    drains.get(key).map_or(0, |list| count(list.iter().filter(|one| one.is_out()).count()))
}

/// How many instances of a group drain or have drained, and can be taken back.
pub(crate) fn asked(memory: &FleetMemory, own: &Group) -> Capacity {
    let list = memory.draining.iter().find(|(key, _)| own.is_key(key)).map(|(_, list)| list);
    count(list.into_iter().flatten().filter(|one| one.is_asked()).count())
}

/// Whether any instance of the fleet is on its way out.
pub(crate) fn is_any_out(memory: &FleetMemory) -> bool {
    memory.draining.values().flatten().any(Draining::is_out)
}

/// Takes in what the groups say of the instances that drain.
pub(crate) fn keep(policy: &Policy, facts: &FleetFacts<'_>, memory: &mut FleetMemory, now: Timestamp) {
    if memory.draining.is_empty() {
        return;
    }
    let was_out = is_any_out(memory);
    let mut drains = std::mem::take(&mut memory.draining);
    drains.retain(|key, list| {
        let Some(at) = policy.groups.iter().position(|group| group.is_key(key)) else {
            // Nobody scales it any more, so what drained there shall serve.
            list.retain_mut(|one| one.goes_back(now));
            return !list.is_empty();
        };
        if let GroupFact::Observed(observation) = &facts.groups[at] {
            let seen = Seen { policy, observation, weight: policy.groups[at].weight, now };
            let mut returned = 0;
            list.retain_mut(|one| seen.keep(one, &mut returned));
            seen.restore(memory, key, returned);
        }
        !list.is_empty()
    });
    memory.draining = drains;
    begin_window_again(memory, was_out);
}

/// What drains after a plan goes into memory.
pub(crate) fn change(memory: &mut FleetMemory, drains: Drains) {
    let was_out = is_any_out(memory);
    memory.draining = drains;
    begin_window_again(memory, was_out);
}

/// What has drained was measured together with what stays, so the scale-in window is observed anew.
fn begin_window_again(memory: &mut FleetMemory, was_out: bool) {
    if was_out && !is_any_out(memory) {
        memory.covered_since = None;
        memory.covered_until = None;
    }
}

/// One group, as it was seen.
struct Seen<'a> {
    policy: &'a Policy,
    observation: &'a Observation,
    weight: u32,
    now: Timestamp,
}

impl Seen<'_> {
    /// Whether one still has to be remembered; counts those that are capacity again.
    fn keep(&self, one: &mut Draining, returned: &mut Capacity) -> bool {
        let instance = self.observation.instances.iter().find(|instance| instance.id == one.id);
        let Some(instance) = instance.filter(|instance| instance.state != InstanceState::Terminating) else {
            // Gone without skala, it is still counted by a cloud that keeps desired, and will be replaced there.
            *returned += u32::from(one.is_asked() && self.observation.abilities.keeps_desired);
            return false;
        };
        if one.is_asked() && instance.protected {
            (one.stage, one.since) = (DrainStage::Returning, self.now);
            *returned += 1;
        }
        match (one.stage, &self.policy.drain) {
            (DrainStage::Draining, None) => one.stage = DrainStage::Drained,
            // It did not take effect: once more.
            (DrainStage::Leaving(at), _) if self.now >= at.after(self.policy.settle()) => {
                one.stage = DrainStage::Drained;
            }
            _ => {}
        }
        true
    }

    /// What is capacity again without a plan was expected to be none.
    fn restore(&self, memory: &mut FleetMemory, key: &str, n: Capacity) {
        let Some(group) = memory.groups.iter_mut().find(|group| *group.key == *key).filter(|_| n > 0) else { return };
        group.desired = group.desired.map(|desired| desired.saturating_add(n));
        if let Some(flight) = &mut group.in_flight {
            flight.to = flight.to.saturating_add(n);
        }
        let change = i32::try_from(n.saturating_mul(self.weight)).unwrap_or(i32::MAX);
        memory.changes.push_change(self.now, change);
    }
}

/// What the groups hold without those that drain: for each group that has any, its observation with them on their way out,
/// and by how much what its cloud holds is above that.
pub(crate) fn leave_out(
    policy: &Policy,
    facts: &FleetFacts<'_>,
    memory: &FleetMemory,
) -> (Vec<Option<Observation>>, Vec<Capacity>) {
    let one = |(own, fact): (&Group, &GroupFact<'_>)| {
        let none = (None, 0);
        let GroupFact::Observed(observation) = fact else { return none };
        let Some((key, list)) = memory.draining.iter().find(|(key, _)| own.is_key(key)) else { return none };
        let out: Vec<&Draining> = list.iter().filter(|one| one.is_out()).collect();
        let mut rest = (*observation).clone();
        for instance in rest.instances.iter_mut().filter(|instance| out.iter().any(|one| one.id == instance.id)) {
            instance.state = InstanceState::Terminating;
        }
        // While a termination is on its way, desired may be lower already and the instance still there.
        let leaving = count(out.iter().filter(|one| matches!(one.stage, DrainStage::Leaving(_))).count());
        let expected = memory.groups.iter().find(|group| group.key == *key).and_then(|group| group.desired);
        rest.desired = rest.desired.map(|desired| {
            let low = desired.saturating_sub(count(out.len()));
            expected.map_or(low, |expected| expected.clamp(low, low.saturating_add(leaving)))
        });
        let beside = match (observation.desired, rest.desired) {
            (Some(all), Some(rest)) => all.saturating_sub(rest),
            _ => count(out.len()),
        };
        (Some(rest), beside)
    };
    policy.groups.iter().zip(&facts.groups).map(one).unzip()
}

/// Puts the plans of groups with instances that drain into the clouds' numbers.
pub(crate) struct Diversion<'a> {
    pub policy: &'a Policy,
    /// The groups without what drains.
    pub groups: &'a [Option<Observation>],
    /// By how much the clouds' numbers are above those, by the policy's groups.
    pub beside: &'a [Capacity],
    /// How the groups stand, where there are several.
    pub stands: &'a [Stand],
    /// Scale-in is allowed and nobody asks for more than there is, so what has drained may leave.
    pub may_leave: bool,
    pub now: Timestamp,
}

impl Diversion<'_> {
    /// Diverts all plans; `drains` is what drains before and after.
    pub fn divert(&self, drains: &mut Drains, plans: &mut [GroupPlan]) {
        for (plan, own) in plans.iter_mut().zip(&self.policy.groups) {
            let Some(Some(observation)) = self.groups.get(usize::from(plan.group)) else { continue };
            let key = drains.keys().find(|key| own.is_key(key)).cloned();
            let key = key.unwrap_or_else(|| own.key());
            let mut list = drains.remove(&key).unwrap_or_default();
            self.group(plan, own, observation, &mut list);
            if !list.is_empty() {
                drains.insert(key, list);
            }
        }
    }

    fn group(&self, plan: &mut GroupPlan, own: &Group, observation: &Observation, list: &mut Vec<Draining>) {
        let beside = self.beside.get(usize::from(plan.group)).copied().unwrap_or(0);
        if let Some(seen) = &mut plan.seen {
            seen.desired = seen.desired.map(|desired| desired.saturating_add(beside));
        }
        self.take_back(plan, own, list);
        plan.held = beside.saturating_sub(count(plan.take_back.len()));
        for action in &mut plan.actions {
            *action.to_mut() = action.to().saturating_add(plan.held);
        }
        if let Some(drain) = &self.policy.drain {
            self.begin(drain, plan, observation, list);
            plan.held += count(plan.drain.len());
        }
        self.end(plan, observation, list);
        plan.held = plan.held.saturating_sub(plan.drained);
    }

    /// Capacity that is wanted again comes from what drains first: those that have let go of the least of their work.
    fn take_back(&self, plan: &mut GroupPlan, own: &Group, list: &mut [Draining]) {
        let is_raise = |action: &Action| matches!(action, Action::Raise { .. });
        if !plan.actions.iter().any(is_raise) {
            return;
        }
        let given = u64::try_from(plan.change).unwrap_or(0) + u64::from(plan.moved);
        let more = usize::try_from(given / u64::from(own.weight)).unwrap_or(usize::MAX);
        let mut asked: Vec<&mut Draining> = list.iter_mut().filter(|one| one.is_asked()).collect();
        asked.sort_by_key(|one| (one.stage == DrainStage::Drained, Reverse(one.since)));
        for one in asked.into_iter().take(more) {
            (one.stage, one.since) = (DrainStage::Returning, self.now);
            plan.take_back.push(one.id.clone());
        }
        if plan.take_back.len() == more && plan.repairs == 0 {
            plan.actions.retain(|action| !is_raise(action));
            // Nothing is launched, so nothing is learned of whether it could be.
            plan.probe = None;
        }
    }

    /// Who was chosen to leave and runs drains first.
    fn begin(&self, by: &Drain, plan: &mut GroupPlan, observation: &Observation, list: &mut Vec<Draining>) {
        let runs = |id: &InstanceId| {
            let is_it = |instance: &&Instance| instance.id == *id;
            observation.instances.iter().find(is_it).is_some_and(|instance| instance.state == InstanceState::Running)
        };
        let is_terminate = |action: &Action| matches!(action, Action::Terminate { .. });
        let Some(at) = plan.actions.iter().position(is_terminate) else { return };
        let Action::Terminate { instances, to } = &mut plan.actions[at] else { return };
        let whys = std::mem::take(&mut plan.victims);
        let chosen: Vec<_> = std::mem::take(instances).into_iter().zip(whys).collect();
        let (drain, now): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|(id, _)| runs(id));
        *to = to.saturating_add(count(drain.len()));
        (*instances, plan.victims) = now.into_iter().unzip();
        if instances.is_empty() {
            plan.actions.remove(at);
        }
        for (id, why) in drain {
            list.retain(|one| one.id != id);
            let with = by.with.clone();
            list.push(Draining { id: id.clone(), since: self.now, stage: DrainStage::Draining, with });
            plan.drain.push((id, why));
        }
    }

    /// Who has let go of its work, or had the time to, is terminated.
    fn end(&self, plan: &mut GroupPlan, observation: &Observation, list: &mut [Draining]) {
        let stand = self.stands.get(usize::from(plan.group));
        // What cannot be bought back is not given up.
        let closed = stand.is_some_and(|stand| stand.closed.is_some() || stand.stays)
            || launches_fail(observation, self.now).is_some()
            || observation.suspended.iter().any(|s| matches!(s, Suspended::Terminate | Suspended::Refresh))
            || !observation.abilities.terminate_named;
        let grows = plan.actions.iter().any(|action| matches!(action, Action::Raise { .. }));
        let Some(base) = plan.desired.filter(|_| self.may_leave && !closed && !grows) else { return };
        let deadline = self.policy.drain.as_ref().map_or(Duration::ZERO, |drain| drain.deadline);
        let mut ended = Vec::new();
        for one in list.iter_mut() {
            let why = match one.stage {
                DrainStage::Drained => VictimWhy::Drained,
                DrainStage::Draining if self.now >= one.since.after(deadline) => VictimWhy::NotDrained,
                _ => continue,
            };
            one.stage = DrainStage::Leaving(self.now);
            ended.push((one.id.clone(), why));
        }
        if ended.is_empty() {
            return;
        }
        plan.drained = count(ended.len());
        let from = plan.actions.last().map_or(base.saturating_add(plan.held), Action::to);
        let (ids, whys): (Vec<_>, Vec<_>) = ended.into_iter().unzip();
        plan.victims.extend(whys);
        match plan.actions.last_mut() {
            Some(Action::Terminate { instances, to }) => {
                instances.extend(ids);
                *to = to.saturating_sub(plan.drained);
            }
            _ => plan.actions.push(Action::Terminate { instances: ids, to: from.saturating_sub(plan.drained) }),
        }
    }
}

/// Takes in what a drainer said of an instance; of one that nobody asked about any more it says nothing.
pub(crate) fn note(memory: &mut FleetMemory, group: usize, instance: &InstanceId, said: DrainEnd) {
    let Some(key) = memory.groups.get(group).map(|group| group.key.clone()) else { return };
    let Some(list) = memory.draining.get_mut(&key) else { return };
    match said {
        DrainEnd::Drained => {
            let drains = |one: &&mut Draining| one.id == *instance && one.stage == DrainStage::Draining;
            list.iter_mut().filter(drains).for_each(|one| one.stage = DrainStage::Drained);
        }
        DrainEnd::Returned => list.retain(|one| one.id != *instance || one.stage != DrainStage::Returning),
    }
    if list.is_empty() {
        memory.draining.remove(&key);
    }
}

/// The daemon was away for so long, and nobody was asked to drain meanwhile: the deadlines are that much later.
pub(crate) fn count_absence(memory: &mut FleetMemory, absence: Duration) {
    for one in memory.draining.values_mut().flatten().filter(|one| one.stage == DrainStage::Draining) {
        one.since = one.since.after(absence);
    }
}

fn count(n: usize) -> Capacity {
    Capacity::try_from(n).unwrap_or(Capacity::MAX)
}
