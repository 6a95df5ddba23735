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
    pub sent: BTreeSet<ActionId>,
    /// Groups with a write under way.
    pub under_way: BTreeSet<(&'static str, GroupId)>,
    /// What went wrong inside a call, where the daemon would survive a panic.
    pub wrong: Vec<String>,
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

    /// Nothing went wrong inside a call.
    pub fn assert_nothing_wrong(&self) {
        let wrong = self.seen.lock().unwrap().wrong.clone();
        assert!(wrong.is_empty(), "{wrong:?}");
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

    /// Looks on while a write is under way. A write that is dropped with its runtime is over for the next life.
    async fn watch(
        &self,
        target: &Target,
        call: BoxFuture<'_, Result<Accepted, ProviderError>>,
    ) -> Result<Accepted, ProviderError> {
        let key = (self.name, target.group.clone());
        {
            let mut seen = self.witness.seen.lock().unwrap();
            if !seen.sent.insert(target.action) {
                seen.wrong.push(format!("{} was sent twice to {}", target.action, self.name));
            }
            if !seen.under_way.insert(key.clone()) {
                seen.wrong.push(format!("two writes at once to {}", target.group));
            }
        }
        let _over = Over { witness: self.witness.clone(), key };
        call.await
    }
}

struct Over {
    witness: Witness,
    key: (&'static str, GroupId),
}

impl Drop for Over {
    fn drop(&mut self) {
        self.witness.seen.lock().unwrap().under_way.remove(&self.key);
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
        Box::pin(self.watch(target, self.of.raise(target, to)))
    }

    fn cancel_unfilled<'a>(
        &'a self,
        target: &'a Target,
        to: Capacity,
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.watch(target, self.of.cancel_unfilled(target, to)))
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
        let of = self.of.terminator().expect("it removes by name");
        Box::pin(self.watch(target, of.terminate(target, instances)))
    }
}

impl Lowerer for Watched {
    fn lower<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.watch(target, self.of.lowerer().expect("it lowers").lower(target, to)))
    }
}
