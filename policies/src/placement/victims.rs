//! Which instances leave: failed ones, then booting ones, then outdated ones, then those still warming up, then the
//! newest of the zone that has the most. Never a protected one, never one that is already leaving.

use contract::{Capacity, Instance, InstanceId, InstanceState, Observation};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// Chooses `n` instances to remove, in the order in which they were chosen.
pub(super) fn choose(observation: &Observation, n: Capacity, warmup: Duration) -> Vec<InstanceId> {
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
        let best = candidates.iter().enumerate().min_by_key(|(_, instance)| {
            let crowd = zones.get(zone(instance)).copied().unwrap_or(0);
            (rank(instance, observation, warmup), Reverse(crowd), Reverse(instance.launched), &instance.id)
        });
        let Some((at, _)) = best else { break };
        let instance = candidates.swap_remove(at);
        if let Some(crowd) = zones.get_mut(zone(instance)) {
            *crowd = crowd.saturating_sub(1);
        }
        chosen.push(instance.id.clone());
    }
    chosen
}

fn zone(instance: &Instance) -> &str {
    instance.zone.as_deref().unwrap_or("")
}

fn rank(instance: &Instance, observation: &Observation, warmup: Duration) -> u8 {
    match instance.state {
        InstanceState::Failed => 0,
        InstanceState::Pending => 1,
        _ if instance.outdated => 2,
        _ if instance.running_since.is_some_and(|since| observation.at.since(since) < warmup) => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Timestamp;

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
            let chosen = choose(seen, 1, Duration::ZERO);
            assert_eq!(chosen, expected.iter().map(|id| InstanceId::from(*id)).collect::<Vec<_>>());
        };
        check(&seen, &["broken"]);
        seen.abilities.keeps_desired = false;
        check(&seen, &["broken", "a"]);
    }
}
