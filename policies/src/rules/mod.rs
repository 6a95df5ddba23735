//! One recommendation for each rule, side by side: no rule sees another's answer, and their order never matters.

mod guard;
mod members;
mod objective;
mod per_instance;
mod reading;
mod schedule;
mod step;
mod utilization;

pub(crate) use guard::{GuardState, guard};
pub(crate) use objective::{learn, learn_history};
pub(crate) use schedule::limits;
pub(crate) use step::matched as step_matched;

use crate::facts::FleetFacts;
use crate::memory::FleetMemory;
use crate::observe::View;
use crate::policy::{Metric, Policy, RuleKind, Tolerance};
use crate::trace::{Answer, Recommendation, UnknownWhy};
use contract::{CAPACITY_MAX, Capacity, Timestamp};

/// What a rule may look at.
pub(crate) struct Context<'a> {
    pub policy: &'a Policy,
    pub facts: &'a FleetFacts<'a>,
    pub memory: &'a FleetMemory,
    pub view: &'a View,
    pub now: Timestamp,
    pub current: Capacity,
}

impl<'a> Context<'a> {
    fn metric(&self, index: u16) -> &'a Metric {
        &self.policy.metrics[usize::from(index)]
    }

    /// Serving instances at a reading's own time, from the stored history.
    fn serving_at(&self, at: Timestamp) -> Capacity {
        self.memory.serving.level_at(at).unwrap_or(self.view.serving)
    }

    fn unknown(index: u16, why: UnknownWhy) -> Answer {
        Answer::Unknown(index, why)
    }
}

/// All rules' answers, in the policy's order; guards and schedules recommend nothing.
pub(crate) fn recommend(context: &Context<'_>) -> Vec<Recommendation> {
    let mut answers = Vec::with_capacity(context.policy.rules.len());
    for (at, rule) in context.policy.rules.iter().enumerate() {
        let answer = match &rule.kind {
            RuleKind::Utilization { metric, target, tolerance } => {
                utilization::recommend(context, *metric, *target, *tolerance)
            }
            RuleKind::PerInstance { metric, target, tolerance } => {
                per_instance::recommend(context, *metric, *target, *tolerance)
            }
            RuleKind::Step { metric, steps } => step::recommend(context, &rule.name, *metric, steps),
            RuleKind::Objective(objective) => objective::recommend(context, &rule.name, objective),
            RuleKind::Schedule(_) | RuleKind::Guard { .. } => continue,
        };
        answers.push(Recommendation { rule: u16::try_from(at).unwrap_or(u16::MAX), answer });
    }
    answers
}

/// The least whole number of instances that carries `needed`. A relative 1e-12 absorbs the error of one division, so
/// that three times a share is three instances, not four.
fn whole(needed: f64) -> Capacity {
    let whole = (needed - needed.abs() * 1e-12).ceil();
    if whole >= f64::from(CAPACITY_MAX) { CAPACITY_MAX } else { whole.max(0.0) as Capacity }
}

/// Whether `needed` is within the tolerance of `current`.
fn tolerated(needed: f64, current: Capacity, tolerance: Tolerance) -> bool {
    if current == 0 {
        return false;
    }
    let ratio = needed / f64::from(current);
    ratio <= 1.0 + tolerance.out + 1e-9 && ratio >= 1.0 - tolerance.r#in - 1e-9
}
