//! What stays of a decision: the fleet's memory, the run in the journal, what is shown. In: plans, recorded or not. Out:
//! changes in memory here, saved within 30 s. An acted decision is in the store before it comes here.

use super::plan::{Batch, Planned};
use super::{Cycle, Trouble, loads};
use crate::store::{JournalEntry, RunExtension};
use contract::{Capacity, InstanceId, Timestamp};
use policies::history;
use policies::plan::FleetPlan;
use policies::trace::HoldReason;
use policies::wire;
use std::sync::Arc;
use std::time::Duration;

/// A memory is saved this long after it changed.
const SAVE_AFTER: Duration = Duration::from_secs(30);
/// What rules have learned is saved this long after the last time: it is large, and what a crash takes of it is read from
/// the metrics' records again.
const LEARNED_EVERY: Duration = Duration::from_secs(900);
/// Memories saved in one turn: more would keep the loop from its next tick.
const SAVE_MAX: usize = 1_000;
/// Full facts are kept at least this often.
const FACTS_EVERY: Duration = Duration::from_secs(600);
/// Entries that a fleet may have unsaved while the store is in trouble; the oldest go first.
const UNSAVED_MAX: usize = 16;

/// The same when all fleets have many.
const UNSAVED_IN_NEED: usize = 2;
/// Entries that all fleets may have unsaved before their time has come: a start makes one for each, with full facts.
const UNSAVED_IN_ALL: usize = 512;

/// The engine that decides, for `explain`.
pub(super) const ENGINE: &str = env!("CARGO_PKG_VERSION");

/// A fleet's present run in the journal, and what of it and of earlier ones is not saved yet.
#[derive(Default)]
pub(super) struct Run {
    key: Option<Key>,
    /// When full facts were last kept, in monotonic time.
    facts_at: Duration,
    /// The present run's entry is not saved yet: it is the last of `unsaved`.
    is_unsaved: bool,
    /// The present run has grown since it was saved: by the last of `grown`.
    is_grown: bool,
    unsaved: Vec<JournalEntry>,
    grown: Vec<RunExtension>,
}

/// What makes two decisions one run.
#[derive(Clone, PartialEq)]
struct Key {
    desired: Option<Capacity>,
    current: Option<Capacity>,
    hold: Option<HoldReason>,
    terminate: Vec<InstanceId>,
    drain: Vec<InstanceId>,
    take_back: Vec<InstanceId>,
}

impl Key {
    fn of(plan: &FleetPlan) -> Self {
        let decision = &plan.decision;
        let groups = plan.effect.groups();
        let terminate = groups.iter().flat_map(|group| group.terminate()).cloned().collect();
        let drain = groups.iter().flat_map(|group| &group.drain).map(|(id, _)| id.clone()).collect();
        let take_back = groups.iter().flat_map(|group| &group.take_back).cloned().collect();
        Self {
            desired: decision.desired,
            current: decision.current,
            hold: decision.hold.map(|hold| hold.reason),
            terminate,
            drain,
            take_back,
        }
    }
}

impl Cycle {
    /// Takes a plan into memory; `recorded`: its entry and memory are in the store already.
    pub(super) fn finish(&mut self, batch: &Batch, mut planned: Planned, recorded: bool) {
        self.note_run(batch, &planned, recorded);
        let at = planned.fleet;
        let fleet = &mut self.fleets[at as usize];
        // For the brakes what was asked for counts: capacity that is on its way out is booked as removed already.
        if let Some(current) = planned.plan.decision.current {
            let current = current.saturating_sub(planned.plan.leaving());
            self.current = self.current + u64::from(current) - u64::from(fleet.current);
            fleet.current = current;
        }
        let tick = fleet.waits.map_or(self.tick, |waits| waits.tick);
        for (group, read_after) in self.index.fleets[at as usize].groups.iter().zip(&mut fleet.read_after) {
            if *read_after > 0 && self.board.group(*group, tick).is_ok() && self.board.group_tick(*group) > *read_after
            {
                *read_after = 0;
            }
        }
        if !fleet.refused {
            fleet.memory = std::mem::take(&mut planned.plan.memory);
        }
        let memory = &fleet.memory;
        let in_flight = |group: u16| memory.groups.get(usize::from(group)).is_some_and(|kept| kept.in_flight.is_some());
        fleet.open.retain(|(group, _)| in_flight(*group));
        if !recorded && !fleet.dirty {
            fleet.dirty = true;
            self.dirty.push_back((batch.monotonic, at));
        }
        self.tend_drains(at);
        self.show(batch, planned);
    }

    /// Extends the fleet's run, or begins another.
    fn note_run(&mut self, batch: &Batch, planned: &Planned, recorded: bool) {
        let at = planned.fleet as usize;
        let key = Key::of(&planned.plan);
        let run = &self.fleets[at].run;
        let is_stale = run.key.is_none() || batch.monotonic.saturating_sub(run.facts_at) >= FACTS_EVERY;
        let is_same = run.key.as_ref() == Some(&key);
        if is_same && !is_stale && !recorded {
            let fleet = &mut self.fleets[at];
            return fleet.run.grow(&fleet.id, batch.now);
        }
        let is_reason = |old: &Key| old.desired != key.desired || old.hold != key.hold;
        // While the store takes nothing, what waits for it must not fill the memory.
        let is_crowded = self.unsaved > UNSAVED_IN_ALL && !matches!(self.trouble, Trouble::None);
        let with_facts = recorded || !is_crowded && (is_stale || run.key.as_ref().is_none_or(is_reason));
        let entry = (!recorded).then(|| self.entry(batch, planned, with_facts));
        let run = &mut self.fleets[at].run;
        run.key = Some(key);
        if with_facts {
            run.facts_at = batch.monotonic;
        }
        run.is_unsaved = entry.is_some();
        run.is_grown = false;
        self.unsaved += usize::from(entry.is_some());
        run.unsaved.extend(entry);
        if run.unsaved.len() > if is_crowded { UNSAVED_IN_NEED } else { UNSAVED_MAX } {
            run.unsaved.remove(0);
            self.unsaved = self.unsaved.saturating_sub(1);
        }
    }

    /// The decision as a journal entry of one.
    pub(super) fn entry(&self, batch: &Batch, planned: &Planned, with_facts: bool) -> JournalEntry {
        let at = planned.fleet;
        let fleet = &self.fleets[at as usize];
        let absorbed = &batch.absorbed[planned.place];
        let (facts, memory_before) = if with_facts {
            let readings = self.readings(at);
            let facts = self.facts(at, batch.now, &readings);
            let before = absorbed.before.clone().unwrap_or_else(|| fleet.memory.encode());
            (wire::facts_json(&fleet.policy, &facts, &absorbed.events, planned.budget), before)
        } else {
            (String::new(), Vec::new())
        };
        JournalEntry {
            fleet: Arc::clone(&fleet.id),
            at: batch.now,
            until: batch.now,
            count: 1,
            revision: (&*self.set.revision).into(),
            engine: ENGINE.into(),
            facts,
            memory_before,
            decision: wire::plan_json(&self.set, &planned.plan),
        }
    }

    /// Saves the memories that changed long enough ago, a bounded number in each turn.
    pub(super) async fn remember(&mut self, now: Duration) {
        let mut fleets = Vec::new();
        // A store in trouble is not asked more often than it has to be.
        let crowded = self.unsaved > UNSAVED_IN_ALL && matches!(self.trouble, Trouble::None);
        let is_next = |(since, _): &(Duration, u32)| crowded || *since + SAVE_AFTER <= now;
        while fleets.len() < SAVE_MAX && self.dirty.front().is_some_and(is_next) {
            fleets.extend(self.dirty.pop_front().map(|(_, fleet)| fleet));
        }
        if !fleets.is_empty() && !self.save(&fleets).await {
            // Tried again in a while, in the same order.
            self.dirty.extend(fleets.into_iter().map(|fleet| (now, fleet)));
        }
    }

    /// Saves one fleet now, if there is anything to save.
    pub async fn save_fleet(&mut self, id: &str) {
        let Ok(at) = self.fleets.binary_search_by(|fleet| (*fleet.id).cmp(id)) else { return };
        let fleet = u32::try_from(at).unwrap_or(u32::MAX);
        if self.fleets[at].dirty && self.save(&[fleet]).await {
            self.dirty.retain(|(_, other)| *other != fleet);
        }
    }

    /// Saves everything; says whether the store took it.
    pub async fn save_all(&mut self) -> bool {
        self.dirty.clear();
        let all: Vec<u32> = (0..).zip(&self.fleets).filter(|(_, fleet)| fleet.dirty).map(|(at, _)| at).collect();
        let learned: Vec<u32> =
            (0..).zip(&self.fleets).filter(|(_, fleet)| fleet.learned_due.is_some()).map(|(at, _)| at).collect();
        let mut is_all = true;
        for part in learned.chunks(SAVE_MAX) {
            is_all = self.save_learned(part, Duration::MAX).await;
            if !is_all {
                break;
            }
        }
        if !is_all && !matches!(self.trouble, Trouble::Full(_)) {
            return false;
        }
        for part in all.chunks(SAVE_MAX) {
            if !self.save(part).await {
                return false;
            }
        }
        is_all
    }

    /// Saves what the rules of some fleets have learned, where that is due at a time.
    pub(super) async fn save_learned(&mut self, fleets: &[u32], at: Duration) -> bool {
        let is_due = |fleet: &&u32| {
            let fleet = &self.fleets[**fleet as usize];
            !fleet.refused && fleet.learned_due.is_some_and(|due| due <= at)
        };
        let due: Vec<u32> = fleets.iter().filter(is_due).copied().collect();
        if due.is_empty() {
            return true;
        }
        if matches!(self.trouble, Trouble::Full(_)) {
            return false;
        }
        let learned = due.iter().map(|fleet| {
            let fleet = &self.fleets[*fleet as usize];
            (Arc::clone(&fleet.id), loads::encode(&fleet.policy, &fleet.memory))
        });
        if let Err(error) = self.store.keep_learned(learned.collect()).await {
            self.note_store_error(&error);
            return false;
        }
        let next = self.clock.monotonic() + LEARNED_EVERY;
        for fleet in due {
            let fleet = &mut self.fleets[fleet as usize];
            let is_any = fleet.past.is_some() || !fleet.memory.objectives.is_empty();
            fleet.learned_due = is_any.then_some(next);
            fleet.learned_inside = false;
        }
        true
    }

    /// Saves memories and runs of some fleets; says whether the store took them.
    pub(super) async fn save(&mut self, fleets: &[u32]) -> bool {
        // First, since the memories are saved without it. On a full disk they go on without.
        if !self.save_learned(fleets, self.clock.monotonic()).await && !matches!(self.trouble, Trouble::Full(_)) {
            return false;
        }
        let (mut memories, mut entries, mut runs) = (Vec::new(), Vec::new(), Vec::new());
        for &at in fleets {
            let fleet = &mut self.fleets[at as usize];
            // A memory of old stays until what is inside is saved.
            if !fleet.refused && !fleet.learned_inside {
                memories.push((Arc::clone(&fleet.id), history::encode_without_learned(&mut fleet.memory)));
            }
            entries.extend(fleet.run.unsaved.iter().cloned());
            runs.extend(fleet.run.grown.iter().cloned());
        }
        if let Err(error) = self.store.checkpoint(memories, entries, runs).await {
            self.note_store_error(&error);
            return false;
        }
        if matches!(self.trouble, Trouble::Failing(_)) {
            tracing::info!("The store takes decisions again.");
            self.trouble = Trouble::None;
        }
        for &at in fleets {
            let fleet = &mut self.fleets[at as usize];
            fleet.dirty = false;
            self.unsaved = self.unsaved.saturating_sub(fleet.run.unsaved.len());
            // Their room too: most fleets change seldom, and ten thousand such rooms are megabytes.
            (fleet.run.unsaved, fleet.run.grown) = (Vec::new(), Vec::new());
            (fleet.run.is_unsaved, fleet.run.is_grown) = (false, false);
        }
        true
    }
}

impl Run {
    /// Whether anything of it is not saved yet.
    pub fn is_waiting(&self) -> bool {
        !self.unsaved.is_empty() || !self.grown.is_empty()
    }

    /// Entries that are not saved yet.
    pub fn unsaved(&self) -> usize {
        self.unsaved.len()
    }

    /// Has the next decision begin another run, with full facts: what it is made from has changed by itself.
    pub fn end(&mut self) {
        self.key = None;
    }

    /// One more equal decision.
    fn grow(&mut self, fleet: &Arc<str>, now: Timestamp) {
        if let Some(entry) = self.unsaved.last_mut().filter(|_| self.is_unsaved) {
            // A clock that went back does not shorten a run.
            (entry.until, entry.count) = (entry.until.max(now), entry.count + 1);
        } else if let Some(run) = self.grown.last_mut().filter(|_| self.is_grown) {
            (run.until, run.count) = (run.until.max(now), run.count + 1);
        } else {
            self.grown.push(RunExtension { fleet: Arc::clone(fleet), until: now, count: 1 });
            self.is_grown = true;
        }
    }
}
