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
use policies::policy::Drain;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

/// Drainers asked side by side; a command may take as long as an instance has.
const AT_ONCE: usize = 256;
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
    drainers: Arc<Drainers>,
    permits: Arc<Semaphore>,
    finished: mpsc::Sender<Finished>,
    running: BTreeMap<Key, Running>,
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
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        Self { clock, drainers: Arc::new(drainers), permits, finished, running: BTreeMap::new() }
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
        let Some(drain) = &fleet.policy.drain else { return };
        let now = self.clock.now();
        for (key, (one, what)) in wanted {
            let Some(of) = fleet.policy.groups.iter().find(|group| group.is_key(&key.1)) else {
                continue;
            };
            let until = until(one, what, drain);
            if now >= until || self.drains.running.contains_key(&key) {
                continue;
            }
            let ask = DrainAsk {
                r#do: what,
                fleet: (&*fleet.id).into(),
                provider: of.provider.clone(),
                group: of.group.as_str().into(),
                instance: one.id.clone(),
                until,
            };
            let metrics = Arc::clone(self.published.metrics());
            let task = self.drains.begin(&drain.with, key.clone(), one.since, ask, until.since(now), metrics);
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
        self.drains.running.remove(&key);
        let Ok(at) = self.fleets.binary_search_by(|fleet| fleet.id.cmp(&key.0)) else { return };
        let fleet = &mut self.fleets[at];
        let Some(group) = fleet.memory.groups.iter().position(|group| group.key == key.1) else { return };
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
        let asker = Asker {
            clock: Arc::clone(&self.clock),
            drainer: known.map(|(name, of)| (Arc::clone(name), Arc::clone(of))),
            permits: Arc::clone(&self.permits),
            metrics,
            end: self.clock.monotonic() + within,
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
    drainer: Option<(Arc<str>, Arc<dyn Drainer>)>,
    permits: Arc<Semaphore>,
    metrics: Arc<ProcessMetrics>,
    /// In monotonic time.
    end: Duration,
    ask: DrainAsk,
}

impl Asker {
    /// Says whether it came to be done in time.
    async fn until_done(&self) -> bool {
        let Some((name, drainer)) = &self.drainer else { return false };
        let (mut retry, mut last) = (RETRY, None);
        loop {
            let left = self.end.saturating_sub(self.clock.monotonic());
            let answer = self.once(&**drainer, left).await;
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

    async fn once(&self, drainer: &dyn Drainer, within: Duration) -> Result<Progress, DrainError> {
        let asked = async {
            // Never closed.
            let _permit = self.permits.acquire().await;
            drainer.ask(&self.ask, within).await
        };
        match tokio::time::timeout(within, AssertUnwindSafe(asked).catch_unwind()).await {
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

fn until(one: &Draining, what: DrainDo, drain: &Drain) -> Timestamp {
    one.since.after(match what {
        DrainDo::Drain => drain.deadline,
        DrainDo::Return => drain.return_within(),
    })
}
