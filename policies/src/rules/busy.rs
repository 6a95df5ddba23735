//! How busy the serving instances are, on average: what `learn_from` says.

use super::per_instance::covers_enough;
use super::reading::{Usable, judge};
use super::{Context, members};
use crate::trace::UnknownWhy;
use contract::{Capacity, Timestamp};

/// An average utilization.
#[derive(Clone, Copy, Debug)]
pub(super) struct Busy {
    /// 1 is all that there is.
    pub value: f64,
    pub at: Timestamp,
    /// Instances serving at that time.
    pub serving: Capacity,
    /// It covers enough of them.
    pub covers: bool,
}

/// Reads it; with one value per instance it is the mean over those that serve.
pub(super) fn busy(context: &Context<'_>, index: u16) -> Result<Busy, UnknownWhy> {
    let metric = context.metric(index);
    let usable = judge(metric, &context.facts.readings[usize::from(index)], context.now)?;
    let (value, at, covers) = match usable {
        Usable::One { value, at, members } => (value, at, covers_enough(context, metric, at, members)),
        Usable::Each { values, at } => {
            let sets = members::sets(context, values, metric.unit);
            if sets.ready == 0 {
                return Err(UnknownWhy::NothingServing);
            }
            (sets.sum / f64::from(sets.ready), at, sets.covers(metric.min_members))
        }
    };
    match context.serving_at(at) {
        0 => Err(UnknownWhy::NothingServing),
        serving => Ok(Busy { value, at, serving, covers }),
    }
}
