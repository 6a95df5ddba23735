//! A witness that knows nothing of the engine: it sees every question, every answer and every write, and judges them by
//! the safety rules alone.

use crate::simulation::world::Time;
use contract::{
    Accepted, ActionId, Ask, BoxFuture, Capacity, GroupId, GuardKind, InstanceId, Lowerer, Observation, Provider,
    ProviderError, Target, Terminator, Timestamp,
};
use sim::Sim;
use skala::sources::Answer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What was seen, in the order of the world's time.
#[derive(Default)]
pub struct Seen {
    /// Load by fleet: when it was answered, and the value if there was one.
    pub answers: BTreeMap<String, Vec<(Timestamp, Option<f64>)>>,
    /// Times of the daemon's reads by group, by the observation's own time.
    pub reads: BTreeMap<GroupId, Vec<Timestamp>>,
    /// Writes that were sent.
    pub sent: Vec<(Timestamp, ActionId)>,
}

#[derive(Clone)]
pub struct Witness {
    time: Time,
    pub seen: Arc<Mutex<Seen>>,
}

/// What a fleet's policy promises, in numbers.
#[derive(Clone, Copy)]
pub struct Promise {
    pub min: Capacity,
    pub target: f64,
    pub interval: Duration,
    pub window: Duration,
    pub gap: Duration,
}

impl Default for Promise {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self { min: 2, target: 100.0, interval: secs(15), window: secs(300), gap: secs(180) }
    }
}

impl Witness {
    pub fn new(time: Time) -> Self {
        Self { time, seen: Arc::default() }
    }

    pub fn answered(&self, query: &str, answer: &Answer) {
        let value = answer.as_ref().ok().and_then(|series| series.first()).map(|point| point.value);
        let value = value.filter(|value| value.is_finite());
        self.seen.lock().unwrap().answers.entry(query.into()).or_default().push((self.time.now(), value));
    }

    /// Judges every write of a daemon to a group, as the cloud's own audit has it.
    pub fn judge(&self, cloud: &sim::Cloud, fleet: &str, promise: Promise) {
        let seen = self.seen.lock().unwrap();
        let group = GroupId::from(fleet);
        let mut actions = BTreeSet::new();
        for entry in cloud.audit().into_iter().filter(|entry| entry.group == group && &*entry.by != "person") {
            if let Some(action) = entry.action {
                assert!(actions.insert(action), "an action took effect twice: {entry}");
            }
            assert!(entry.after >= promise.min.min(entry.before), "below min {} on the way in: {entry}", promise.min);
            let reads = seen.reads.get(&group).map_or(&[][..], Vec::as_slice);
            let fresh = reads.iter().any(|read| *read <= entry.at && *read >= entry.at.before(promise.interval * 3));
            assert!(fresh, "written without a fresh read: {entry}");
            let answers = seen.answers.get(fleet).map_or(&[][..], Vec::as_slice);
            if entry.after < entry.before {
                justify(answers, &entry, promise);
            }
        }
    }
}

/// Every drop needs fresh readings over the whole window that all needed no more than the new value.
fn justify(answers: &[(Timestamp, Option<f64>)], entry: &sim::Entry, promise: Promise) {
    let start = entry.at.before(promise.window);
    let mut last = start;
    for (at, value) in answers.iter().filter(|(at, _)| *at > start && *at <= entry.at) {
        let Some(value) = value else { continue };
        let needed = (value / promise.target).ceil() as Capacity;
        assert!(needed <= entry.after, "{needed} were needed {:?} before: {entry}", entry.at.since(*at));
        let gap = at.since(last);
        assert!(gap <= promise.gap, "a gap of {gap:?} in the window: {entry}");
        last = *at;
    }
    let gap = entry.at.since(last);
    assert!(gap <= promise.gap, "no reading for {gap:?}: {entry}");
}

/// A provider that the witness looks through.
pub struct Watched {
    name: &'static str,
    of: Sim,
    witness: Witness,
}

impl Watched {
    pub fn new(name: &'static str, of: Sim, witness: Witness) -> Self {
        Self { name, of, witness }
    }

    fn sent(&self, target: &Target) {
        let mut seen = self.witness.seen.lock().unwrap();
        let now = self.witness.time.now();
        assert!(
            seen.sent.iter().all(|(_, action)| *action != target.action),
            "{} was sent twice to {}",
            target.action,
            self.name
        );
        seen.sent.push((now, target.action));
    }
}

impl Provider for Watched {
    fn observe<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Vec<Result<Observation, ProviderError>>> {
        Box::pin(async move {
            let answers = self.of.observe(asks).await;
            let mut seen = self.witness.seen.lock().unwrap();
            for (ask, answer) in asks.iter().zip(&answers) {
                if let Ok(observation) = answer {
                    seen.reads.entry(ask.group.clone()).or_default().push(observation.at);
                }
            }
            drop(seen);
            answers
        })
    }

    fn raise<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        self.sent(target);
        self.of.raise(target, to)
    }

    fn cancel_unfilled<'a>(
        &'a self,
        target: &'a Target,
        to: Capacity,
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        self.sent(target);
        self.of.cancel_unfilled(target, to)
    }

    fn guard(&self) -> GuardKind {
        self.of.guard()
    }

    fn terminator(&self) -> Option<&dyn Terminator> {
        Some(self)
    }

    fn lowerer(&self) -> Option<&dyn Lowerer> {
        Some(self)
    }
}

impl Terminator for Watched {
    fn terminate<'a>(
        &'a self,
        target: &'a Target,
        instances: &'a [InstanceId],
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        self.sent(target);
        self.of.terminator().expect("it removes by name").terminate(target, instances)
    }
}

impl Lowerer for Watched {
    fn lower<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        self.sent(target);
        self.of.lowerer().expect("it lowers").lower(target, to)
    }
}
