//! From proposals to plans: brakes, hold and bounds, then what each group does, and the booking of it in memory.

use crate::memory::{FleetMemory, InFlight, Undo};
use crate::placement;
use crate::plan::{Budget, Decision, Direction, Effect, FleetPlan, GroupPlan, Plan};
use crate::policy::{Mode, Policy, RuleKind, Setting};
use crate::propose::{Body, Proposal, Walked};
use crate::stages::{self, Walk};
use crate::trace::{Answer, Calculation, Hold, HoldReason, Recommendation, Stage, Why};
use contract::Capacity;

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
    let Walked { mut walk, view, recommendations, groups } = walked;
    stages::brakes(&mut walk, *left);
    stages::hold(&mut walk, &view);
    bounds(&mut walk);
    let steps = warming_steps(&policy, &recommendations, &walk, &memory, view.warming());
    let decision = decision(walk, &view, recommendations);
    decision.assert_trace_law();
    let plans = placement::place(&policy, &decision, &groups, &memory, view.shown.is_none().then_some(*left));
    let acts = policy.mode != Mode::Observe && view.shown.is_none();
    if !acts {
        return FleetPlan { policy, decision, effect: Effect::Observe(plans), memory };
    }
    *left = spent(&decision, &plans, *left);
    memory.steps = steps;
    book(&decision, &plans, &mut memory);
    FleetPlan { policy, decision, effect: Effect::Act(plans), memory }
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
    let repairs: Capacity = plans.iter().map(|plan| plan.repairs).sum();
    Budget {
        scale_out: take(left.scale_out, desired.saturating_sub(current).saturating_add(repairs)),
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
fn book(decision: &Decision, plans: &[GroupPlan], memory: &mut FleetMemory) {
    let (Some(current), Some(desired)) = (decision.current, decision.desired) else { return };
    let undo = Undo {
        change: i32::try_from(desired).unwrap_or(i32::MAX) - i32::try_from(current).unwrap_or(i32::MAX),
        last_out: memory.last_out,
        last_in: memory.last_in,
    };
    for plan in plans.iter().filter(|plan| !plan.actions.is_empty()) {
        let Some(group) = memory.groups.get_mut(usize::from(plan.group)) else { continue };
        let from = group.desired.unwrap_or(current);
        let to = plan.desired.unwrap_or(from);
        group.in_flight = Some(InFlight { from, to, at: decision.now, undo: Some(undo.clone()) });
        group.desired = Some(to);
    }
    if desired == current {
        return;
    }
    memory.changes.push_change(decision.now, undo.change);
    // A pin and a raised min count against the rates but start no cooldown (safety rule 6).
    if starts_cooldown(decision) {
        match decision.direction() {
            Direction::Out => memory.last_out = Some(decision.now),
            Direction::In => memory.last_in = Some(decision.now),
            Direction::None => {}
        }
    }
}

fn starts_cooldown(decision: &Decision) -> bool {
    !decision.trace.iter().any(|step| matches!(step.why, Why::Pinned { .. } | Why::Min(_)))
}
