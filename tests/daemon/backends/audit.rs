//! The judge: what changed a group, in the order of its effects, from the recorded calls and what people did, against
//! what boto3 reads and what Prometheus answers. Nothing here asks skala.

use super::policy::Policy;
use super::prometheus::Prometheus;
use super::proxy::Call;
use super::scene::Scene;
use super::stand::{Looker, Stand};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Seconds between a decision and its call, at most: the fresh read, the look for other controllers, the claim.
const DECISION_TO_CALL: f64 = 1.0;
/// A window is seen at its cycles: the oldest one within it may be as much younger than its beginning.
const BETWEEN_CYCLES: f64 = 1.2;

/// One change of desired.
#[derive(Clone, Debug)]
pub struct Change {
    /// When its call came, in seconds since the epoch.
    pub at: f64,
    pub from: u32,
    pub to: u32,
    /// Instances that were named.
    pub named: Vec<String>,
    pub by_hand: bool,
}

impl Change {
    fn is_drop(&self) -> bool {
        self.to < self.from && !self.by_hand
    }
}

/// Everything about one group.
pub struct Audit {
    stand: Arc<Stand>,
    looker: Arc<Looker>,
    name: &'static str,
    policy: Policy,
    began: f64,
    max_since: Vec<(f64, u32)>,
    pub changes: Vec<Change>,
    /// Calls that took effect.
    effective: usize,
    first: Vec<String>,
}

impl Audit {
    /// Replays what happened to a scene's group.
    pub fn of(scene: &Scene) -> Self {
        enum Event {
            Call(Call),
            Hand(u32),
        }
        let effective: Vec<Call> = scene.writes().into_iter().filter(|call| call.status == Some(200)).collect();
        let calls = effective.iter().map(|call| (call.effect_at, Event::Call(call.clone())));
        let hands = scene.by_hand.iter().map(|(at, to)| (*at, Event::Hand(*to)));
        let mut events: Vec<(f64, Event)> = calls.chain(hands).collect();
        events.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut desired = u32::try_from(scene.first.len()).unwrap();
        let mut changes = Vec::new();
        for (at, event) in events {
            let (at, to, named, by_hand) = match event {
                Event::Hand(to) => (at, to, Vec::new(), true),
                Event::Call(call) => {
                    let named: Vec<String> = call.instances().into_iter().map(str::to_owned).collect();
                    let to = match call.params.get("DesiredCapacity") {
                        Some(to) => to.parse().unwrap(),
                        None => desired - u32::try_from(named.len()).unwrap(),
                    };
                    (call.at, to, named, false)
                }
            };
            changes.push(Change { at, from: desired, to, named, by_hand });
            desired = to;
        }
        Self {
            stand: Arc::clone(&scene.stand),
            looker: Arc::clone(&scene.looker),
            name: scene.name,
            policy: scene.policy.clone(),
            began: scene.began,
            max_since: scene.max_since.clone(),
            changes,
            effective: effective.len(),
            first: scene.first.clone(),
        }
    }

    /// The changes that took instances away, skala's own.
    pub fn drops(&self) -> Vec<&Change> {
        self.changes.iter().filter(|change| change.is_drop()).collect()
    }

    /// The changes that added instances, skala's own.
    pub fn raises(&self) -> Vec<&Change> {
        self.changes.iter().filter(|change| change.to > change.from && !change.by_hand).collect()
    }

    /// Every call that took effect changed something once, and the group is as the calls say.
    pub fn assert_counted(&self) {
        let name = self.name;
        let shown = || format!("{:#?}", self.changes);
        let mut named = BTreeSet::new();
        for change in self.changes.iter().filter(|change| !change.by_hand) {
            assert_ne!(change.from, change.to, "{name}: a call that was made before\n{}", shown());
            if change.to < change.from {
                assert!(!change.named.is_empty(), "{name}: desired was lowered without names\n{}", shown());
            }
            for id in &change.named {
                assert!(named.insert(id.clone()), "{name}: {id} was terminated twice\n{}", shown());
            }
        }
        let hands = self.changes.iter().filter(|change| change.by_hand).count();
        assert_eq!(self.effective + hands, self.changes.len(), "{name}");
        let group = self.looker.cloud.group(name);
        let last = self.changes.last().map_or(u32::try_from(self.first.len()).unwrap(), |change| change.to);
        assert_eq!(group.desired, last, "{name}: desired is not what the calls made it\n{}", shown());
        let added: u32 = self.changes.iter().map(|change| change.to.saturating_sub(change.from)).sum();
        let ever = self.looker.ever(name).len();
        assert_eq!(ever, self.first.len() + added as usize, "{name}: instances ever launched\n{}", shown());
        let there: BTreeSet<String> = group.ids().into_iter().collect();
        let back: Vec<&String> = named.intersection(&there).collect();
        assert!(back.is_empty(), "{name}: {back:?} were terminated and are there\n{}", shown());
    }

    /// Every drop had fresh readings over the whole window that all needed no more than the new value, by Prometheus'
    /// own account of what was served: the fleet's own, or the shared one.
    pub fn assert_drops_justified(&self, own: Option<&Prometheus>) {
        for drop in self.drops() {
            self.assert_justified(drop, own.unwrap_or(&self.stand.prometheus));
        }
    }

    fn assert_justified(&self, drop: &Change, prometheus: &Prometheus) {
        let Policy { query, target, .. } = &self.policy;
        let window = self.policy.window_secs();
        let name = self.name;
        let (from, to) = (drop.at - window + BETWEEN_CYCLES, drop.at - DECISION_TO_CALL);
        let after = drop.at - self.began;
        let values = prometheus.range(query, from, to);
        let max =
            self.max_since.iter().rev().find(|(at, _)| *at < drop.at).map_or(f64::MAX, |(_, max)| f64::from(*max));
        let what = || format!("{name}: at {after:.2} s desired went {} -> {}: {values:?}", drop.from, drop.to);
        assert!(values.len() as f64 >= (to - from).floor(), "{} has a gap", what());
        for (_, value) in &values {
            assert!(value.is_finite(), "{} is no number", what());
            let needed = (value / target - 1e-9).ceil().min(max);
            assert!(needed <= f64::from(drop.to), "{} needed {needed}", what());
        }
        let selector = format!("rps{{fleet=\"{name}\"}}");
        for (_, age) in prometheus.range(&format!("time() - max(timestamp({selector}))"), from, to) {
            assert!(age <= 5.0, "{} was {age} s old", what());
        }
        let named = drop.from - drop.to;
        assert_eq!(drop.named.len() as u32, named, "{}: by named instances", what());
    }

    /// No more than `instances` were taken in any `per` seconds.
    pub fn assert_pace(&self, instances: u32, per: f64) {
        // Rates are booked at decisions; their calls come a varying moment later.
        let jitter = 0.5;
        let drops = self.drops();
        for (at, first) in drops.iter().enumerate() {
            let within = drops[at..].iter().take_while(|drop| drop.at < first.at + per - jitter);
            let taken: u32 = within.map(|drop| drop.from - drop.to).sum();
            assert!(taken <= instances, "{}: {taken} within {per} s: {drops:#?}", self.name);
        }
    }
}
