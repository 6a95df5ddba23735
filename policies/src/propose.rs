//! From facts to a proposal: rules, then the stages from combine to pace.

use crate::facts::{FleetFacts, GroupError, GroupFact, Override};
use crate::memory::FleetMemory;
use crate::observe::{View, observe};
use crate::placement::drain;
use crate::plan::Decision;
use crate::policy::{Policy, Setting};
use crate::rules::{Context, learn, limits, recommend};
use crate::stages::{self, Pin, Walk};
use crate::trace::{Hold, HoldReason, LimitBy, Limits, Recommendation, Stage, Step, Why};
use contract::{Capacity, Observation, Timestamp};
use std::sync::Arc;

/// A decision before the brakes.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub(crate) policy: Arc<Policy>,
    pub(crate) body: Body,
    pub(crate) memory: FleetMemory,
}

/// How far a proposal got.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// A group could not be read: there is nothing to settle.
    Unknown(Decision),
    /// Up to the pace.
    Walked(Box<Walked>),
}

/// A proposal on its way through the stages, with what settling needs of the facts.
#[derive(Clone, Debug)]
pub(crate) struct Walked {
    pub walk: Walk,
    pub view: View,
    pub recommendations: Vec<Recommendation>,
    /// The groups' observations, of those that could be read; empty when nothing can come of the proposal.
    pub groups: Vec<Option<Observation>>,
    /// By how much the clouds' numbers are above those, for what drains.
    pub beside: Vec<Capacity>,
}

/// Proposes a capacity for one fleet.
///
/// # Panics
/// When the facts do not have one entry for each group and metric of the policy: our bug, caught by the shell.
pub fn propose(policy: &Arc<Policy>, facts: &FleetFacts<'_>, memory: &FleetMemory) -> Proposal {
    crate::facts::assert_shape(policy, facts);
    let mut memory = memory.clone();
    // Memory's time never goes back (safety rule 7).
    let now = memory.now.map_or(facts.now, |last| last.max(facts.now));
    stages::forget(policy, &mut memory);
    drain::keep(policy, facts, &mut memory, now);
    let (without, beside) = drain::leave_out(policy, facts, &memory);
    let facts = &rest(facts, &without);
    let mut view = observe(policy, facts, &mut memory, now);
    if drain::is_any_out(&memory) {
        view.wait_for_drain();
    }
    let pin = pin(facts, &mut memory);
    let longest = |rates: &[crate::policy::Rate]| rates.iter().map(|rate| rate.per).max().unwrap_or_default();
    let counted = longest(&policy.scale_out.rate).max(longest(&policy.scale_in.rate));
    memory.changes.expire(now.before(counted));
    let limits = limits(policy, group_bounds(policy, facts), now);
    let last = memory.now.replace(now);
    learn(policy, facts, &view, &mut memory, (last, now));
    let current = match &view.current {
        Ok(current) => *current,
        Err((group, error)) => {
            let decision = unknown(facts.now, limits, *group, error);
            return Proposal { policy: Arc::clone(policy), body: Body::Unknown(decision), memory };
        }
    };
    let context = Context { policy, facts, memory: &memory, view: &view, now, current };
    let recommendations = recommend(&context);
    let mut guards = memory.guards.clone();
    let states = stages::guard_states(policy, &context, &mut guards);
    memory.guards = guards;
    let combined = stages::combined(policy, &recommendations, current, limits.min);
    stages::remember(policy, &mut memory, &combined, now);

    let mut walk = Walk::new(current, limits, pin, now, facts.without);
    stages::combine(&mut walk, policy, &recommendations, &combined, &memory);
    stages::guard(&mut walk, &states);
    let context = Context { policy, facts, memory: &memory, view: &view, now, current };
    stages::flap(&mut walk, &context, &recommendations);
    stages::stabilize(&mut walk, policy, &memory);
    stages::limits(&mut walk);
    stages::cooldown(&mut walk, policy, &memory);
    stages::pace(&mut walk, policy, &memory);
    let drains = !memory.draining.is_empty();
    let groups = if drains || needs_placement(policy, &walk, facts) { observed(facts) } else { Vec::new() };
    let walked = Walked { walk, view, recommendations, groups, beside };
    Proposal { policy: Arc::clone(policy), body: Body::Walked(Box::new(walked)), memory }
}

/// The facts without the instances that drain.
fn rest<'a>(facts: &FleetFacts<'a>, without: &'a [Option<Observation>]) -> FleetFacts<'a> {
    let mut rest = facts.clone();
    for (fact, without) in rest.groups.iter_mut().zip(without) {
        if let Some(observation) = without {
            *fact = GroupFact::Observed(observation);
        }
    }
    rest
}

/// The pin in force. When one ends, the scale-in window starts again (safety rule 14).
fn pin(facts: &FleetFacts<'_>, memory: &mut FleetMemory) -> Option<Pin> {
    let pin = match &facts.override_now {
        Some(Override::Pin { n, until, now, .. }) if *until > facts.now => {
            Some(Pin { n: *n, until: *until, now: *now })
        }
        _ => None,
    };
    if memory.pinned && pin.is_none() {
        memory.covered_since = None;
        memory.covered_until = None;
    }
    memory.pinned = pin.is_some();
    pin
}

/// The groups' bounds, the clouds' own and the policy's, summed; an upper bound that one group lacks is none of the fleet.
fn group_bounds(policy: &Policy, facts: &FleetFacts<'_>) -> [Option<(Capacity, LimitBy)>; 2] {
    let cloud = |at: usize, bound: fn(&Observation) -> Option<Capacity>| match &facts.groups[at] {
        GroupFact::Observed(observation) => bound(observation),
        GroupFact::Unknown(_) => None,
    };
    let by = |is_cloud: bool| if is_cloud { LimitBy::Cloud } else { LimitBy::Group };
    let (mut low, mut high) = (Some((0_u32, true)), Some((0_u32, true)));
    for (at, own) in policy.groups.iter().enumerate() {
        let (cloud_min, cloud_max) = (cloud(at, |o| o.cloud_min), cloud(at, |o| o.cloud_max));
        let min = own.min.max(cloud_min);
        let max = own.max.into_iter().chain(cloud_max).min();
        let add = |sum: Option<(u32, bool)>, bound: Option<Capacity>, own: Option<Capacity>| {
            let (sum, is_cloud) = sum?;
            let units = bound?.saturating_mul(policy.groups[at].weight);
            Some((sum.saturating_add(units), is_cloud && bound != own))
        };
        low = add(low, min.or(policy.has_choice().then_some(0)), own.min);
        high = add(high, max, own.max);
    }
    [low, high].map(|bound| bound.map(|(bound, is_cloud)| (bound, by(is_cloud))))
}

/// Whether the plan may have to touch a group: capacity changes, or skala keeps the group's desired itself and repairs it.
fn needs_placement(policy: &Policy, walk: &Walk, facts: &FleetFacts<'_>) -> bool {
    let kept_by_skala = |fact: &GroupFact<'_>| matches!(fact, GroupFact::Observed(o) if !o.abilities.keeps_desired);
    policy.has_choice() || walk.at != walk.current || facts.groups.iter().any(kept_by_skala)
}

fn observed(facts: &FleetFacts<'_>) -> Vec<Option<Observation>> {
    let observation = |fact: &GroupFact<'_>| match fact {
        GroupFact::Observed(observation) => Some((*observation).clone()),
        GroupFact::Unknown(_) => None,
    };
    facts.groups.iter().map(observation).collect()
}

/// The decision about a fleet of which a group could not be read: its capacity is unknown, so it is kept.
fn unknown(now: Timestamp, limits: Limits, group: u16, error: &GroupError) -> Decision {
    let reason = if *error == GroupError::NotFound { HoldReason::GroupMissing } else { HoldReason::GroupUnknown };
    let step = |stage: Stage| Step {
        stage,
        before: None,
        after: None,
        why: if stage == Stage::Hold { Why::Group(error.clone()) } else { Why::Nothing },
    };
    Decision {
        now,
        current: None,
        serving: None,
        desired: None,
        recommendations: Vec::new(),
        limits,
        trace: Stage::ALL.into_iter().map(step).collect(),
        hold: Some(Hold { reason, setting: Setting::Group(group) }),
    }
}
