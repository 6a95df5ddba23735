//! `flap`: before a scale-in every rule is evaluated at the smaller capacity, for the same work; what would trigger a
//! scale-out there is not removed.
//!
//! Most kinds answer with the capacity that the work needs, which is the same number wherever the fleet stands. Two look
//! at averages over instances, and those move: the metric of a step rule and the ratios and percentages of an expression
//! are projected as work that fewer instances share, value x current / n. The answers are combined as the policy says,
//! so that with `combine = "min"` a rule that is outvoted today is outvoted there too.

use super::{Walk, held};
use crate::policy::{Combine, RuleKind, Setting, Unit};
use crate::rules::{Context, expression_projected, step_projected};
use crate::trace::{Answer, Calculation, HoldReason, Recommendation, Stage, Why};
use contract::Capacity;
use std::cmp::Reverse;

/// Takes the step.
pub(crate) fn flap(walk: &mut Walk, context: &Context<'_>, answers: &[Recommendation]) {
    if walk.pin.is_some() || !walk.wants_in() {
        walk.pass(Stage::Flap);
        return;
    }
    let Some(mut rule) = triggered(context, answers, walk.at) else {
        walk.pass(Stage::Flap);
        return;
    };
    // The least capacity that triggers nothing, if more instances never trigger more; else one that triggers nothing.
    let (mut low, mut high) = (walk.at + 1, walk.current);
    while low < high {
        let middle = low + (high - low) / 2;
        match triggered(context, answers, middle) {
            Some(by) => (low, rule) = (middle + 1, by),
            None => high = middle,
        }
    }
    walk.step(Stage::Flap, low, Why::Flap { rule }, held(HoldReason::Flap, Setting::Rule(rule)));
}

/// The rule that would ask for more than `n` at a capacity of `n`, or of which nobody can tell.
fn triggered(context: &Context<'_>, answers: &[Recommendation], n: Capacity) -> Option<u16> {
    let mut asked: Option<(Capacity, Reverse<u16>)> = None;
    for answer in answers {
        let value = match projected(context, answer, n) {
            Projected::Nothing => continue,
            Projected::Unknown => return Some(answer.rule),
            Projected::Value(value) => value,
        };
        let this = (value, Reverse(answer.rule));
        asked = Some(match (asked, context.policy.combine) {
            (None, _) => this,
            (Some(other), Combine::Max) => other.max(this),
            (Some(other), Combine::Min) => other.min(this),
        });
    }
    asked.filter(|(value, _)| *value > n).map(|(_, Reverse(rule))| rule)
}

enum Projected {
    Nothing,
    Unknown,
    Value(Capacity),
}

/// What a rule would say at a capacity of `n`.
fn projected(context: &Context<'_>, answer: &Recommendation, n: Capacity) -> Projected {
    match &context.policy.rules[usize::from(answer.rule)].kind {
        RuleKind::Step { metric, steps } => {
            let value = match &answer.answer {
                Answer::Value(_, Calculation::Step { value, .. })
                | Answer::OutOnly(_, Calculation::Step { value, .. })
                | Answer::Abstain(value) => *value,
                _ => return Projected::Nothing,
            };
            let averages = matches!(context.policy.metrics[usize::from(*metric)].unit, Unit::Ratio | Unit::Percent);
            let moved = f64::from(context.current) / f64::from(n.max(1));
            let value = if averages { value * moved } else { value };
            step_projected(steps, value, n).map_or(Projected::Nothing, Projected::Value)
        }
        RuleKind::Expression(expression) => {
            expression_projected(context, expression, n).map_or(Projected::Unknown, Projected::Value)
        }
        _ => answer.answer.value().map_or(Projected::Nothing, Projected::Value),
    }
}
