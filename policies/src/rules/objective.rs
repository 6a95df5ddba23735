//! `objective`: forecast the fleet's work as far ahead as a decision takes to have effect, and add the head-room that
//! keeps utilization under the limit for the wanted share of minutes. No count enters it, so instances that still boot
//! are not asked for twice.

use super::per_instance::covers_enough;
use super::reading::{FUTURE_MAX, Usable, in_range, judge};
use super::{Context, whole};
use crate::facts::{FleetFacts, MissingWhy};
use crate::forecast::{Grid, Learned, Outlook, Terms};
use crate::memory::FleetMemory;
use crate::observe::View;
use crate::policy::{Objective, Policy, RuleKind};
use crate::trace::{Answer, Bound, Calculation, Forecaster, UnknownWhy};
use contract::{CAPACITY_MAX, Timestamp};
use std::time::Duration;

/// A total of this much of what the serving instances can do may be all that they can do (decisions.md section 3, 1).
const CENSORED: f64 = 0.95;
/// What a censored total is multiplied with.
const CENSORED_FACTOR: f64 = 2.0;
/// A total of this much of what all instances asked for could do shows that the metric is no measure of work done.
const BEYOND: f64 = 1.05;

fn objectives(policy: &Policy) -> impl Iterator<Item = (&str, &Objective)> {
    policy.rules.iter().filter_map(|rule| match &rule.kind {
        RuleKind::Objective(objective) => Some((rule.name.as_ref(), objective)),
        _ => None,
    })
}

/// What the rule asks for at a time, and the steps that its forecasts count in.
fn terms(policy: &Policy, objective: &Objective, learned: &Learned, at: Timestamp) -> (Terms, Grid) {
    let time = jiff::Timestamp::from_microsecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let terms = Terms {
        share: objective.share(),
        coverage: objective.coverage,
        headroom_max: objective.headroom_max,
        min: policy.min,
        window: policy.scale_in_window(),
        offset_secs: i64::from(objective.tz.to_offset(time).seconds()),
    };
    let grid = learned.delays.grid(policy, terms.window);
    (terms, grid)
}

/// The fleet's total, when it is known and covers enough instances; its time and whether it covers them.
fn total(context: &Context<'_>, objective: &Objective) -> Result<(f64, Timestamp, bool), UnknownWhy> {
    let metric = context.metric(objective.metric);
    match judge(metric, &context.facts.readings[usize::from(objective.metric)], context.now)? {
        Usable::Each { .. } => Err(UnknownWhy::Missing(MissingWhy::WrongShape)),
        Usable::One { value, at, members } => Ok((value, at, covers_enough(context, metric, at, members))),
    }
}

/// Takes this cycle's readings and boots into what the objectives have learned, before any rule is asked.
pub(crate) fn learn(
    policy: &Policy,
    facts: &FleetFacts<'_>,
    view: &View,
    memory: &mut FleetMemory,
    (last, now): (Option<Timestamp>, Timestamp),
) {
    if objectives(policy).next().is_none() {
        return;
    }
    let mut known = std::mem::take(&mut memory.objectives);
    let current = view.current.as_ref().map_or(0, |current| *current);
    let context = Context { policy, facts, memory, view, now, current };
    for (name, objective) in objectives(policy) {
        let learned = known.entry(name.into()).or_default();
        learned.forget_after(now.after(FUTURE_MAX));
        learned.delays.observe(policy, facts, last, now);
        // A total over too few instances is no total.
        if let Ok((value, at, true)) = total(&context, objective) {
            learned.delays.observe_lag(now.since(at));
            let most = f64::from(current.max(context.serving_at(at)));
            learned.tells_demand |= current > 0 && value > BEYOND * most * objective.capacity;
            let (terms, grid) = terms(policy, objective, learned, at);
            learned.take(value, at, &terms, &grid);
        }
    }
    memory.objectives = known;
}

/// Takes recorded values of one metric, oldest first. They teach forecasters and nothing else: no window counts them.
pub(crate) fn learn_history(policy: &Policy, memory: &mut FleetMemory, metric: u16, values: &[(Timestamp, f64)]) {
    for (name, objective) in objectives(policy).filter(|(_, objective)| objective.metric == metric) {
        let learned = memory.objectives.entry(name.into()).or_default();
        let unit = policy.metrics[usize::from(metric)].unit;
        for (at, value) in values.iter().filter(|(_, value)| in_range(*value, unit).is_ok()) {
            let (terms, grid) = terms(policy, objective, learned, *at);
            learned.take(*value / unit.full(), *at, &terms, &grid);
        }
    }
}

pub(super) fn recommend(context: &Context<'_>, rule: &str, objective: &Objective) -> Answer {
    let (now, at, covered) = match total(context, objective) {
        Err(why) => return Context::unknown(objective.metric, why),
        Ok(total) => total,
    };
    let share = objective.share();
    let empty = Learned::default();
    let learned = context.memory.objectives.get(rule).unwrap_or(&empty);
    let (terms, grid) = terms(context.policy, objective, learned, context.now);
    let nothing = Outlook {
        capacity: whole(now / share),
        forecaster: Forecaster::Level,
        load: now,
        headroom: 0.0,
        bound: Bound::Present,
    };
    let outlook = learned.outlook(now, &terms, &grid).unwrap_or(nothing);
    let mut capacity = outlook.capacity.max(whole(now / share)).min(CAPACITY_MAX);
    let mut bound = outlook.bound;
    let done = f64::from(context.serving_at(at)) * objective.capacity;
    // A fleet that is meant to be fuller than that is not full at its own target.
    let full = CENSORED.max(objective.utilization + 0.02);
    if !learned.tells_demand && done > 0.0 && now >= full * done {
        bound = Bound::Censored;
        capacity = capacity.max(whole(CENSORED_FACTOR * now / share)).max(context.current);
    }
    let ahead = Duration::from_secs(grid.step.unsigned_abs() * grid.ahead as u64);
    let calculation = Calculation::Objective {
        forecaster: outlook.forecaster,
        load: outlook.load,
        ahead,
        headroom: outlook.headroom,
        share,
        now,
        bound,
    };
    if covered {
        Answer::Value(capacity, calculation)
    } else {
        Answer::OutOnly(capacity.max(context.current), calculation)
    }
}
