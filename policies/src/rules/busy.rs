//! How busy the serving instances are, on average: what `learn_from` says.

use super::per_instance::covers_enough;
use super::reading::{Usable, in_range, judge};
use super::{Context, members};
use crate::facts::GroupFact;
use crate::trace::UnknownWhy;
use contract::{Capacity, InstanceState, Timestamp};

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
            let observed = context.facts.groups.iter().filter_map(|fact| match fact {
                GroupFact::Observed(observation) => Some(*observation),
                GroupFact::Unknown(_) => None,
            });
            let (mut sum, mut known, mut serving) = (0.0, 0.0, 0.0);
            for instance in observed.flat_map(|o| &o.instances) {
                if instance.state != InstanceState::Running || !members::is_warm(context, instance) {
                    continue;
                }
                serving += 1.0;
                let value = values.iter().find(|(id, _)| *id == instance.id).map(|(_, value)| *value);
                if let Some(value) = value.filter(|value| in_range(*value, metric.unit).is_ok()) {
                    sum += value / metric.unit.full();
                    known += 1.0;
                }
            }
            if known == 0.0 {
                return Err(UnknownWhy::NothingServing);
            }
            (sum / known, at, known + 1e-9 >= metric.min_members * serving)
        }
    };
    match context.serving_at(at) {
        0 => Err(UnknownWhy::NothingServing),
        serving => Ok(Busy { value, at, serving, covers }),
    }
}
