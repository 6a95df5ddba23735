//! `combine`: several recommendations become one; a pin replaces it. All unknown holds; some unknown blocks scale-in.

use super::{Walk, held};
use crate::memory::FleetMemory;
use crate::placement::reserve;
use crate::policy::{Combine, Policy, RuleKind, Setting};
use crate::trace::{Answer, Calculation, Hold, HoldReason, Recommendation, Sizing, Stage, Why};
use contract::{Capacity, Timestamp};

/// What the rules say together.
pub(crate) struct Combined {
    /// The recommendation that goes into the windows; `None`: there is none.
    pub raw: Option<Capacity>,
    /// Every rule had a usable reading, so that the recommendation covers the scale-in window.
    pub whole: bool,
    /// No rule had one.
    pub blind: bool,
    why: Why,
}

/// Combines the answers; the order of the rules never matters.
pub(crate) fn combined(policy: &Policy, answers: &[Recommendation], current: Capacity, min: Capacity) -> Combined {
    let mut counts = [0_u16; 3];
    for answer in answers {
        counts[match answer.answer {
            Answer::Value(..) | Answer::OutOnly(..) => 0,
            Answer::Abstain(_) => 1,
            Answer::Unknown(..) | Answer::Undefined(_) => 2,
        }] += 1;
    }
    let [values, abstained, unknown] = counts;
    let whole = !answers.iter().any(|r| r.answer.blocks_scale_in());
    let largest = policy.combine == Combine::Max;
    let usable = answers.iter().filter_map(|r| r.answer.value());
    let chosen = if largest { usable.max() } else { usable.min() };
    // What the rules ask for has to be left when the largest zone or cloud is lost.
    let usable = chosen;
    let chosen = chosen.map(|chosen| reserve(policy, chosen));
    let reserve = chosen.unwrap_or(0) - usable.unwrap_or(0);
    let why = Why::Combined { values, abstained, unknown, largest, reserve };
    let recommends = |kind: &RuleKind| !matches!(kind, RuleKind::Schedule(_) | RuleKind::Guard { .. });
    if answers.is_empty() && !policy.rules.iter().any(|rule| recommends(&rule.kind)) {
        // Schedules alone: nobody asks for more than the bounds.
        return Combined { raw: Some(min), whole: true, blind: false, why: Why::BoundsOnly };
    }
    match chosen {
        Some(chosen) => Combined { raw: Some(chosen), whole, blind: false, why },
        None if unknown > 0 && abstained == 0 => Combined { raw: None, whole, blind: true, why: Why::Blind },
        // Who abstains vetoes nothing and asks for nothing: capacity stays.
        None => Combined { raw: Some(current), whole, blind: false, why },
    }
}

/// Takes the first step.
pub(crate) fn combine(
    walk: &mut Walk,
    policy: &Policy,
    answers: &[Recommendation],
    combined: &Combined,
    memory: &FleetMemory,
) {
    if let Some(pin) = walk.pin {
        let hold = held(HoldReason::Override, Setting::Fleet);
        walk.step(Stage::Combine, pin.n, Why::Pinned { until: pin.until }, hold);
        return;
    }
    let partial = blocked_by(policy, answers);
    if !combined.whole {
        let reason = if combined.blind { HoldReason::Blind } else { HoldReason::Partial };
        walk.block_in = Some(Hold { reason, setting: partial });
    }
    let Some(raw) = combined.raw else {
        blind(walk, policy, memory, partial);
        return;
    };
    // An answer that covers too few members was cut off at current already.
    let cut_off = answers.iter().any(|r| matches!(r.answer, Answer::OutOnly(..))) && raw == walk.current;
    if !combined.whole && (raw < walk.current || cut_off) {
        walk.step(Stage::Combine, walk.current, Why::PartialBlocksIn, walk.block_in);
    } else {
        walk.step(Stage::Combine, raw, combined.why.clone(), held(HoldReason::OnTarget, Setting::Fleet));
    }
}

/// Blind: capacity stays, and after a while it is raised if the policy says so; never lowered.
fn blind(walk: &mut Walk, policy: &Policy, memory: &FleetMemory, setting: Setting) {
    let blind_for = walk.now.since(memory.blind_since.unwrap_or(walk.now));
    match policy.on_missing {
        Some(on_missing) if blind_for >= on_missing.after => {
            let raised = walk.current.max(on_missing.raise_to);
            walk.step(Stage::Combine, raised, Why::BlindRaise { blind_for }, held(HoldReason::Blind, setting));
        }
        _ => walk.step(Stage::Combine, walk.current, Why::Blind, held(HoldReason::Blind, setting)),
    }
}

/// The first metric without a usable reading: what to look at.
fn blocked_by(policy: &Policy, answers: &[Recommendation]) -> Setting {
    let blocking = answers.iter().find(|r| r.answer.blocks_scale_in());
    match blocking.map(|r| (&r.answer, r.rule)) {
        Some((Answer::Unknown(metric, _), _)) => Setting::Metric(*metric),
        Some((Answer::OutOnly(_, calculation), rule)) => out_only_for(policy, calculation, rule),
        Some((_, rule)) => metric_of(policy, rule).map_or(Setting::Rule(rule), Setting::Metric),
        None => Setting::Fleet,
    }
}

/// What keeps an answer from recommending less.
fn out_only_for(policy: &Policy, calculation: &Calculation, rule: u16) -> Setting {
    let learned_from = || match &policy.rules[usize::from(rule)].kind {
        RuleKind::Objective(objective) => objective.learn_from(),
        _ => None,
    };
    let metric = match calculation {
        Calculation::Learning { .. } => return Setting::Rule(rule),
        Calculation::Objective { sizing: Some(Sizing { unknown: true, .. }), .. } => learned_from(),
        _ => metric_of(policy, rule),
    };
    metric.map_or(Setting::Rule(rule), Setting::Metric)
}

fn metric_of(policy: &Policy, rule: u16) -> Option<u16> {
    match &policy.rules[usize::from(rule)].kind {
        RuleKind::Utilization { metric, .. } | RuleKind::PerInstance { metric, .. } | RuleKind::Step { metric, .. } => {
            Some(*metric)
        }
        // Of several metrics none is the one: the rule is named.
        RuleKind::Queue(_) | RuleKind::Latency(_) | RuleKind::Expression(_) => None,
        RuleKind::Objective(objective) => Some(objective.metric),
        RuleKind::Schedule(_) | RuleKind::Guard { .. } => None,
    }
}

/// Notes how long the fleet has been blind, and its recommendation in the windows (hpa.md 1.5: raw ones, before any
/// stage).
pub(crate) fn remember(policy: &Policy, memory: &mut FleetMemory, combined: &Combined, now: Timestamp) {
    memory.blind_since = combined.blind.then(|| memory.blind_since.unwrap_or(now));
    memory.recommended_in.expire(now.before(policy.scale_in_window()));
    memory.recommended_out.expire(now.before(policy.scale_out.stabilization));
    let Some(raw) = combined.raw else { return };
    memory.recommended_in.push_extreme(now, raw, |new, old| new >= old);
    if !policy.scale_out.stabilization.is_zero() {
        memory.recommended_out.push_extreme(now, raw, |new, old| new <= old);
    }
    if combined.whole {
        let unbroken = memory.covered_until.is_some_and(|until| now.since(until) <= policy.gap_max());
        if !unbroken || memory.covered_since.is_none() {
            memory.covered_since = Some(now);
        }
        memory.covered_until = Some(now);
    }
}
