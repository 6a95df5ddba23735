//! Has instances drained, or taken back, as the fleets' memories say. In: memory after each decision that may act. Out: a
//! message when a drainer is done with an instance. Every instance has a task of its own that asks until then, so no cycle
//! waits for one; what memory no longer has is no longer asked. A restart asks again. Who leaves and when is the core's.

use super::Cycle;
use super::observe::{Answered, Finished};
use crate::app::Drainers;
use crate::clock::Clock;
use crate::drainers::{DrainAsk, DrainDo, DrainError, Drainer, Progress};
use crate::telemetry::ProcessMetrics;
use contract::{InstanceId, Timestamp};
use futures_util::FutureExt;
use policies::memory::{DrainEnd, DrainStage, Draining, Event};
use policies::policy::Mode;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

/// Questions to one drainer side by side; a command may take as long as an instance has.
const AT_ONCE: usize = 256;
/// Beside them, those about instances that are taken back: nobody who drains keeps them waiting.
const RETURNS_AT_ONCE: usize = 64;
/// The longest that one question about an instance that is taken back may take: no time of its own ends it.
const RETURN_WITHIN: Duration = Duration::from_secs(10 * 60);
/// Between two questions about one instance, while it goes on.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// After an error it is asked again after this, then after twice that, and so on.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// A drainer is done with an instance.
#[derive(Debug)]
pub(crate) struct Done {
    key: Key,
    since: Timestamp,
    end: DrainEnd,
}

/// Fleet, group by its key in memory, and instance.
type Key = (Arc<str>, Box<str>, InstanceId);

/// The tasks that ask drainers.
pub(super) struct Drains {
    clock: Arc<dyn Clock>,
    drainers: BTreeMap<Arc<str>, Arc<Of>>,
    finished: mpsc::Sender<Finished>,
    running: BTreeMap<Key, Running>,
}

/// One drainer.
struct Of {
    drainer: Arc<dyn Drainer>,
    drains: Semaphore,
    returns: Semaphore,
}

struct Running {
    what: DrainDo,
    since: Timestamp,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drains {
    pub fn new(clock: Arc<dyn Clock>, drainers: Drainers, finished: mpsc::Sender<Finished>) -> Self {
        let of = |drainer| Of { drainer, drains: Semaphore::new(AT_ONCE), returns: Semaphore::new(RETURNS_AT_ONCE) };
        let drainers = drainers.into_iter().map(|(name, drainer)| (name, Arc::new(of(drainer)))).collect();
        Self { clock, drainers, finished, running: BTreeMap::new() }
    }
}

impl Cycle {
    /// Begins and ends tasks for one fleet, as its memory says.
    pub(super) fn tend_drains(&mut self, at: u32) {
        let fleet = &self.fleets[at as usize];
        if fleet.memory.draining.is_empty() && self.drains.running.is_empty() {
            return;
        }
        let mut wanted = BTreeMap::new();
        for (group, list) in &fleet.memory.draining {
            let asked = list.iter().filter_map(|one| Some((one, what(one)?)));
            wanted
                .extend(asked.map(|(one, what)| ((Arc::clone(&fleet.id), group.clone(), one.id.clone()), (one, what))));
        }
        self.drains.running.retain(|key, running| {
            key.0 != fleet.id
                || wanted.get(key).is_some_and(|(one, what)| (one.since, *what) == (running.since, running.what))
        });
        // Who does not hold the lease asks for nothing; a fleet that is only watched is asked to take back alone.
        if self.lease.epoch(self.clock.monotonic()).is_none() {
            return;
        }
        let may_drain = matches!(fleet.policy.mode, Mode::On | Mode::ScaleOutOnly);
        let now = self.clock.now();
        for (key, (one, what)) in wanted {
            let until = match (what, &fleet.policy.drain) {
                (DrainDo::Return, _) => None,
                (DrainDo::Drain, Some(drain)) if may_drain => Some(one.since.after(drain.deadline)),
                (DrainDo::Drain, _) => continue,
            };
            if until.is_some_and(|until| now >= until) || self.drains.running.contains_key(&key) {
                continue;
            }
            let Some((provider, group)) = key.1.split_once('/') else { continue };
            let ask = DrainAsk {
                r#do: what,
                fleet: (&*fleet.id).into(),
                provider: provider.into(),
                group: group.into(),
                instance: one.id.clone(),
                until,
            };
            let metrics = Arc::clone(self.published.metrics());
            let within = until.map_or(Duration::MAX, |until| until.since(now));
            let task = self.drains.begin(&one.with, key.clone(), one.since, ask, within, metrics);
            self.drains.running.insert(key, Running { what, since: one.since, task });
        }
    }

    /// Takes in that a drainer is done, for the fleet's next decision.
    pub(super) fn drain_done(&mut self, done: Done) {
        let Done { key, since, end } = done;
        let is_it = |running: &Running| running.since == since && ends(running.what) == end;
        if !self.drains.running.get(&key).is_some_and(is_it) {
            return;
        }
        let Ok(at) = self.fleets.binary_search_by(|fleet| fleet.id.cmp(&key.0)) else { return };
        let fleet = &mut self.fleets[at];
        // Of a group that has left the policy nothing can be noted: its task stays, so that nobody is asked again.
        let Some(group) = fleet.memory.groups.iter().position(|group| group.key == key.1) else { return };
        self.drains.running.remove(&key);
        tracing::info!(fleet = %fleet.id, group = %key.1, instance = %key.2, end = ?end, "The drainer is done.");
        let group = u16::try_from(group).unwrap_or(u16::MAX);
        fleet.events.push(Event::Drain { group, instance: key.2, end });
    }

    /// Ends the tasks of fleets that left the policies, and of all whose drainer may be another one now: they begin again.
    pub(super) fn drop_drains(&mut self) {
        self.drains.running.clear();
    }
}

impl Drains {
    fn begin(
        &self,
        name: &str,
        key: Key,
        since: Timestamp,
        ask: DrainAsk,
        within: Duration,
        metrics: Arc<ProcessMetrics>,
    ) -> AbortHandle {
        tracing::info!(fleet = %key.0, group = %key.1, instance = %key.2, drainer = name, "Asks to {}.", ask.r#do.word());
        let known = self.drainers.get_key_value(name);
        if known.is_none() {
            tracing::warn!(drainer = name, "skala.toml has no such drainer any more; nobody is asked.");
        }
        let asker = Asker {
            clock: Arc::clone(&self.clock),
            of: known.map(|(name, of)| (Arc::clone(name), Arc::clone(of))),
            metrics,
            end: self.clock.monotonic().saturating_add(within),
            ask,
        };
        let finished = self.finished.clone();
        let task = tokio::spawn(async move {
            let end = ends(asker.ask.r#do);
            if asker.until_done().await {
                let what = Answered::Drain(Done { key, since, end });
                // The actor is gone only when the whole runtime is.
                let _ = finished.send(Finished { generation: 0, tick: 0, took: Duration::ZERO, what }).await;
            }
        });
        task.abort_handle()
    }
}

/// Asks about one instance.
struct Asker {
    clock: Arc<dyn Clock>,
    of: Option<(Arc<str>, Arc<Of>)>,
    metrics: Arc<ProcessMetrics>,
    /// In monotonic time.
    end: Duration,
    ask: DrainAsk,
}

impl Asker {
    /// Says whether it came to be done in time.
    async fn until_done(&self) -> bool {
        let Some((name, of)) = &self.of else { return false };
        let (mut retry, mut last) = (RETRY, None);
        loop {
            let left = self.end.saturating_sub(self.clock.monotonic());
            let answer = self.once(of, left).await;
            let outcome = match &answer {
                Ok(Progress::Done) => "done",
                Ok(Progress::Going) => "going",
                Err(_) => "error",
            };
            self.metrics.drain_request(name, self.ask.r#do.word(), outcome);
            let pause = match answer {
                Ok(Progress::Done) => return true,
                Ok(Progress::Going) => {
                    (retry, last) = (RETRY, None);
                    ASK_EVERY
                }
                Err(error) => {
                    let DrainAsk { fleet, group, instance, .. } = &self.ask;
                    // The same complaint once.
                    if last.as_ref() != Some(&error) {
                        tracing::warn!(%fleet, %group, %instance, drainer = %name, %error, "The drainer has trouble; it is asked again.");
                    }
                    last = Some(error);
                    let pause = retry;
                    retry = (retry * 2).min(RETRY_MAX);
                    pause
                }
            };
            if self.clock.monotonic() + pause >= self.end {
                return false;
            }
            tokio::time::sleep(self.clock.timer(pause)).await;
        }
    }

    async fn once(&self, of: &Of, within: Duration) -> Result<Progress, DrainError> {
        let (permits, longest) = match self.ask.r#do {
            DrainDo::Drain => (&of.drains, Duration::MAX),
            DrainDo::Return => (&of.returns, RETURN_WITHIN),
        };
        let Ok(permit) = tokio::time::timeout(within, permits.acquire()).await else {
            return Err(DrainError("it was busy with others all the time, and was not asked".into()));
        };
        let within = within.min(self.end.saturating_sub(self.clock.monotonic())).min(longest);
        let asked = AssertUnwindSafe(of.drainer.ask(&self.ask, within)).catch_unwind();
        let answer = tokio::time::timeout(within, asked).await;
        drop(permit);
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(DrainError("the drainer panicked; please report this".into())),
            Err(_) => Err(DrainError(format!("no answer within {within:?}"))),
        }
    }
}

fn what(one: &Draining) -> Option<DrainDo> {
    match one.stage {
        DrainStage::Draining => Some(DrainDo::Drain),
        DrainStage::Returning => Some(DrainDo::Return),
        DrainStage::Drained | DrainStage::Leaving(_) => None,
    }
}

fn ends(what: DrainDo) -> DrainEnd {
    match what {
        DrainDo::Drain => DrainEnd::Drained,
        DrainDo::Return => DrainEnd::Returned,
    }
}
