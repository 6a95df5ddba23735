//! `per-instance`: the fleet's total divided by what one instance should carry. No count enters it, so instances that
//! still boot are not asked for twice.

use super::reading::{Usable, judge};
use super::{Context, tolerated, whole};
use crate::facts::MissingWhy;
use crate::policy::{Metric, Tolerance};
use crate::trace::{Answer, Calculation, UnknownWhy};
use contract::Timestamp;

pub(super) fn recommend(context: &Context<'_>, metric: u16, target: f64, tolerance: Tolerance) -> Answer {
    let (total, at, members) =
        match judge(context.metric(metric), &context.facts.readings[usize::from(metric)], context.now) {
            Err(why) => return Context::unknown(metric, why),
            Ok(Usable::Each { .. }) => {
                return Context::unknown(metric, UnknownWhy::Missing(MissingWhy::WrongShape));
            }
            Ok(Usable::One { value, at, members }) => (value, at, members),
        };
    let needed = total / target;
    let tolerated = tolerated(needed, context.current, tolerance);
    let raw = if tolerated { context.current } else { whole(needed) };
    let calculation = Calculation::PerInstance { total, target, tolerated };
    if covers_enough(context, context.metric(metric), at, members) {
        Answer::Value(raw, calculation)
    } else {
        Answer::OutOnly(raw.max(context.current), calculation)
    }
}

/// Whether the value covers enough of the instances that served at its time to recommend less. A count of members that
/// was asked for and did not come is not enough: unknown is never all.
pub(super) fn covers_enough(context: &Context<'_>, metric: &Metric, at: Timestamp, members: Option<f64>) -> bool {
    if metric.members.is_none() && members.is_none() {
        return true;
    }
    let serving = f64::from(context.serving_at(at)) * context.view.instances_per_unit();
    members.is_some_and(|members| members + 1e-9 >= metric.min_members * serving)
}
