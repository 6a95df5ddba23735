//! Runs the `[[test]]` tables through the same three functions as the daemon: readings in, decisions out, compared with
//! what the table expects. The cloud here obeys at once, and its clock is the table's.

use super::{Place, Policy, PolicySet, PolicyTest, TestCycle};
use crate::facts::{FleetFacts, GroupFact, MissingWhy, RawReading};
use crate::memory::{Event, FleetMemory};
use crate::plan::{Budget, Decision, Effect, FleetPlan};
use crate::{absorb, propose, settle};
use contract::{Capacity, Instance, InstanceId, InstanceState, Observation, Timestamp};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// How one test ended.
#[derive(Clone, Debug, PartialEq)]
pub struct TestResult {
    /// The test's name.
    pub name: Box<str>,
    /// The fleet it is about.
    pub fleet: Box<str>,
    /// Where it stands.
    pub place: Place,
    /// Decisions made.
    pub decisions: u32,
    /// What was not as expected, at most one for each cycle of the table; empty: it passed.
    pub failures: Vec<Failure>,
}

/// One cycle that went otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Time since the test's start.
    pub at: Duration,
    /// Where the cycle stands.
    pub place: Place,
    /// What was expected: `desired 6, hold none`.
    pub expected: String,
    /// What was decided, in the same words.
    pub got: String,
    /// The recommendations and the trace, a line each.
    pub trace: String,
}

/// Runs all tests of a set, in the order of the files.
pub fn run(set: &PolicySet) -> Vec<TestResult> {
    // A test of a fleet that is not in the set belongs to a set with errors, which nobody runs.
    set.tests.iter().filter_map(|test| Some(run_one(set.fleet(&test.fleet)?, test))).collect()
}

fn run_one(policy: &Arc<Policy>, test: &PolicyTest) -> TestResult {
    // What the rules and stages decide is the fleet's; the planner's part has no words in a test yet.
    let policy = &Arc::new(policy.for_replay());
    let mut world = World::new(test.start);
    let (mut failures, mut decisions) = (Vec::new(), 0);
    for cycle in &test.cycles {
        let mut at = cycle.at;
        loop {
            world.begin(cycle, test.start.after(at));
            let plan = world.decide(policy, cycle);
            decisions += 1;
            let next = at + policy.interval;
            // Of a repeated cycle only the last decision is judged.
            if cycle.until.is_none_or(|until| next > until) {
                failures.extend(judge(policy, cycle, at, &plan.decision));
                break;
            }
            at = next;
        }
    }
    TestResult { name: test.name.clone(), fleet: test.fleet.clone(), place: test.place, decisions, failures }
}

/// A cloud of one group that does at once what it is told.
struct World {
    now: Timestamp,
    memory: FleetMemory,
    /// Each instance's number and when it was asked for, oldest first.
    instances: Vec<(u32, Timestamp)>,
    next: u32,
    events: Vec<Event>,
}

impl World {
    fn new(start: Timestamp) -> Self {
        Self { now: start, memory: FleetMemory::default(), instances: Vec::new(), next: 0, events: Vec::new() }
    }

    fn begin(&mut self, cycle: &TestCycle, now: Timestamp) {
        self.now = now;
        if let Some(current) = cycle.current {
            self.hold(current);
        }
    }

    /// Makes it so many instances; the youngest go first.
    fn hold(&mut self, capacity: Capacity) {
        self.instances.truncate(capacity as usize);
        while self.instances.len() < capacity as usize {
            self.instances.push((self.next, self.now));
            self.next += 1;
        }
    }

    fn decide(&mut self, policy: &Arc<Policy>, cycle: &TestCycle) -> FleetPlan {
        let serving = cycle.serving.map_or(self.instances.len(), |serving| serving as usize);
        let observation = self.observe(serving);
        let groups = vec![GroupFact::Observed(&observation)];
        let values: Vec<Vec<(InstanceId, f64)>> =
            policy.metrics.iter().map(|metric| self.values(cycle, &metric.name, serving)).collect();
        let readings = policy.metrics.iter().zip(&values).map(|(metric, values)| {
            match cycle.readings.iter().find(|(name, _)| *name == metric.name).map(|(_, reading)| reading) {
                None => RawReading::Missing(MissingWhy::NotGiven),
                Some(Err(why)) => RawReading::Missing(MissingWhy::from_text(why)),
                Some(Ok(_)) if metric.by.is_some() => RawReading::PerInstance { values, at: self.now },
                Some(Ok(value)) => {
                    let members = metric.members.is_some().then_some(serving as f64);
                    RawReading::Value { value: *value, at: self.now, members }
                }
            }
        });
        let facts = FleetFacts::new(self.now, groups, readings.collect());
        absorb(policy, &mut self.memory, &self.events, self.now);
        let proposal = propose(policy, &facts, &self.memory);
        let mut plan = settle(vec![proposal], Budget::default());
        // One proposal gives one plan.
        let plan = plan.fleets.remove(0);
        self.obey(&plan);
        plan
    }

    fn observe(&self, serving: usize) -> Observation {
        let instances = self.instances.iter().enumerate().map(|(at, (number, launched))| {
            let serves = at < serving;
            // What serves has done so for longer than any warm-up or window.
            let launched = if serves { Timestamp(0) } else { *launched };
            Instance {
                id: id(*number),
                state: if serves { InstanceState::Running } else { InstanceState::Pending },
                launched: Some(launched),
                running_since: serves.then_some(launched),
                zone: Some("a".into()),
                protected: false,
                outdated: false,
            }
        });
        Observation {
            desired: Some(count(self.instances.len())),
            instances: instances.collect(),
            ..Observation::empty(self.now)
        }
    }

    /// A `by` metric's reading is the value of every serving instance.
    fn values(&self, cycle: &TestCycle, metric: &str, serving: usize) -> Vec<(InstanceId, f64)> {
        let reading = cycle.readings.iter().find(|(name, _)| name.as_ref() == metric);
        match reading {
            Some((_, Ok(value))) => {
                self.instances.iter().take(serving).map(|(number, _)| (id(*number), *value)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn obey(&mut self, plan: &FleetPlan) {
        self.memory = plan.memory.clone();
        self.events.clear();
        let Effect::Act(groups) = &plan.effect else { return };
        for group in groups.iter().filter(|group| !group.actions.is_empty()) {
            self.events.push(Event::accepted(group.group));
            let named = group.terminate();
            self.instances.retain(|(number, _)| !named.contains(&id(*number)));
        }
        if let Some(desired) = plan.decision.desired {
            self.hold(desired);
        }
    }
}

fn id(number: u32) -> InstanceId {
    format!("i-{number}").into()
}

fn count(number: usize) -> Capacity {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn judge(policy: &Policy, cycle: &TestCycle, at: Duration, decision: &Decision) -> Option<Failure> {
    let hold = decision.hold.map_or("", |hold| hold.reason.word());
    let right_desired = cycle.desired.is_none_or(|desired| decision.desired == Some(desired));
    let right_hold = cycle.hold.as_ref().is_none_or(|expected| expected.as_ref() == hold);
    if right_desired && right_hold {
        return None;
    }
    let mut expected = Vec::new();
    expected.extend(cycle.desired.map(|desired| format!("desired {desired}")));
    expected.extend(cycle.hold.as_ref().map(|hold| format!("hold {}", hold_text(hold))));
    let desired = decision.desired.map_or("unknown".to_owned(), |desired| desired.to_string());
    Some(Failure {
        at,
        place: cycle.place,
        expected: expected.join(", "),
        got: format!("desired {desired}, hold {}", hold_text(hold)),
        trace: trace(policy, decision),
    })
}

fn hold_text(hold: &str) -> &str {
    if hold.is_empty() { "none" } else { hold }
}

fn trace(policy: &Policy, decision: &Decision) -> String {
    let shown = |capacity: Option<Capacity>| capacity.map_or("?".to_owned(), |capacity| capacity.to_string());
    let mut text = String::new();
    // Writing into a String has no way to fail.
    for recommendation in &decision.recommendations {
        let rule = policy.rules.get(recommendation.rule as usize).map_or("?", |rule| &rule.name);
        let value = shown(recommendation.answer.value());
        let _ = writeln!(text, "rule {rule}: {value} ({})", recommendation.answer.text(policy));
    }
    for step in &decision.trace {
        let _ =
            writeln!(text, "{}: {} -> {} {}", step.stage, shown(step.before), shown(step.after), step.why.text(policy));
    }
    text
}
