//! What the groups' observations mean for one fleet: current, serving, removable, and what stands in the way.

use crate::facts::{Authority, FleetFacts, GroupError, GroupFact, Override};
use crate::memory::{FleetMemory, GroupMemory};
use crate::placement::drain;
use crate::placement::{Closed, Sight, Stand, offering, unfilled};
use crate::policy::{ForeignPolicy, Mode, OnExternalChange, Policy, Setting};
use crate::trace::{Hold, HoldReason};
use contract::{Capacity, FailureKind, Instance, InstanceState, Observation, Scope, Suspended, Timestamp};
use std::time::Duration;

/// How long a launch that found no capacity counts: as long as the closest peer backs a group off for (clouds.md 2.5).
const OUT_OF_CAPACITY_BACKOFF: Duration = Duration::from_secs(5 * 60);
/// A clock that goes back by more than this holds the fleet (safety rule 7).
const CLOCK_BACK_MAX: Duration = Duration::from_secs(60);

/// One fleet as it stands.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// What the clouds are asked to hold, in-flight writes counted; the error when a group could not be read.
    pub current: Result<Capacity, (u16, GroupError)>,
    /// Instances running for at least the warm-up.
    pub serving: Capacity,
    /// Instances that scale-in may take: unprotected ones and what is not filled yet.
    pub removable: Capacity,
    /// Asked for and without an instance yet.
    pub unfilled: Capacity,
    /// What blocks scale-in; the first one is named.
    pub block_in: Option<Hold>,
    /// What blocks scale-out.
    pub block_out: Option<Hold>,
    /// A block that is shown even when nothing was wanted.
    pub shown: Option<Hold>,
    /// The groups one by one, where there is a choice between them.
    pub stands: Vec<Stand>,
    /// What drains and can be taken back, in the fleet's numbers.
    pub drains: Capacity,
}

impl View {
    /// Serving instances for each of the fleet's units: 1, unless instances count for more.
    pub fn instances_per_unit(&self) -> f64 {
        if self.serving == 0 || self.stands.is_empty() {
            return 1.0;
        }
        let serving: Capacity = self.stands.iter().map(|stand| stand.serving).sum();
        f64::from(serving) / f64::from(self.serving)
    }

    /// Instances asked for that do not serve yet.
    pub fn warming(&self) -> Capacity {
        self.current.as_ref().map_or(0, |current| current.saturating_sub(self.serving))
    }

    /// Nothing more leaves while instances drain.
    pub fn wait_for_drain(&mut self) {
        self.block(Hold { reason: HoldReason::InFlight, setting: Setting::Drain }, Blocked::In);
    }

    fn block(&mut self, hold: Hold, directions: Blocked) {
        if directions != Blocked::Out && self.block_in.is_none() {
            self.block_in = Some(hold);
        }
        if directions != Blocked::In && self.block_out.is_none() {
            self.block_out = Some(hold);
        }
        if directions == Blocked::Both && self.shown.is_none() {
            self.shown = Some(hold);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Blocked {
    In,
    Out,
    Both,
}

/// Reads the facts into a view; notes in memory what was seen.
pub(crate) fn observe(policy: &Policy, facts: &FleetFacts<'_>, memory: &mut FleetMemory, now: Timestamp) -> View {
    let mut view = View {
        current: Ok(0),
        serving: 0,
        removable: 0,
        unfilled: 0,
        block_in: None,
        block_out: None,
        shown: None,
        stands: Vec::new(),
        drains: policy.groups.iter().map(|own| drain::asked(memory, own).saturating_mul(own.weight)).sum(),
    };
    block_as_a_whole(policy, facts, memory, &mut view);
    keep_groups(policy, memory);
    offering::keep(policy, memory);
    forget_ended(policy, facts, memory, now);
    let is_known = |fact: &GroupFact<'_>| matches!(fact, GroupFact::Observed(_));
    // With one group unread of several the others are still there to add to.
    let partly = policy.has_choice() && facts.groups.iter().any(is_known);
    let mut seen_running = std::mem::take(&mut memory.first_running);
    let mut still_running = std::collections::BTreeMap::new();
    for (at, fact) in facts.groups.iter().enumerate() {
        let index = u16::try_from(at).unwrap_or(u16::MAX);
        match fact {
            GroupFact::Unknown(error) if partly => {
                add_unread(policy, index, error, memory, now, &mut view);
            }
            GroupFact::Unknown(error) => {
                // Capacity that cannot be read is unknown, never 0; the first group that cannot be read is named.
                if view.current.is_ok() {
                    view.current = Err((index, error.clone()));
                }
            }
            GroupFact::Observed(observation) => {
                let group = group(policy, observation, &mut memory.groups[at], now);
                note_external_change(policy, memory, at, &group, now);
                let (mut serving, mut newest) = (0, None);
                for instance in observation.instances.iter().filter(|i| i.state == InstanceState::Running) {
                    let since = running_since(instance, &mut seen_running, &mut still_running, now);
                    serving += u32::from(now.since(since) >= policy.warmup && since <= now);
                    newest = newest.max(Some(since.min(now)));
                }
                view.serving += serving * policy.groups[at].weight;
                if policy.has_choice() {
                    see(policy, at, observation, (serving, newest), &group, memory, now);
                    add_stand(policy, index, observation, &group, memory, now, &mut view);
                } else {
                    add_group(policy, index, observation, &group, now, &mut view);
                }
            }
        }
    }
    if policy.has_choice() {
        block_without_a_choice(&mut view);
    }
    if !facts.groups.iter().all(is_known) {
        // Of what could not be read nothing is forgotten.
        still_running.append(&mut seen_running);
    }
    // One that is taken back has run all the while.
    let drains = |id: &contract::InstanceId| memory.draining.values().flatten().any(|one| one.id == *id);
    still_running.extend(seen_running.into_iter().filter(|(id, _)| drains(id)));
    memory.first_running = still_running;
    if view.current.is_ok() {
        memory.serving.push_level(now, view.serving);
    }
    block_for_external_change(memory, now, &mut view);
    view
}

/// Since when an instance has been running: the cloud's word, or the first sight of it.
fn running_since(
    instance: &Instance,
    seen: &mut std::collections::BTreeMap<contract::InstanceId, Timestamp>,
    still: &mut std::collections::BTreeMap<contract::InstanceId, Timestamp>,
    now: Timestamp,
) -> Timestamp {
    instance.running_since.unwrap_or_else(|| {
        let (id, since) = seen.remove_entry(&instance.id).unwrap_or_else(|| (instance.id.clone(), now));
        still.insert(id, since);
        since
    })
}

/// What stops the whole fleet, whatever its groups say.
fn block_as_a_whole(policy: &Policy, facts: &FleetFacts<'_>, memory: &FleetMemory, view: &mut View) {
    let fleet = |reason| Hold { reason, setting: Setting::Fleet };
    match facts.authority {
        Authority::Full => {}
        Authority::NoScaleIn => view.block(fleet(HoldReason::Store), Blocked::In),
        Authority::Store => view.block(fleet(HoldReason::Store), Blocked::Both),
        Authority::Owner => view.block(fleet(HoldReason::Owner), Blocked::Both),
        Authority::HoldAll => view.block(fleet(HoldReason::Override), Blocked::Both),
    }
    if let Some(Override::Hold { until, scale_in_only, .. }) = &facts.override_now
        && *until > facts.now
    {
        view.block(fleet(HoldReason::Override), if *scale_in_only { Blocked::In } else { Blocked::Both });
    }
    let mode = Hold { reason: HoldReason::Mode, setting: Setting::Mode };
    match policy.mode {
        Mode::Off => view.block(mode, Blocked::Both),
        Mode::ScaleOutOnly => view.block(mode, Blocked::In),
        Mode::On | Mode::Observe => {}
    }
    if memory.now.is_some_and(|last| last.since(facts.now) > CLOCK_BACK_MAX) {
        view.block(fleet(HoldReason::Clock), Blocked::Both);
    }
}

/// Memory's groups follow the policy's by name: an edited policy never hands one group's memory to another.
pub(crate) fn keep_groups(policy: &Policy, memory: &mut FleetMemory) {
    let matches = memory.groups.len() == policy.groups.len()
        && memory.groups.iter().zip(&policy.groups).all(|(kept, group)| group.is_key(&kept.key));
    if matches {
        return;
    }
    let mut old = std::mem::take(&mut memory.groups);
    memory.groups = policy
        .groups
        .iter()
        .map(|group| match old.iter().position(|kept| group.is_key(&kept.key)) {
            Some(at) => old.swap_remove(at),
            None => GroupMemory { key: group.key(), ..GroupMemory::default() },
        })
        .collect();
}

/// Operations that the cloud no longer lists have ended, once they had the time to be listed.
fn forget_ended(policy: &Policy, facts: &FleetFacts<'_>, memory: &mut FleetMemory, now: Timestamp) {
    if memory.operations.is_empty() {
        return;
    }
    let groups = &memory.groups;
    memory.operations.retain(|key, begun| {
        let Some(at) = groups.iter().position(|group| group.key == *key) else { return false };
        if let (GroupFact::Observed(observation), true) = (&facts.groups[at], now >= begun.at.after(policy.settle())) {
            begun.names.retain(|name| observation.operations.iter().any(|listed| listed.name == *name));
        }
        !begun.names.is_empty()
    });
}

/// One group after its in-flight write was taken into account.
struct Group {
    /// What the cloud is asked to hold, or was just asked to.
    base: Capacity,
    /// A write has not shown yet.
    in_flight: bool,
    /// Somebody else changed desired: from, to.
    external: Option<(Capacity, Capacity)>,
    /// A raise has ended: whether any of it showed.
    raised: Option<bool>,
}

/// Safety rule 2: until a write shows, or had time to, it counts for scale-out and blocks scale-in; then what is
/// observed wins, and a difference is somebody else's change.
fn group(policy: &Policy, observation: &Observation, memory: &mut GroupMemory, now: Timestamp) -> Group {
    let alive = u32::try_from(observation.alive().count()).unwrap_or(u32::MAX);
    // Where the cloud keeps no desired, memory's is the truth and what is alive shows whether a write has arrived.
    let observed = observation.desired.or(memory.desired).unwrap_or(alive);
    let shown = observation.desired.unwrap_or(alive);
    let mut expected = memory.desired;
    let mut raised = None;
    if let Some(flight) = memory.in_flight.take() {
        // A call whose end was unclear, or that was accepted and forgotten, shows nothing in its time.
        raised = flight.is_raise().then_some(shown > flight.from);
        if shown == flight.to {
            expected = Some(flight.to);
        } else if now < flight.at.after(policy.settle()) {
            let base = observed.max(flight.to);
            memory.in_flight = Some(flight);
            return Group { base, in_flight: true, external: None, raised: None };
        } else {
            expected = observation.desired.map_or(memory.desired, |_| Some(flight.to));
        }
    }
    // What is there beyond memory's desired came late, stayed when it was to go, or is a person's: no cloud would remove it,
    // so it counts as somebody's raise, and scale-in has it.
    let observed = if observation.desired.is_none() { observed.max(alive) } else { observed };
    memory.desired = Some(observed);
    let external = expected.filter(|expected| *expected != observed).map(|expected| (expected, observed));
    Group { base: observed, in_flight: false, external, raised }
}

/// Safety rule 9: what others change counts against the rates, and by default a raise stops scale-in for one window.
fn note_external_change(policy: &Policy, memory: &mut FleetMemory, at: usize, group: &Group, now: Timestamp) {
    let Some((from, to)) = group.external else { return };
    let weight = signed(policy.groups[at].weight);
    memory.changes.push_change(now, (signed(to) - signed(from)).saturating_mul(weight));
    let until = Some(now.after(policy.scale_in_window()));
    match policy.on_external_change {
        OnExternalChange::Adopt | OnExternalChange::Override => {}
        OnExternalChange::HoldScaleIn if to > from => memory.external_in_until = until,
        OnExternalChange::HoldScaleIn => {}
        OnExternalChange::Hold => {
            memory.external_in_until = until;
            memory.external_out_until = until;
        }
    }
}

fn block_for_external_change(memory: &mut FleetMemory, now: Timestamp, view: &mut View) {
    let hold = Hold { reason: HoldReason::ExternalChange, setting: Setting::OnExternalChange };
    memory.external_in_until = memory.external_in_until.filter(|until| now < *until);
    memory.external_out_until = memory.external_out_until.filter(|until| now < *until);
    if memory.external_in_until.is_some() {
        view.block(hold, Blocked::In);
    }
    if memory.external_out_until.is_some() {
        view.block(hold, Blocked::Out);
    }
}

fn signed(capacity: Capacity) -> i32 {
    i32::try_from(capacity).unwrap_or(i32::MAX)
}

/// Adds one observed group to the fleet's numbers and blocks.
fn add_group(policy: &Policy, index: u16, o: &Observation, group: &Group, now: Timestamp, view: &mut View) {
    if let Ok(current) = &mut view.current {
        *current = current.saturating_add(group.base);
    }
    let setting = Setting::Group(index);
    if let Some(foreign) = foreign_block(policy, o) {
        view.block(foreign, Blocked::Both);
    }
    if group.in_flight {
        view.block(Hold { reason: HoldReason::InFlight, setting }, Blocked::In);
    }
    let unfilled = unfilled(o, group.base);
    view.unfilled += unfilled;
    let out_of_capacity = Hold { reason: HoldReason::OutOfCapacity, setting };
    if let Some(whole_group) = launches_fail(o, now) {
        // What cannot be bought back is not given up; what was never filled may be withdrawn.
        view.removable += unfilled;
        if unfilled == 0 {
            view.block(out_of_capacity, Blocked::In);
        } else if whole_group {
            view.block(out_of_capacity, Blocked::Out);
        }
        return;
    }
    view.removable += unfilled.saturating_add(removable(o));
}

/// Instances that may be removed.
fn removable(o: &Observation) -> Capacity {
    let terminable = !o.suspended.iter().any(|s| matches!(s, Suspended::Terminate | Suspended::Refresh));
    let removable = match (terminable, o.abilities.terminate_named, o.abilities.lower) {
        (true, true, _) => o.instances.iter().filter(|i| i.state != InstanceState::Terminating && !i.protected).count(),
        (true, false, true) => o.alive().count(),
        _ => 0,
    };
    u32::try_from(removable).unwrap_or(u32::MAX)
}

/// Of them, those whose loss costs nothing: broken ones, and where what was asked for is late, those that do not run. Where
/// the cloud picks who leaves it may pick others.
fn useless(o: &Observation, is_late: bool) -> Capacity {
    if !o.abilities.terminate_named {
        return 0;
    }
    let is_useless = |instance: &&Instance| match instance.state {
        InstanceState::Failed => !instance.protected,
        InstanceState::Pending => is_late && !instance.protected,
        InstanceState::Running | InstanceState::Terminating => false,
    };
    u32::try_from(o.instances.iter().filter(is_useless).count()).unwrap_or(u32::MAX)
}

/// One of several groups that could not be read. What it held when it was last seen still counts: it most likely runs,
/// and neither its loss nor its removal may be read out of a cloud's silence. A cloud that says that the group is gone has
/// not been silent, so nothing is counted on; but nothing is removed either, and nothing recreated.
fn add_unread(policy: &Policy, index: u16, error: &GroupError, memory: &FleetMemory, now: Timestamp, view: &mut View) {
    let own = &policy.groups[usize::from(index)];
    let gone = *error == GroupError::NotFound;
    let known = offering::of(memory, usize::from(index)).filter(|_| !gone);
    let (alive, serving) = known.map_or((0, 0), |known| (known.alive, known.serving));
    // Safety rule 2 holds unread as well: a write that may have been taken counts until it had time to show.
    let flight = memory.groups[usize::from(index)].in_flight.as_ref().filter(|_| !gone);
    let asked = flight.filter(|flight| now < flight.at.after(policy.settle())).map_or(0, |flight| flight.to);
    let base = alive.max(asked);
    if let Ok(current) = &mut view.current {
        *current = current.saturating_add(base.saturating_mul(own.weight));
    }
    view.serving += serving * own.weight;
    let reason = if gone { HoldReason::GroupMissing } else { HoldReason::GroupUnknown };
    view.block(Hold { reason, setting: Setting::Group(index) }, Blocked::In);
    view.stands.push(Stand::closed(own, base, serving, Closed(reason)));
}

/// What a group's observation says of its launches goes into memory.
fn see(
    policy: &Policy,
    at: usize,
    o: &Observation,
    (serving, newest): (Capacity, Option<Timestamp>),
    group: &Group,
    memory: &mut FleetMemory,
    now: Timestamp,
) {
    // A broken one has come, too: it says nothing of the next launch, and may stay broken for ever.
    let has_come = |instance: &&Instance| matches!(instance.state, InstanceState::Running | InstanceState::Failed);
    let is_there = |instance: &&Instance| instance.state != InstanceState::Terminating;
    let count = |is: &dyn Fn(&&Instance) -> bool| {
        u32::try_from(o.instances.iter().filter(|instance| is(instance)).count()).unwrap_or(u32::MAX)
    };
    let sight = Sight {
        alive: u32::try_from(o.alive().count()).unwrap_or(u32::MAX),
        serving,
        there: count(&is_there),
        complete: count(&has_come) >= group.base,
        in_flight: group.in_flight,
        newest,
        refreshes: o.suspended.contains(&Suspended::Refresh),
        failed_at: match launches_fail(o, now) {
            _ if is_suspended(o) => Some(now),
            Some(true) => o.launch_failures.iter().map(|failure| failure.at).max(),
            _ => None,
        },
    };
    if let Some(took_effect) = group.raised {
        offering::note_raise(policy, memory, at, took_effect, now);
    }
    if let Some(offering) = offering::of_mut(policy, memory, at) {
        offering.see(sight, now);
    }
}

/// Adds one observed group of several. What stands in the way of one is not in the way of the others.
fn add_stand(
    policy: &Policy,
    index: u16,
    o: &Observation,
    group: &Group,
    memory: &FleetMemory,
    now: Timestamp,
    view: &mut View,
) {
    let own = &policy.groups[usize::from(index)];
    let offering = offering::of(memory, usize::from(index)).cloned().unwrap_or_default();
    let mut stand = Stand::seen(own, o, group.base, offering);
    stand.in_flight = group.in_flight;
    stand.closed = foreign_block(policy, o).map(|hold| Closed(hold.reason));
    // What cannot be bought back is not given up; what never was capacity, or has not come in its time, is none.
    let failed_at = stand.offering.failed_at;
    stand.stays =
        launches_fail(o, now).is_some() || failed_at.is_some_and(|at| now.since(at) < OUT_OF_CAPACITY_BACKOFF);
    let is_late = stand.offering.is_overdue(now);
    stand.removable = removable(o).min(if stand.stays { useless(o, is_late) } else { Capacity::MAX });
    stand.fruitless = offering::fruitless(memory, usize::from(index));
    stand.asked_back = drain::asked(memory, own);
    if let Ok(current) = &mut view.current {
        *current = current.saturating_add(group.base.saturating_mul(own.weight));
    }
    if group.in_flight {
        view.block(Hold { reason: HoldReason::InFlight, setting: Setting::Group(index) }, Blocked::In);
    }
    view.unfilled += stand.unfilled * own.weight;
    view.removable += (stand.unfilled + stand.removable) * own.weight;
    view.stands.push(stand);
}

/// What every group says is so of the fleet.
fn block_without_a_choice(view: &mut View) {
    let closed = |stand: &Stand| stand.closed.map(|Closed(reason)| reason);
    if let Some(reason) = view.stands.iter().map(closed).reduce(|a, b| a.and(b)).flatten() {
        let first = view.stands.first().and_then(closed).unwrap_or(reason);
        let both = if first == HoldReason::Foreign { Blocked::Both } else { Blocked::Out };
        view.block(Hold { reason: first, setting: Setting::Group(0) }, both);
    }
}

/// Safety rule 10: a controller that is known to only add may stay where the policy says so. One of which nobody knows
/// whether it removes (its settings were not read yet, its kind is new) may, as far as is known.
fn foreign_block(policy: &Policy, o: &Observation) -> Option<Hold> {
    let unwelcome = |f: &contract::Foreign| policy.foreign == ForeignPolicy::Refuse || f.removes != Some(false);
    let hold = Hold { reason: HoldReason::Foreign, setting: Setting::Foreign };
    o.foreign.iter().any(unwelcome).then_some(hold)
}

/// Whether launches lately found no capacity or quota; true inside when that holds for the whole group, so that asking for
/// more cannot help: the cloud said so of the group or region, or zone by zone of every zone that has instances. One zone
/// alone says nothing of the others, which an observation does not list while they are empty. A group whose launches are
/// suspended launches nothing for as long as that is shown.
pub(crate) fn launches_fail(o: &Observation, now: Timestamp) -> Option<bool> {
    if is_suspended(o) {
        return Some(true);
    }
    let recent = o.launch_failures.iter().filter(|failure| {
        matches!(failure.kind, FailureKind::OutOfCapacity | FailureKind::QuotaExceeded)
            && now.since(failure.at) < OUT_OF_CAPACITY_BACKOFF
    });
    let scopes: Vec<&Scope> = recent.map(|failure| &failure.scope).collect();
    if scopes.is_empty() {
        return None;
    }
    let fails = |zone: &str| scopes.iter().any(|scope| matches!(scope, Scope::Zone(failed) if **failed == *zone));
    let mut zones: Vec<&str> = o.alive().filter_map(|instance| instance.zone.as_deref()).collect();
    zones.sort_unstable();
    zones.dedup();
    let everywhere = zones.len() > 1 && zones.iter().all(|zone| fails(zone));
    Some(everywhere || scopes.iter().any(|scope| matches!(scope, Scope::Group | Scope::Region)))
}

fn is_suspended(o: &Observation) -> bool {
    o.suspended.contains(&Suspended::Launch)
}
