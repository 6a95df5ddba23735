//! Which instances leave: failed ones, then booting ones, then outdated ones, then those still warming up, then by age
//! from the zone that has the most. Never a protected one, never one that is already leaving.

use crate::policy::Age;
use contract::{Capacity, Instance, InstanceId, InstanceState, Observation, Timestamp};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// Why an instance was chosen to leave; the first that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VictimWhy {
    /// It is broken.
    Failed,
    /// It has not booted yet.
    Booting,
    /// It is of an older template.
    Outdated,
    /// It does not serve yet.
    WarmingUp,
    /// Its zone has more than any other.
    CrowdedZone,
    /// Only its age tells it from the others.
    Age,
    /// It was chosen before, and has let go of its work.
    Drained,
    /// It was chosen before, and has not let go of its work in time.
    NotDrained,
}

impl VictimWhy {
    /// The reason as it is printed.
    pub fn text(self) -> &'static str {
        match self {
            VictimWhy::Failed => "failed",
            VictimWhy::Booting => "not booted yet",
            VictimWhy::Outdated => "of an older template",
            VictimWhy::WarmingUp => "not serving yet",
            VictimWhy::CrowdedZone => "in the zone with the most",
            VictimWhy::Age => "by its age",
            VictimWhy::Drained => "has drained",
            VictimWhy::NotDrained => "has not drained in time",
        }
    }
}

/// Chooses `n` instances to remove, in the order in which they were chosen.
pub(super) fn choose(
    observation: &Observation,
    n: Capacity,
    warmup: Duration,
    first: Age,
) -> Vec<(InstanceId, VictimWhy)> {
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    for instance in observation.alive() {
        *zones.entry(zone(instance)).or_default() += 1;
    }
    let mut candidates: Vec<&Instance> = observation
        .instances
        .iter()
        .filter(|instance| instance.state != InstanceState::Terminating && !instance.protected)
        .collect();
    // Where skala keeps desired, only what lives counts: one that is broken is none of the `n`, and goes besides. Taken for
    // one of them it would leave an instance more than desired, and nothing removes that.
    let is_failed = |instance: &&&Instance| instance.state == InstanceState::Failed;
    let besides = if observation.abilities.keeps_desired { 0 } else { candidates.iter().filter(is_failed).count() };
    let mut chosen = Vec::new();
    while chosen.len() < n as usize + besides {
        let crowd = |instance: &Instance| zones.get(zone(instance)).copied().unwrap_or(0);
        let best = candidates.iter().enumerate().min_by_key(|(_, instance)| {
            (rank(instance, observation, warmup), Reverse(crowd(instance)), age(instance, first), &instance.id)
        });
        let Some((at, _)) = best else { break };
        let instance = candidates.swap_remove(at);
        let alone = |other: &&Instance| crowd(other) < crowd(instance);
        let why = match rank(instance, observation, warmup) {
            VictimWhy::Age if !candidates.is_empty() && candidates.iter().any(alone) => VictimWhy::CrowdedZone,
            rank => rank,
        };
        if let Some(crowd) = zones.get_mut(zone(instance)) {
            *crowd = crowd.saturating_sub(1);
        }
        chosen.push((instance.id.clone(), why));
    }
    chosen
}

fn zone(instance: &Instance) -> &str {
    instance.zone.as_deref().unwrap_or("")
}

/// Smaller leaves first. One whose launch time is unknown is taken for old.
fn age(instance: &Instance, first: Age) -> (Reverse<Option<Timestamp>>, Option<Timestamp>) {
    match first {
        Age::Newest => (Reverse(instance.launched), None),
        Age::Oldest => (Reverse(None), instance.launched),
    }
}

fn rank(instance: &Instance, observation: &Observation, warmup: Duration) -> VictimWhy {
    match instance.state {
        InstanceState::Failed => VictimWhy::Failed,
        InstanceState::Pending => VictimWhy::Booting,
        _ if instance.outdated => VictimWhy::Outdated,
        _ if instance.running_since.is_some_and(|since| observation.at.since(since) < warmup) => VictimWhy::WarmingUp,
        _ => VictimWhy::Age,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_one_is_among_those_that_leave_only_where_the_cloud_counts_it() {
        let instance = |id: &str, state: InstanceState| Instance {
            id: id.into(),
            state,
            launched: None,
            running_since: None,
            zone: None,
            protected: id == "kept",
            outdated: false,
        };
        let mut seen = Observation::empty(Timestamp(0));
        seen.instances = vec![
            instance("a", InstanceState::Running),
            instance("b", InstanceState::Running),
            instance("broken", InstanceState::Failed),
            instance("kept", InstanceState::Failed),
        ];
        let check = |seen: &Observation, expected: &[&str]| {
            let chosen = choose(seen, 1, Duration::ZERO, Age::Newest).into_iter().map(|(id, _)| id);
            assert_eq!(chosen.collect::<Vec<_>>(), expected.iter().map(|id| InstanceId::from(*id)).collect::<Vec<_>>());
        };
        check(&seen, &["broken"]);
        seen.abilities.keeps_desired = false;
        check(&seen, &["broken", "a"]);
    }
}
