//! `utilization`: keep an average over instances at a target. The work it stands for is value x serving at the reading's
//! own time, so a fleet that grew meanwhile is not asked for twice.

use super::members;
use super::per_instance::covers_enough;
use super::reading::{Usable, judge};
use super::{Context, is_saturated, tolerated, whole};
use crate::policy::Tolerance;
use crate::trace::{Answer, Calculation, UnknownWhy};

pub(super) fn recommend(context: &Context<'_>, metric: u16, target: f64, tolerance: Tolerance) -> Answer {
    let (value, at, count) =
        match judge(context.metric(metric), &context.facts.readings[usize::from(metric)], context.now) {
            Err(why) => return Context::unknown(metric, why),
            Ok(Usable::Each { values, .. }) => {
                return members::recommend(context, metric, values, target, tolerance);
            }
            Ok(Usable::One { value, at, members }) => (value, at, members),
        };
    let serving = context.serving_at(at);
    if serving == 0 {
        return Context::unknown(metric, UnknownWhy::NothingServing);
    }
    let needed = value * f64::from(serving) / target;
    let tolerated = tolerated(needed, context.current, tolerance);
    let mut raw = if tolerated { context.current } else { whole(needed) };
    if value > target || is_saturated(context.metric(metric).unit, value) {
        raw = raw.max(context.current);
    }
    let calculation = Calculation::Utilization { value, serving, target, tolerated };
    if covers_enough(context, context.metric(metric), at, count) {
        Answer::Value(raw, calculation)
    } else {
        Answer::OutOnly(raw.max(context.current), calculation)
    }
}
