//! `step`: a table of thresholds. Of the rows above, the highest that is met counts; of those below, the lowest.

use super::Context;
use super::per_instance::covers_enough;
use super::reading::{Usable, judge};
use crate::facts::MissingWhy;
use crate::policy::{Amount, Change, StepRow, Threshold};
use crate::trace::{Answer, Calculation, UnknownWhy};
use contract::{CAPACITY_MAX, Capacity};

pub(super) fn recommend(context: &Context<'_>, rule: &str, metric: u16, steps: &[StepRow]) -> Answer {
    let (value, at, members) =
        match judge(context.metric(metric), &context.facts.readings[usize::from(metric)], context.now) {
            Err(why) => return Context::unknown(metric, why),
            Ok(Usable::Each { .. }) => {
                return Context::unknown(metric, UnknownWhy::Missing(MissingWhy::WrongShape));
            }
            Ok(Usable::One { value, at, members }) => (value, at, members),
        };
    let Some(row) = matched(steps, value) else { return Answer::Abstain(value) };
    // What this rule asked for and is still warming up counts against the step, so it is not added again every cycle of
    // a boot.
    let asked = context.memory.steps.get(rule).copied().unwrap_or(0);
    let warming = asked.min(context.view.warming());
    let raw = changed(steps[row].change, context.current, warming);
    let calculation = Calculation::Step { value, row: u16::try_from(row).unwrap_or(u16::MAX), warming };
    if covers_enough(context, context.metric(metric), at, members) {
        Answer::Value(raw, calculation)
    } else {
        Answer::OutOnly(raw.max(context.current), calculation)
    }
}

/// What the rule says of a value at another capacity, of which nothing is warming; `None`: nothing.
pub(crate) fn projected(steps: &[StepRow], value: f64, at: Capacity) -> Option<Capacity> {
    matched(steps, value).map(|row| changed(steps[row].change, at, 0))
}

/// The row that counts for a value.
fn matched(steps: &[StepRow], value: f64) -> Option<usize> {
    let met = |above: bool| {
        steps.iter().enumerate().filter_map(move |(at, row)| match row.when {
            Threshold::Above(limit) if above && value > limit => Some((at, limit)),
            Threshold::Below(limit) if !above && value < limit => Some((at, limit)),
            _ => None,
        })
    };
    let highest = met(true).max_by(|a, b| a.1.total_cmp(&b.1));
    let lowest = met(false).min_by(|a, b| a.1.total_cmp(&b.1));
    highest.or(lowest).map(|(at, _)| at)
}

fn changed(change: Change, current: Capacity, warming: Capacity) -> Capacity {
    match change {
        Change::Add(amount) => {
            let base = current.saturating_sub(warming);
            let added = match amount {
                Amount::Instances(n) => n,
                Amount::Percent(percent) => share(base, percent).ceil().max(1.0) as Capacity,
            };
            base.saturating_add(added).max(current).min(CAPACITY_MAX)
        }
        Change::Remove(amount) => {
            let removed = match amount {
                Amount::Instances(n) => n,
                Amount::Percent(percent) => share(current, percent).floor().max(1.0) as Capacity,
            };
            current.saturating_sub(removed)
        }
    }
}

/// A percentage of a capacity, free of the rounding error of one product: 10 % of 30 is 3, not 3.0000000000000004.
fn share(capacity: Capacity, percent: f64) -> f64 {
    let share = f64::from(capacity) * percent / 100.0;
    let nearest = share.round();
    if (share - nearest).abs() < 1e-9 { nearest } else { share }
}
