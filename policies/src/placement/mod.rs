//! Fleet desired to group desired, and the choice of victims. Steps of its own after the fleet's trace.

mod victims;

use crate::memory::FleetMemory;
use crate::plan::{Action, Budget, Decision, GroupPlan};
use crate::policy::Policy;
use contract::{Capacity, Observation, Version};

/// The plans of a fleet of which a group could not be read: nothing.
pub(crate) fn unknown(policy: &Policy) -> Vec<GroupPlan> {
    (0..policy.groups.len())
        .map(|at| GroupPlan {
            repairs: 0,
            group: u16::try_from(at).unwrap_or(u16::MAX),
            desired: None,
            actions: Vec::new(),
            seen: None,
        })
        .collect()
}

/// Places a decision onto the fleet's groups.
///
/// `repair_within` is what the brakes leave; `None`: the fleet is held, so nothing is repaired either.
/// A fleet has one group in this version (the policy language refuses more), so all of a change is that group's.
pub(crate) fn place(
    policy: &Policy,
    decision: &Decision,
    groups: &[Observation],
    memory: &FleetMemory,
    repair_within: Option<Budget>,
) -> Vec<GroupPlan> {
    let mut plans = unknown(policy);
    let (Some(current), Some(desired)) = (decision.current, decision.desired) else { return plans };
    let Some(plan) = plans.first_mut() else { return plans };
    plan.desired = Some(desired);
    let Some(observation) = groups.first() else { return plans };
    plan.seen = Some(Version { desired: observation.desired, token: observation.token.clone(), at: observation.at });
    if desired < current {
        plan.actions = removal(observation, current, desired, policy.warmup);
        return plans;
    }
    let more = desired - current;
    let lost = lost(observation, memory, current);
    // Safety rule 13: what skala sizes itself it also repairs, blind or not, as far as the brakes go; a hold stops it.
    plan.repairs = match repair_within {
        Some(Budget { scale_out: Some(left), .. }) => lost.min(left.saturating_sub(more)),
        Some(_) => lost,
        None => 0,
    };
    if more + plan.repairs > 0 {
        plan.actions.push(Action::Raise { to: desired - (lost - plan.repairs) });
    }
    plans
}

/// How many instances a group whose desired only skala keeps has lost, while no write is under way.
fn lost(observation: &Observation, memory: &FleetMemory, desired: Capacity) -> Capacity {
    let in_flight = memory.groups.first().is_some_and(|group| group.in_flight.is_some());
    if observation.abilities.keeps_desired || in_flight {
        return 0;
    }
    desired.saturating_sub(u32::try_from(observation.alive().count()).unwrap_or(u32::MAX))
}

/// What was never filled is withdrawn first; then instances leave by name, or by the cloud's choice where that is all
/// there is.
fn removal(
    observation: &Observation,
    current: Capacity,
    desired: Capacity,
    warmup: std::time::Duration,
) -> Vec<Action> {
    let mut actions = Vec::new();
    let cancelled = observation.unfilled().min(current - desired);
    if !observation.abilities.terminate_named {
        actions.push(Action::Lower { to: desired });
        return actions;
    }
    if cancelled > 0 {
        actions.push(Action::CancelUnfilled { to: current - cancelled });
    }
    let rest = current - cancelled - desired;
    if rest > 0 {
        let instances = victims::choose(observation, rest, warmup);
        actions.push(Action::Terminate { instances, to: desired });
    }
    actions
}
