//! A dry run: one live observation through the same plan, without record, act or remember. It is the absence of those
//! steps, not a flag inside them, and it writes nothing to the store.

use super::plan::{Absorbed, Batch};
use super::{Cycle, Finished, Kept};
use crate::app::{DryRun, DryRunRefused, Seams, Settings};
use crate::published::Published;
use contract::Epoch;
use policies::memory::{FleetMemory, MemoryError};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Answers held at once.
const MESSAGES: usize = 1_024;

/// Plans the next cycle of all fleets, or of one.
pub(crate) async fn dry_run(seams: Seams, settings: Settings, only: Option<&str>) -> Result<DryRun, DryRunRefused> {
    let (finished_in, mut finished) = mpsc::channel(MESSAGES);
    let (ended_in, _ended) = mpsc::channel(1);
    let mut cycle = Cycle::new(seams, settings, Published::default(), finished_in, ended_in);
    let files = cycle.policy_source.load().map_err(|error| DryRunRefused::Invalid(error.to_string()))?;
    let set = (cycle.compile)(&files).map_err(DryRunRefused::Invalid)?;
    if let Some(only) = only.filter(|only| set.fleet(only).is_none()) {
        return Err(DryRunRefused::NoFleet(only.into()));
    }
    cycle.recall().await;
    cycle.swap(Arc::new(set));
    let fleets = (0..).zip(&cycle.fleets).filter(|(_, fleet)| only.is_none_or(|only| *fleet.id == *only));
    let fleets: Vec<u32> = fleets.map(|(at, _)| at).collect();
    let from = cycle.clock.monotonic();
    // What would be if the daemon had the lease: whoever asks wants to know what the next cycle does.
    cycle.lease.grant(Epoch(0), from);
    cycle.held_all = (cycle.hold_all)(cycle.clock.now());
    cycle.begin(&fleets, from);
    cycle.gather(&mut finished).await;
    Ok(cycle.plan_dry(fleets))
}

impl Cycle {
    /// Memories and overrides as the daemon last saved them. What is under way is the daemon's to know.
    async fn recall(&mut self) {
        let Ok(loaded) = self.store.load().await else { return };
        self.store_id = loaded.store_id.into();
        for (fleet, bytes) in loaded.memories {
            let decoded = FleetMemory::decode(&bytes);
            let refused = matches!(decoded, Err(MemoryError::Newer { .. }));
            self.kept.insert(fleet, Kept { memory: decoded.unwrap_or_default(), refused, ..Kept::default() });
        }
        self.recall_learned(loaded.learned);
        for row in loaded.overrides {
            let fleet = Arc::clone(&row.fleet);
            self.kept.entry(fleet).or_default().override_now = Some(Arc::new(row));
        }
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        // Brakes that cannot be read leave the whole budget: a dry run spends none of it.
        let _ = self.brakes.load(&*self.store, now, monotonic).await;
    }

    /// Waits until every fleet has its inputs or has waited long enough.
    async fn gather(&mut self, finished: &mut mpsc::Receiver<Finished>) {
        let mut answers = Vec::new();
        while let Some(deadline) = self.deadlines.last() {
            let is_waiting = self.fleets.iter().any(|fleet| fleet.waits.is_some_and(|waits| waits.inputs > 0));
            let left = deadline.saturating_sub(self.clock.monotonic());
            if !is_waiting || left.is_zero() {
                return;
            }
            tokio::select! {
                biased;
                _ = finished.recv_many(&mut answers, MESSAGES) => {}
                () = tokio::time::sleep(left) => return,
            }
            self.arrived(answers.drain(..));
        }
    }

    fn plan_dry(&mut self, mut fleets: Vec<u32>) -> DryRun {
        let now = self.clock.now();
        let policy = |at: &u32| &self.fleets[*at as usize].policy;
        fleets.sort_unstable_by_key(|at| (std::cmp::Reverse(policy(at).priority), *at));
        for at in &fleets {
            let over = self.fleets[*at as usize].override_now.as_ref().is_some_and(|row| row.what.until() <= now);
            if over {
                self.fleets[*at as usize].override_now = None;
            }
        }
        let absorbed = fleets.iter().map(|_| Absorbed { events: Vec::new(), before: None }).collect();
        let batch = Batch { now, monotonic: self.clock.monotonic(), absorbed };
        let count = fleets.len();
        let planned = self.plan(&batch, fleets.into_iter().zip(0..).collect(), &[]);
        let failed = count - planned.len();
        let mut plans: Vec<_> = planned.into_iter().map(|planned| planned.plan).collect();
        plans.sort_by(|a, b| a.policy.id.cmp(&b.policy.id));
        DryRun { set: Arc::clone(&self.set), plans, failed }
    }
}
