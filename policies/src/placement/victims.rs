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
    let mut chosen = Vec::new();
    while chosen.len() < n as usize {
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
