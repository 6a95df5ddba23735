//! `utilization` with one value per instance: the Kubernetes HPA's four sets of members (its `groupPods` and
//! `calcPlainMetricReplicas`), which keep a rolling update or a lost exporter from turning into a scale-in.

use super::reading::in_range;
use super::{Context, is_saturated, whole};
use crate::facts::GroupFact;
use crate::policy::{Tolerance, Unit};
use crate::trace::{Answer, Calculation, UnknownWhy};
use contract::{Capacity, Instance, InstanceId, InstanceState};

/// The members' sets, counted by weight; the ready ones with the sum of their values.
#[derive(Default)]
pub(super) struct Sets {
    pub ready: Capacity,
    pub sum: f64,
    pub missing: Capacity,
    pub unready: Capacity,
}

impl Sets {
    /// Whether enough of those that serve have a value.
    pub fn covers(&self, min_members: f64) -> bool {
        f64::from(self.ready) + 1e-9 >= min_members * f64::from(self.ready + self.missing)
    }
}

pub(super) fn recommend(
    context: &Context<'_>,
    metric: u16,
    values: &[(InstanceId, f64)],
    target: f64,
    tolerance: Tolerance,
) -> Answer {
    let unit = context.metric(metric).unit;
    let sets = sets(context, values, unit);
    if sets.ready == 0 {
        // The HPA: no scaling without one ready member.
        return Context::unknown(metric, UnknownWhy::NothingServing);
    }
    let ready_mean = sets.sum / f64::from(sets.ready);
    let raw = proposal(&sets, context.current, target, tolerance, unit);
    let calculation = Calculation::Members {
        ready_mean,
        ready: sets.ready,
        missing: sets.missing,
        unready: sets.unready,
        target,
        kept: raw.is_none(),
    };
    let mut value = raw.unwrap_or(context.current);
    if ready_mean > target || is_saturated(unit, ready_mean) {
        value = value.max(context.current);
    }
    if sets.covers(context.metric(metric).min_members) {
        Answer::Value(value, calculation)
    } else {
        Answer::OutOnly(value.max(context.current), calculation)
    }
}

/// Sorts instances into the sets. Terminating and failed ones are left out; pending ones and those in warm-up are not
/// ready; a serving one whose value is absent or impossible is missing.
pub(super) fn sets(context: &Context<'_>, values: &[(InstanceId, f64)], unit: Unit) -> Sets {
    let mut sets = Sets::default();
    let observed = context.facts.groups.iter().zip(&context.policy.groups).filter_map(|(fact, own)| match fact {
        GroupFact::Observed(observation) => Some((*observation, own.weight)),
        GroupFact::Unknown(_) => None,
    });
    for (instance, weight) in observed.flat_map(|(o, weight)| o.instances.iter().map(move |one| (one, weight))) {
        match instance.state {
            InstanceState::Terminating | InstanceState::Failed => {}
            InstanceState::Pending => sets.unready += weight,
            InstanceState::Running if !is_warm(context, instance) => sets.unready += weight,
            InstanceState::Running => {
                let value = values.iter().find(|(id, _)| *id == instance.id).map(|(_, value)| *value);
                match value.filter(|value| in_range(*value, unit).is_ok()) {
                    Some(value) => {
                        sets.ready += weight;
                        sets.sum += value / unit.full() * f64::from(weight);
                    }
                    None => sets.missing += weight,
                }
            }
        }
    }
    // What serves in a group that could not be read is as busy as the others, as far as anybody knows.
    let seen = context.view.stands.iter().zip(&context.policy.groups).zip(&context.facts.groups);
    let unread = seen.filter(|(_, fact)| matches!(fact, GroupFact::Unknown(_)));
    let unread: Capacity = unread.map(|((stand, own), _)| stand.serving * own.weight).sum();
    if unread > 0 && sets.ready > 0 {
        sets.sum += sets.sum / f64::from(sets.ready) * f64::from(unread);
        sets.ready += unread;
    }
    sets
}

pub(super) fn is_warm(context: &Context<'_>, instance: &Instance) -> bool {
    let since = instance.running_since.or_else(|| context.memory.first_running.get(&instance.id).copied());
    since.is_some_and(|since| since <= context.now && context.now.since(since) >= context.policy.warmup)
}

/// The HPA's proposal; `None`: nothing changes.
fn proposal(sets: &Sets, current: Capacity, target: f64, tolerance: Tolerance, unit: Unit) -> Option<Capacity> {
    let within = |ratio: f64| ratio <= 1.0 + tolerance.out + 1e-9 && ratio >= 1.0 - tolerance.r#in - 1e-9;
    let ratio = sets.sum / f64::from(sets.ready) / target;
    let dampen = sets.unready > 0 && ratio > 1.0;
    if !dampen && sets.missing == 0 {
        return (!within(ratio)).then(|| whole(ratio * f64::from(sets.ready)));
    }
    // A missing member is taken as full when its absence could remove machines, and as idle when it could add some.
    let full = match unit {
        Unit::Ratio | Unit::Percent => target.max(1.0),
        Unit::Count | Unit::Seconds => target,
    };
    let mut sum = sets.sum;
    if ratio < 1.0 {
        sum += full * f64::from(sets.missing);
    }
    let mut members = sets.ready;
    if ratio != 1.0 {
        members += sets.missing;
    }
    if dampen {
        members += sets.unready;
    }
    let corrected = sum / f64::from(members) / target;
    let flipped = (ratio < 1.0 && corrected > 1.0) || (ratio > 1.0 && corrected < 1.0);
    if within(corrected) || flipped {
        return None;
    }
    let proposed = whole(corrected * f64::from(members));
    let contradicts = (corrected < 1.0 && proposed > current) || (corrected > 1.0 && proposed < current);
    (!contradicts).then_some(proposed)
}
