//! `flap`: before a scale-in, what a rule would add back at once is not removed.
//!
//! `utilization`, `per-instance` and `objective` answer with a capacity that carries the work, so nothing they leave over
//! can trigger them. A step rule knows only its thresholds: its metric is projected to the smaller capacity, as work that
//! fewer instances share (value x current / n), when it is an average over instances (a ratio or a percentage).

use super::{Walk, held};
use crate::policy::{Change, Policy, RuleKind, Setting, Unit};
use crate::rules::step_matched;
use crate::trace::{Answer, Calculation, HoldReason, Recommendation, Stage, Why};
use contract::Capacity;

/// Takes the step.
pub(crate) fn flap(walk: &mut Walk, policy: &Policy, answers: &[Recommendation]) {
    if walk.pin.is_some() || !walk.wants_in() {
        walk.pass(Stage::Flap);
        return;
    }
    let mut after = walk.at;
    let mut by = None;
    for answer in answers {
        let least = least_without_flap(policy, answer, walk.current, walk.at);
        if least > after {
            (after, by) = (least, Some(answer.rule));
        }
    }
    match by {
        Some(rule) => walk.step(Stage::Flap, after, Why::Flap { rule }, held(HoldReason::Flap, Setting::Rule(rule))),
        None => walk.pass(Stage::Flap),
    }
}

/// The least capacity from `wanted` up to `current` at which this step rule would not add.
fn least_without_flap(policy: &Policy, answer: &Recommendation, current: Capacity, wanted: Capacity) -> Capacity {
    let RuleKind::Step { metric, steps } = &policy.rules[usize::from(answer.rule)].kind else { return wanted };
    let averages = matches!(policy.metrics[usize::from(*metric)].unit, Unit::Ratio | Unit::Percent);
    let value = match &answer.answer {
        Answer::Value(_, Calculation::Step { value, .. }) | Answer::OutOnly(_, Calculation::Step { value, .. }) => {
            Some(*value)
        }
        Answer::Abstain(value) => Some(*value),
        _ => None,
    };
    let Some(value) = value.filter(|_| averages) else { return wanted };
    let adds = |n: Capacity| {
        let projected = value * f64::from(current) / f64::from(n.max(1));
        step_matched(steps, projected).is_some_and(|row| matches!(steps[row].change, Change::Add(_)))
    };
    // A row that adds already today is the rule's own business; only a newly triggered one is a flap.
    if adds(current) {
        return wanted;
    }
    let (mut low, mut high) = (wanted, current);
    while low < high {
        let middle = low + (high - low) / 2;
        if adds(middle) { low = middle + 1 } else { high = middle }
    }
    low
}
