//! A fleet of one group: all of a change is that group's.

use super::{unknown, victims};
use crate::memory::FleetMemory;
use crate::observe::launches_fail;
use crate::plan::{Action, Budget, Decision, GroupPlan};
use crate::policy::Policy;
use contract::{Capacity, Observation, Version};

/// Places a decision onto the fleet's one group.
///
/// `repair_within` is what the brakes leave; `None`: the fleet is held, so nothing is repaired either.
pub(crate) fn place(
    policy: &Policy,
    decision: &Decision,
    observation: Option<&Observation>,
    memory: &FleetMemory,
    repair_within: Option<Budget>,
) -> Vec<GroupPlan> {
    let mut plans = unknown(policy);
    let (Some(current), Some(desired)) = (decision.current, decision.desired) else { return plans };
    let Some(plan) = plans.first_mut() else { return plans };
    plan.desired = Some(desired);
    plan.change = i64::from(desired) - i64::from(current);
    let Some(observation) = observation else { return plans };
    plan.seen = Some(version(observation));
    if desired < current {
        let cancelled = unfilled(observation, current).min(current - desired);
        remove(plan, policy, observation, current, cancelled, current - desired);
        return plans;
    }
    let more = desired - current;
    let lost = lost(observation, memory, 0, current);
    // While launches fail one at a time is enough to learn that they work again.
    let repairable = if launches_fail(observation, decision.now).is_some() { lost.min(1) } else { lost };
    // Safety rule 13: what skala sizes itself it also repairs, blind or not, as far as the brakes go; a hold stops it.
    plan.repairs = match repair_within {
        Some(Budget { scale_out: Some(left), .. }) => repairable.min(left.saturating_sub(more)),
        Some(_) => repairable,
        None => 0,
    };
    if more + plan.repairs > 0 {
        plan.actions.push(Action::Raise { to: desired - (lost - plan.repairs) });
    }
    plans
}

/// The state that a plan is made from: the fence of its writes.
pub(super) fn version(observation: &Observation) -> Version {
    Version { desired: observation.desired, token: observation.token.clone(), at: observation.at }
}

/// How many instances a group whose desired only skala keeps has lost, while no write is under way.
pub(super) fn lost(observation: &Observation, memory: &FleetMemory, at: usize, desired: Capacity) -> Capacity {
    let in_flight = memory.groups.get(at).is_some_and(|group| group.in_flight.is_some());
    if observation.abilities.keeps_desired || in_flight {
        return 0;
    }
    unfilled(observation, desired)
}

/// What was asked for and has no instance yet: where the cloud keeps no desired, skala knows alone what it asked for.
pub(crate) fn unfilled(observation: &Observation, base: Capacity) -> Capacity {
    if observation.abilities.keeps_desired {
        return observation.unfilled();
    }
    base.saturating_sub(u32::try_from(observation.alive().count()).unwrap_or(u32::MAX))
}

/// Takes `n` off a group that holds `current`: `cancelled` of it by withdrawing what was never filled, then instances by
/// name, or by the cloud's choice where that is all there is. A write that is only to withdraw says so also where the cloud
/// would choose: the provider refuses it once it would remove something that runs.
pub(super) fn remove(
    plan: &mut GroupPlan,
    policy: &Policy,
    observation: &Observation,
    current: Capacity,
    cancelled: Capacity,
    n: Capacity,
) {
    let desired = current - n;
    if n > 0 && n == cancelled {
        plan.actions.push(Action::CancelUnfilled { to: desired });
        return;
    }
    if !observation.abilities.terminate_named {
        plan.actions.push(Action::Lower { to: desired });
        return;
    }
    if cancelled > 0 {
        plan.actions.push(Action::CancelUnfilled { to: current - cancelled });
    }
    if n > cancelled {
        let chosen = victims::choose(observation, n - cancelled, policy.warmup, policy.leaves_first);
        let (instances, whys) = chosen.into_iter().unzip();
        plan.victims = whys;
        plan.actions.push(Action::Terminate { instances, to: desired });
    }
}
