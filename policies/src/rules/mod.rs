//! One recommendation for each rule, side by side: no rule sees another's answer, and their order never matters.

mod busy;
mod calendar;
mod erlang;
mod expression;
mod guard;
mod latency;
mod members;
mod objective;
mod per_instance;
mod queue;
mod reading;
mod schedule;
mod step;
mod utilization;

pub(crate) use expression::projected as expression_projected;
pub(crate) use guard::{GuardState, guard};
pub(crate) use objective::{learn, learn_history};
pub(crate) use schedule::limits;
pub(crate) use step::projected as step_projected;

use crate::facts::{FleetFacts, MissingWhy};
use crate::memory::FleetMemory;
use crate::observe::View;
use crate::policy::{Metric, Policy, RuleKind, Tolerance, Unit};
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
            RuleKind::Queue(queue) => queue::recommend(context, queue),
            RuleKind::Latency(latency) => latency::recommend(context, latency),
            RuleKind::Expression(expression) => expression::recommend(context, expression),
            RuleKind::Objective(objective) => objective::recommend(context, &rule.name, objective),
            RuleKind::Schedule(_) | RuleKind::Guard { .. } => continue,
        };
        answers.push(Recommendation { rule: u16::try_from(at).unwrap_or(u16::MAX), answer });
    }
    answers
}

/// From this share of the capacity on, a measured load is censored: the true one is at least this (safety.md).
const SATURATED: f64 = 0.95;

/// Whether an average is so near to all that there is that the true load may be any higher. Only a share can be: of a
/// count or a duration nobody knows what all would be.
fn is_saturated(unit: Unit, value: f64) -> bool {
    matches!(unit, Unit::Ratio | Unit::Percent) && value >= SATURATED
}

/// A reading of which a rule needs one value.
#[derive(Clone, Copy, Debug)]
struct Input {
    /// A percentage as a ratio.
    value: f64,
    at: Timestamp,
    /// It covers enough instances to recommend less.
    covers: bool,
}

/// One value of a metric, or the answer that it is unknown.
fn input(context: &Context<'_>, index: u16) -> Result<Input, Answer> {
    let metric = context.metric(index);
    match reading::judge(metric, &context.facts.readings[usize::from(index)], context.now) {
        Err(why) => Err(Context::unknown(index, why)),
        Ok(reading::Usable::Each { .. }) => Err(Context::unknown(index, UnknownWhy::Missing(MissingWhy::WrongShape))),
        Ok(reading::Usable::One { value, at, members }) => {
            Ok(Input { value, at, covers: per_instance::covers_enough(context, metric, at, members) })
        }
    }
}

/// The least whole number of instances that carries `needed`. A relative 1e-12 absorbs the error of one division, so
/// that three times a share is three instances, not four.
fn whole(needed: f64) -> Capacity {
    // Before the subtraction: of infinities it makes NaN, which would be taken for 0.
    if needed >= f64::from(CAPACITY_MAX) {
        return CAPACITY_MAX;
    }
    (needed - needed.abs() * 1e-12).ceil().max(0.0) as Capacity
}

/// Whether `needed` is within the tolerance of `current`.
fn tolerated(needed: f64, current: Capacity, tolerance: Tolerance) -> bool {
    if current == 0 {
        return false;
    }
    let ratio = needed / f64::from(current);
    ratio <= 1.0 + tolerance.out + 1e-9 && ratio >= 1.0 - tolerance.r#in - 1e-9
}
