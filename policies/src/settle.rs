//! From proposals to plans: brakes, hold and bounds, then what each group does, and the booking of it in memory.

use crate::memory::{FleetMemory, InFlight, Undo};
use crate::observe::View;
use crate::placement::drain::{self, Diversion};
use crate::placement::{self, Asked};
use crate::plan::{Budget, Decision, Direction, Effect, FleetPlan, GroupPlan, Plan};
use crate::policy::{Mode, Policy, RuleKind, Setting};
use crate::propose::{Body, Proposal, Walked};
use crate::stages::{self, Placed, Walk};
use crate::trace::{Answer, Calculation, Hold, HoldReason, Recommendation, Stage, Why};
use contract::{Capacity, Observation};

/// Settles a batch of proposals against what is left of the brakes: the fleets with the larger priority first, then by
/// id, so that a short budget is always shared out in the same way.
pub fn settle(proposals: Vec<Proposal>, budget: Budget) -> Plan {
    let mut order: Vec<usize> = (0..proposals.len()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (&proposals[*a].policy, &proposals[*b].policy);
        b.priority.cmp(&a.priority).then_with(|| a.id.cmp(&b.id))
    });
    let mut left = budget;
    let mut slots: Vec<Option<Proposal>> = proposals.into_iter().map(Some).collect();
    let mut plans: Vec<Option<FleetPlan>> = slots.iter().map(|_| None).collect();
    for at in order {
        if let Some(proposal) = slots[at].take() {
            plans[at] = Some(one(proposal, &mut left));
        }
    }
    Plan { fleets: plans.into_iter().flatten().collect(), budget: left }
}

fn one(proposal: Proposal, left: &mut Budget) -> FleetPlan {
    let Proposal { policy, body, mut memory } = proposal;
    let walked = match body {
        Body::Unknown(decision) => {
            decision.assert_trace_law();
            let groups = placement::unknown(&policy);
            return FleetPlan { policy, decision, effect: Effect::Observe(groups), memory };
        }
        Body::Walked(walked) => *walked,
    };
    let Walked { mut walk, view, recommendations, groups, beside } = walked;
    stages::brakes(&mut walk, *left);
    let to_place = asked(&policy, &view, &walk, walk.at);
    let current = walk.current;
    stages::hold(&mut walk, &view, || placed(&to_place, current));
    bounds(&mut walk);
    let steps = warming_steps(&policy, &recommendations, &walk, &memory, view.warming());
    let may_leave = may_leave(&walk, &view);
    let decision = decision(walk, &view, recommendations);
    decision.assert_trace_law();
    let acting = view.shown.is_none().then_some(*left);
    let mut plans = if policy.has_choice() {
        several(to_place, &view, &decision, &groups, &memory, acting)
    } else {
        placement::place(&policy, &decision, groups.first().and_then(Option::as_ref), &memory, acting)
    };
    let mut draining = memory.draining.clone();
    if policy.drain.is_some() || !draining.is_empty() {
        let (stands, now) = (&view.stands, decision.now);
        let diversion = Diversion { policy: &policy, groups: &groups, beside: &beside, stands, may_leave, now };
        diversion.divert(&mut draining, &mut plans);
    }
    let acts = policy.mode != Mode::Observe && view.shown.is_none();
    if !acts {
        return FleetPlan { policy, decision, effect: Effect::Observe(plans), memory };
    }
    *left = spent(&decision, &plans, *left);
    memory.steps = steps;
    drain::change(&mut memory, draining);
    book(&policy, &decision, &plans, &mut memory);
    FleetPlan { policy, decision, effect: Effect::Act(plans), memory }
}

/// Whether what has drained may leave now: it was chosen under an earlier decision, and only one that would not remove it
/// any more stands in its way. What is unknown, guarded or held keeps it; what asks for more takes it back.
fn may_leave(walk: &Walk, view: &View) -> bool {
    let wanted = walk.trace.first().and_then(|step| step.after).unwrap_or(walk.current);
    // A min that the brakes keep from being met is wanted all the same.
    let wanted = wanted.max(walk.limits.min).max(walk.at);
    view.block_in.is_none_or(|hold| hold.setting == Setting::Drain) && walk.block_in.is_none() && wanted <= walk.current
}

/// A capacity to lay out over several groups.
fn asked<'a>(policy: &'a Policy, view: &'a View, walk: &Walk, desired: Capacity) -> Asked<'a> {
    let combined = walk.trace.first().and_then(|step| step.after).unwrap_or(walk.current);
    Asked {
        policy,
        stands: &view.stands,
        now: walk.now,
        desired,
        need: combined.max(walk.limits.min),
        ceiling: walk.limits.max.max(walk.current),
        serving: view.serving,
        moves: None,
        settled: false,
    }
}

/// What several groups can hold of a capacity, where there is a choice.
fn placed(asked: &Asked<'_>, current: Capacity) -> Option<Placed> {
    if !asked.policy.has_choice() {
        return None;
    }
    let layout = placement::lay_out(asked);
    let at = |reason, group: usize| Hold { reason, setting: Setting::Group(u16::try_from(group).unwrap_or(0)) };
    let down = asked.stands.iter().position(|stand| stand.offering.is_down());
    let stays = asked.stands.iter().position(|stand| stand.stays);
    let boots = asked.stands.iter().position(|stand| stand.offering.waits_since.is_some());
    let cause = match (asked.desired > current, layout.kept_serving) {
        (true, _) => at(HoldReason::OutOfCapacity, down.unwrap_or(0)),
        (false, true) => at(HoldReason::InFlight, boots.unwrap_or(0)),
        // What could not be had again is not given up.
        (false, false) => stays.map_or(at(HoldReason::Protected, 0), |group| at(HoldReason::OutOfCapacity, group)),
    };
    Some(Placed { achieved: layout.achieved, cause })
}

/// The groups' plans of a fleet that has several.
fn several(
    asked: Asked<'_>,
    view: &View,
    decision: &Decision,
    groups: &[Option<Observation>],
    memory: &FleetMemory,
    acting: Option<Budget>,
) -> Vec<GroupPlan> {
    let (Some(current), Some(desired)) = (decision.current, decision.desired) else { return Vec::new() };
    // A min that asks for more than the rules do is as good a rest as what they ask for.
    let rests = |hold: Hold| matches!(hold.reason, HoldReason::OnTarget | HoldReason::AtMin);
    let rests = decision.hold.is_some_and(rests);
    let asked = Asked {
        desired,
        moves: acting.map(|left| {
            left.scale_out.map_or(Capacity::MAX, |left| left.saturating_sub(desired.saturating_sub(current)))
        }),
        settled: rests && view.block_in.is_none() && view.warming() == 0,
        ..asked
    };
    placement::lay_out(&asked).into_plans(&asked, groups, memory)
}

/// `bounds` asserts and changes nothing: desired is within limits, or between current and the limits.
fn bounds(walk: &mut Walk) {
    let (current, limits) = (walk.current, walk.limits);
    assert!(
        // Without a stage nothing is promised: it may be the one that keeps the bounds, and nobody acts on it.
        walk.leaves_out() || (walk.at >= limits.min.min(current) && walk.at <= limits.max.max(current)),
        "desired {} out of bounds {}..{} from {current}",
        walk.at,
        limits.min,
        limits.max
    );
    walk.step(Stage::Bounds, walk.at, Why::Nothing, walk.cause);
}

fn decision(walk: Walk, view: &crate::observe::View, recommendations: Vec<Recommendation>) -> Decision {
    let on_target = Hold { reason: HoldReason::OnTarget, setting: Setting::Fleet };
    let hold = (walk.at == walk.current).then(|| view.shown.or(walk.cause).unwrap_or(on_target));
    Decision {
        now: walk.now,
        current: Some(walk.current),
        serving: Some(view.serving),
        desired: Some(walk.at),
        recommendations,
        limits: walk.limits,
        trace: walk.trace,
        hold,
    }
}

/// What the brakes leave after a decision that is carried out by these plans (safety rule 15).
pub fn spent(decision: &Decision, plans: &[GroupPlan], left: Budget) -> Budget {
    let (Some(current), Some(desired)) = (decision.current, decision.desired) else { return left };
    let take = |budget: Option<Capacity>, spent: Capacity| budget.map(|budget| budget.saturating_sub(spent));
    let beside: Capacity = plans.iter().map(|plan| plan.repairs.saturating_add(plan.moved)).sum();
    Budget {
        scale_out: take(left.scale_out, desired.saturating_sub(current).saturating_add(beside)),
        scale_in: take(left.scale_in, current.saturating_sub(desired)),
    }
}

/// How many instances each step rule has asked for that may still be warming up.
fn warming_steps(
    policy: &Policy,
    answers: &[Recommendation],
    walk: &Walk,
    memory: &FleetMemory,
    warming: Capacity,
) -> std::collections::BTreeMap<Box<str>, Capacity> {
    let mut steps = std::collections::BTreeMap::new();
    for (at, rule) in policy.rules.iter().enumerate().filter(|(_, rule)| matches!(rule.kind, RuleKind::Step { .. })) {
        let asked = memory.steps.get(&rule.name).copied().unwrap_or(0).min(warming);
        let wanted = answers.iter().find_map(|r| match r.answer {
            Answer::Value(value, Calculation::Step { .. }) | Answer::OutOnly(value, Calculation::Step { .. })
                if usize::from(r.rule) == at =>
            {
                Some(value)
            }
            _ => None,
        });
        let added = wanted.unwrap_or(0).min(walk.at).saturating_sub(walk.current);
        if asked + added > 0 {
            steps.insert(rule.name.clone(), asked + added);
        }
    }
    steps
}

/// Books the plan: in flight, rates and cooldowns. A refusal before any effect puts it back ([`crate::absorb`]).
fn book(policy: &Policy, decision: &Decision, plans: &[GroupPlan], memory: &mut FleetMemory) {
    let (Some(current), Some(desired)) = (decision.current, decision.desired) else { return };
    let (last_out, last_in) = (memory.last_out, memory.last_in);
    for plan in plans.iter().filter(|plan| plan.acts()) {
        let at = usize::from(plan.group);
        let Some(group) = memory.groups.get_mut(at) else { continue };
        let before = group.desired.unwrap_or(current);
        let to = plan.desired.unwrap_or(before);
        group.desired = Some(to);
        // What drains or is taken back has no call that could be refused.
        let (drain, take_back) = (plan.drain.len(), plan.take_back.len());
        let weight = i64::from(policy.groups[at].weight);
        let beside = (i64::try_from(take_back).unwrap_or(0) - i64::try_from(drain).unwrap_or(0)) * weight;
        memory.changes.push_change(decision.now, saturated(beside));
        if !plan.actions.is_empty() {
            let from = before.saturating_add(count(take_back)).saturating_sub(count(drain));
            let change = saturated(plan.change - beside);
            group.in_flight =
                Some(InFlight { from, to, at: decision.now, undo: Some(Undo { change, last_out, last_in }) });
            memory.changes.push_change(decision.now, change);
        }
        if let (Some(to), Some(offering)) = (plan.probe, placement::offering::of_mut(policy, memory, at)) {
            offering.ask(decision.now, to);
        }
    }
    if desired == current {
        return;
    }
    // A pin and a raised min count against the rates but start no cooldown (safety rule 6).
    if starts_cooldown(decision) {
        match decision.direction() {
            Direction::Out => memory.last_out = Some(decision.now),
            Direction::In => memory.last_in = Some(decision.now),
            Direction::None => {}
        }
    }
}

fn count(n: usize) -> Capacity {
    Capacity::try_from(n).unwrap_or(Capacity::MAX)
}

fn saturated(change: i64) -> i32 {
    i32::try_from(change).unwrap_or(if change < 0 { i32::MIN } else { i32::MAX })
}

fn starts_cooldown(decision: &Decision) -> bool {
    !decision.trace.iter().any(|step| matches!(step.why, Why::Pinned { .. } | Why::Min(_)))
}
