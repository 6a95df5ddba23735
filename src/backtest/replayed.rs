//! skala itself in a backtest: the same three functions as in the daemon, memory and all, once a step. Only the cloud and
//! the readings are the world's.

use super::world::{Scaler, Scene, Seen};
use super::{Feed, Feeds};
use contract::{Capacity, Instance, InstanceId, InstanceState, Observation, Timestamp};
use policies::facts::{FleetFacts, GroupFact, MissingWhy, RawReading};
use policies::memory::{Event, FleetMemory};
use policies::plan::{Action, Budget, Decision, Effect, GroupPlan};
use policies::policy::{Policy, Unit};
use policies::{absorb, propose, settle};
use std::fmt::Write;
use std::sync::Arc;

/// Highest utilization that is shown where the visible metric may exceed what is served: more would be taken for a
/// mistake in the unit (a ratio above 1.5 is missing).
const UTILIZATION_MAX: f64 = 1.5;

/// One change of capacity and what was said for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The step.
    pub step: usize,
    /// Capacity before.
    pub from: Capacity,
    /// Capacity after.
    pub to: Capacity,
    /// The rules' answers, and the stages that changed what came of them.
    pub why: Box<str>,
}

/// A fleet under its policy.
pub struct Replayed<'a> {
    scene: &'a Scene,
    policy: Arc<Policy>,
    feeds: &'a Feeds,
    memory: FleetMemory,
    /// The groups as the cloud shows them; all instances are in the first.
    groups: Vec<Observation>,
    next_id: u64,
    next_due: Timestamp,
    events: Vec<Event>,
    changes: Vec<Change>,
}

impl<'a> Replayed<'a> {
    /// A fleet that has held what the first step needs for an hour.
    pub fn new(scene: &'a Scene, policy: &Arc<Policy>, feeds: &'a Feeds) -> Self {
        let start = scene.time(0);
        let groups = policy.groups.iter().map(|_| Observation::empty(start)).collect();
        let mut fleet = Self {
            scene,
            policy: Arc::clone(policy),
            feeds,
            memory: FleetMemory::default(),
            groups,
            next_id: 0,
            next_due: start,
            events: Vec::new(),
            changes: Vec::new(),
        };
        let launched = start.before(std::time::Duration::from_secs(3_600).max(policy.warmup) + scene.model.boot_delay);
        fleet.launch(scene.first(), launched);
        fleet
    }

    /// The changes so far.
    pub fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    fn launch(&mut self, count: Capacity, at: Timestamp) {
        for _ in 0..count {
            self.next_id += 1;
            let id = InstanceId(format!("i-{}", self.next_id).into());
            let (state, launched) = (InstanceState::Pending, Some(at));
            let instance =
                Instance { id, state, launched, running_since: None, zone: None, protected: false, outdated: false };
            self.groups[0].instances.push(instance);
        }
    }

    /// Shows the groups as they are now.
    fn look(&mut self, now: Timestamp) {
        for group in &mut self.groups {
            group.at = now;
        }
        // It runs before it serves, as in life: what learns how long a boot takes learns no warm-up with it.
        let boot = self.scene.model.boot_delay.saturating_sub(self.scene.model.warming);
        let group = &mut self.groups[0];
        for instance in group.instances.iter_mut().filter(|instance| instance.state == InstanceState::Pending) {
            let up = instance.launched.map(|launched| launched.after(boot)).filter(|up| *up <= now);
            if up.is_some() {
                (instance.state, instance.running_since) = (InstanceState::Running, up);
            }
        }
        group.desired = Some(count(group.instances.len()));
    }

    fn decide(&mut self, seen: &Seen<'_>, now: Timestamp) {
        let each: Vec<Vec<(InstanceId, f64)>> =
            (0..self.policy.metrics.len()).map(|metric| self.each(metric, seen)).collect();
        let readings = each.iter().enumerate().map(|(metric, values)| self.reading(metric, values, seen)).collect();
        let groups = self.groups.iter().map(GroupFact::Observed).collect();
        let facts = FleetFacts::new(now, groups, readings);
        absorb(&self.policy, &mut self.memory, &self.events, now);
        let mut plan = settle(vec![propose(&self.policy, &facts, &self.memory)], Budget::default());
        // One proposal gives one plan.
        let plan = plan.fleets.remove(0);
        self.memory = plan.memory;
        self.events.clear();
        let before = count(self.groups[0].instances.len());
        if let Effect::Act(groups) = &plan.effect {
            for group in groups.iter().filter(|group| !group.actions.is_empty()) {
                self.act(group, now);
            }
        }
        let after = count(self.groups[0].instances.len());
        if after != before {
            let why = reason(&self.policy, &plan.decision).into();
            self.changes.push(Change { step: seen.step, from: before, to: after, why });
        }
    }

    /// The cloud does at once what it is asked to.
    fn act(&mut self, plan: &GroupPlan, now: Timestamp) {
        self.events.push(Event::accepted(plan.group));
        for action in &plan.actions {
            let have = count(self.groups[0].instances.len());
            match action {
                Action::Raise { to } => self.launch(to.saturating_sub(have), now),
                Action::Terminate { instances, .. } => {
                    self.groups[0].instances.retain(|instance| !instances.contains(&instance.id));
                }
                // Launched in order of time: the youngest are last.
                Action::Drain { .. } => {}
                Action::CancelUnfilled { to } | Action::Lower { to } => {
                    self.groups[0].instances.truncate(*to as usize);
                }
            }
        }
    }

    /// What a metric showed of a step.
    fn value(&self, metric: usize, step: usize, seen: &Seen<'_>) -> Option<f64> {
        let served = seen.served.get(step).copied().unwrap_or(0);
        match self.feeds.of(metric) {
            Feed::Load => seen.visible.get(step).copied().flatten(),
            Feed::Series(series) => series.at(self.scene.time(step)),
            Feed::Own(series) => {
                // What was not served is not seen: of this as little as of the load.
                let load = self.scene.load.values[step].filter(|load| *load > 0.0);
                let shown = load.zip(seen.visible.get(step).copied().flatten()).map_or(1.0, |(load, seen)| seen / load);
                series.at(self.scene.time(step)).map(|value| value * shown)
            }
            Feed::Utilization => {
                let load = seen.visible.get(step).copied().flatten()?;
                // An average over no instances is none.
                let each = (served > 0).then(|| load / f64::from(served))?;
                let used = (each / self.scene.model.capacity_per_instance).min(UTILIZATION_MAX);
                Some(match self.policy.metrics[metric].unit {
                    Unit::Ratio => used,
                    Unit::Percent => used * 100.0,
                    Unit::Count | Unit::Seconds => each,
                })
            }
            Feed::Nothing => None,
        }
    }

    /// One value for each instance that served, of a metric that has such.
    fn each(&self, metric: usize, seen: &Seen<'_>) -> Vec<(InstanceId, f64)> {
        let Some(newest) = seen.newest.filter(|_| self.policy.metrics[metric].by.is_some()) else { return Vec::new() };
        let Some(value) = self.value(metric, newest, seen) else { return Vec::new() };
        let served = seen.served.get(newest).copied().unwrap_or(0).max(1);
        let value =
            if matches!(self.feeds.of(metric), Feed::Load | Feed::Own(_)) { value / f64::from(served) } else { value };
        let at = self.scene.time(newest);
        let warming = self.scene.model.warming;
        let serving = |instance: &&Instance| instance.running_since.is_some_and(|since| since.after(warming) <= at);
        self.groups[0].instances.iter().filter(serving).map(|instance| (instance.id.clone(), value)).collect()
    }

    /// The newest visible reading, stamped with the end of the step that it is the mean of.
    fn reading<'r>(&self, metric: usize, values: &'r [(InstanceId, f64)], seen: &Seen<'_>) -> RawReading<'r> {
        let missing = RawReading::Missing(MissingWhy::Empty);
        let Some(newest) = seen.newest else { return missing };
        let at = self.scene.time(newest + 1);
        let own = &self.policy.metrics[metric];
        match self.value(metric, newest, seen) {
            None => missing,
            Some(_) if own.by.is_some() => RawReading::PerInstance { values, at },
            Some(value) => {
                let members = own.members.is_some().then(|| f64::from(seen.served.get(newest).copied().unwrap_or(0)));
                RawReading::Value { value, at, members }
            }
        }
    }
}

impl Scaler for Replayed<'_> {
    fn wanted(&mut self, seen: &Seen<'_>) -> Capacity {
        let now = self.scene.time(seen.step);
        self.look(now);
        if now >= self.next_due {
            self.next_due = now.after(self.policy.interval);
            self.decide(seen, now);
        }
        count(self.groups[0].instances.len())
    }
}

fn count(number: usize) -> Capacity {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The rules' answers and the stages that changed what came of them, on one line.
fn reason(policy: &Policy, decision: &Decision) -> String {
    let mut text = String::new();
    let shown = |capacity: Option<Capacity>| capacity.map_or("?".to_owned(), |capacity| capacity.to_string());
    // Writing into a String has no way to fail.
    for recommendation in &decision.recommendations {
        let rule = policy.rules.get(usize::from(recommendation.rule)).map_or("?", |rule| &rule.name);
        let between = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{between}{rule}: {}", shown(recommendation.answer.value()));
        let _ = write!(text, " ({})", recommendation.answer.text(policy));
    }
    let changed = |step: &&policies::trace::Step| step.before != step.after;
    for step in decision.trace.iter().skip(1).filter(changed) {
        let between = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{between}{}: {} -> {}", step.stage, shown(step.before), shown(step.after));
        let _ = write!(text, " ({})", step.why.text(policy));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::Model;
    use super::super::tests::{load, policy, series};
    use super::super::world::replay;
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_boot_is_learned_without_the_warm_up_behind_it() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let rule = "[[fleet.web.rule]]\nkind = \"objective\"\nmetric = \"rps\"\ncapacity = 250\nutilization = 0.8\n";
        let mut policy = policy(rule);
        (policy.boot, policy.warmup) = (minutes(2), minutes(4));
        let (model, _) = Model::implied(&policy).unwrap();
        assert_eq!((model.boot_delay, model.warming), (minutes(6), minutes(4)));
        let scene = Scene::new(model, series(load(600)), policy.min, policy.max);
        let (policy, feeds) = (Arc::new(policy), Feeds(vec![Feed::Load]));
        let mut fleet = Replayed::new(&scene, &policy, &feeds);
        let supply = replay(&scene, &mut fleet, &mut |_| {});
        let memory = serde_json::to_value(&fleet.memory).unwrap();
        let boots = memory["objectives"]["objective"]["delays"]["boots"].as_array().unwrap();
        assert!(!boots.is_empty() && boots.iter().all(|took| took.as_f64() == Some(120.0)), "{boots:?}");
        // It serves after both, in the world as by the policy.
        let first = (1..supply.paid.len()).find(|step| supply.paid[*step] > supply.paid[step - 1]).unwrap();
        assert!(supply.ready[first..first + 6].iter().all(|ready| *ready <= supply.paid[first - 1]), "{first}");
        let last = scene.time(scene.steps());
        fleet.look(last);
        let up = |one: &&Instance| one.running_since.is_some_and(|since| since.after(policy.warmup) <= last);
        let running = fleet.groups[0].instances.iter().filter(up).count();
        let asked = supply.paid.len() - 6;
        assert_eq!(running, supply.paid[asked..].iter().min().copied().unwrap() as usize);
    }
}
