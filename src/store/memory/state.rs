//! What a store in memory keeps, and the rules it keeps it by: those of SQLite's, told in maps.

use super::Fault;
use crate::store::ledger::RecordedAction;
use crate::store::{
    ActionRow, JournalEntry, Lease, Loaded, MEMORY_KEEP, OpenAction, Options, OverrideRow, POLICIES_KEEP, PolicyFiles,
    Record, RunExtension, Spent, StoreError, StoreStat,
};
use contract::{ActionId, Epoch, Timestamp};
use policies::memory::Outcome;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

/// How an action ended.
type Ended = (Outcome, String, Timestamp);

/// Everything kept.
#[derive(Debug)]
pub(super) struct State {
    options: Options,
    pub fault: Fault,
    pub memories: BTreeMap<Arc<str>, Vec<u8>>,
    pub learned: BTreeMap<Arc<str>, Vec<u8>>,
    actions: BTreeMap<u64, (ActionRow, Option<Ended>)>,
    by_id: BTreeMap<ActionId, u64>,
    journal: BTreeMap<u64, JournalEntry>,
    by_fleet: BTreeMap<Arc<str>, Vec<u64>>,
    pub overrides: BTreeMap<Arc<str>, OverrideRow>,
    pub lease: Option<Lease>,
    /// Each with its end, in time and in entries; the last has none.
    policies: Vec<(PolicyFiles, Option<(Timestamp, u64)>)>,
    next: u64,
}

impl State {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            fault: Fault::None,
            memories: BTreeMap::new(),
            learned: BTreeMap::new(),
            actions: BTreeMap::new(),
            by_id: BTreeMap::new(),
            journal: BTreeMap::new(),
            by_fleet: BTreeMap::new(),
            overrides: BTreeMap::new(),
            lease: None,
            policies: Vec::new(),
            next: 0,
        }
    }

    pub fn load(&self) -> Loaded {
        let open = self.actions.values().filter(|(_, ended)| ended.is_none());
        Loaded {
            store_id: self.options.new_id.clone(),
            memories: self.memories.iter().map(|(fleet, bytes)| (Arc::clone(fleet), bytes.clone())).collect(),
            learned: self.learned.iter().map(|(fleet, bytes)| (Arc::clone(fleet), bytes.clone())).collect(),
            open: open.map(|(row, _)| OpenAction { row: row.clone() }).collect(),
            overrides: self.overrides.values().cloned().collect(),
            policies: self.policies.last().map(|(kept, _)| kept.files.clone()).unwrap_or_default(),
        }
    }

    pub fn record(
        &mut self,
        records: Vec<Record>,
        session: Option<(Arc<str>, Epoch)>,
    ) -> Result<Vec<RecordedAction>, StoreError> {
        let rows = || records.iter().flat_map(|record| &record.actions);
        if self.fault == Fault::Full && rows().any(|row| row.change < 0) {
            return Err(StoreError::Full("instances are not removed while it is (safety rule 18)".into()));
        }
        let mut epoch = Epoch::default();
        if rows().next().is_some() {
            epoch = match (session, &self.lease) {
                (Some((owner, epoch)), Some(lease)) if lease.owner == *owner && lease.epoch == epoch => epoch,
                (Some(_), Some(lease)) => return Err(StoreError::Owned(format!("{} holds the lease", lease.owner))),
                _ => return Err(StoreError::Owned("the lease has not been taken".into())),
            };
        }
        let mut ids: Vec<ActionId> = rows().map(|row| row.id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) || ids.iter().any(|id| self.by_id.contains_key(id)) {
            return Err(StoreError::Failed("an action with this id is recorded already".into()));
        }
        let mut recorded = Vec::with_capacity(ids.len());
        for record in records {
            self.memories.insert(record.fleet, record.memory);
            for row in record.actions {
                self.next += 1;
                self.by_id.insert(row.id, self.next);
                self.actions.insert(self.next, (row.clone(), None));
                recorded.push(RecordedAction::committed(row, epoch));
            }
            self.append(record.entry);
        }
        Ok(recorded)
    }

    pub fn outcomes(&mut self, outcomes: Vec<(ActionId, Outcome, String, Timestamp)>) {
        for (id, outcome, code, at) in outcomes {
            if let Some((_, ended)) = self.by_id.get(&id).and_then(|seq| self.actions.get_mut(seq)) {
                *ended = Some((outcome, code, at));
            }
        }
    }

    pub fn keep_policies(&mut self, policies: PolicyFiles, now: Timestamp) {
        if let Some((kept, until)) = self.policies.last_mut() {
            // A start takes what was in force before it.
            if kept.revision == policies.revision {
                return;
            }
            *until = Some((now, self.next));
        }
        self.policies.push((policies, None));
    }

    pub fn policies(&self, revision: &str) -> Option<PolicyFiles> {
        self.policies.iter().rev().map(|(kept, _)| kept).find(|kept| *kept.revision == *revision).cloned()
    }

    pub fn append(&mut self, entry: JournalEntry) {
        self.next += 1;
        self.by_fleet.entry(Arc::clone(&entry.fleet)).or_default().push(self.next);
        self.journal.insert(self.next, entry);
    }

    pub fn extend(&mut self, run: &RunExtension) {
        let ids = self.by_fleet.get(&run.fleet).map_or(&[][..], Vec::as_slice);
        let newest = ids.last().and_then(|id| self.journal.get(id));
        // What ends before the newest run began belongs to the run before.
        let back = usize::from(newest.is_some_and(|newest| run.until < newest.at));
        if let Some(entry) = ids.iter().nth_back(back).and_then(|id| self.journal.get_mut(id)) {
            entry.until = entry.until.max(run.until);
            entry.count = entry.count.saturating_add(run.count);
        }
    }

    pub fn journal(&self, fleet: &str, at: Option<Timestamp>, limit: u32) -> Vec<JournalEntry> {
        let ids = self.by_fleet.get(fleet).map_or(&[][..], Vec::as_slice);
        let entries = ids.iter().rev().filter_map(|id| self.journal.get(id));
        entries.filter(|entry| at.is_none_or(|at| entry.at <= at)).take(limit as usize).cloned().collect()
    }

    pub fn spent(&self, since: Timestamp) -> Spent {
        let mut spent = Spent::default();
        for (row, ended) in self.actions.values() {
            if row.at >= since && !matches!(ended, Some((Outcome::Refused, ..))) {
                let side = if row.change > 0 { &mut spent.added } else { &mut spent.removed };
                *side = side.saturating_add(row.change.unsigned_abs());
            }
        }
        spent
    }

    pub fn tend(&mut self, now: Timestamp) -> StoreStat {
        let oldest = now.before(self.options.journal_keep);
        let mut bytes: u64 = self.journal.values().map(size).sum();
        while let Some(first) = self.journal.first_entry()
            && (first.get().at < oldest || bytes > self.options.journal_max)
        {
            let (id, entry) = first.remove_entry();
            bytes -= size(&entry);
            if let Some(ids) = self.by_fleet.get_mut(&entry.fleet) {
                ids.retain(|kept| *kept != id);
            }
        }
        let oldest = self.journal.keys().next().copied().unwrap_or(u64::MAX);
        let young = now.before(POLICIES_KEEP);
        self.policies.retain(|(_, until)| until.is_none_or(|(at, last)| last >= oldest || at >= young));
        let stale = now.before(MEMORY_KEEP);
        let (by_fleet, journal) = (&self.by_fleet, &self.journal);
        let last = |fleet: &str| journal.get(by_fleet.get(fleet)?.last()?).map(|entry| entry.until);
        let busy: BTreeSet<_> =
            self.actions.values().filter(|(_, ended)| ended.is_none()).map(|(row, _)| &row.fleet).collect();
        self.memories.retain(|fleet, _| busy.contains(fleet) || last(fleet).is_none_or(|last| last >= stale));
        self.learned.retain(|fleet, _| self.memories.contains_key(fleet));
        self.overrides.retain(|_, row| row.what.until() > now);
        StoreStat { bytes, full: matches!(self.fault, Fault::Full | Fault::FullToTheBrim) }
    }

    pub fn dump(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        let mut line = |id: &u64, text: String| {
            // Writing to a vector cannot fail.
            let _ = writeln!(lines, "{id} {text}");
        };
        // One counter numbers both, so merging by it gives the order in which they came.
        let mut entries = self.journal.iter().peekable();
        for (id, action) in &self.actions {
            while let Some((before, entry)) = entries.next_if(|(before, _)| *before < id) {
                line(before, format!("{entry:?}"));
            }
            line(id, format!("{action:?}"));
        }
        entries.for_each(|(id, entry)| line(id, format!("{entry:?}")));
        lines
    }
}

/// About the bytes that an entry takes.
fn size(entry: &JournalEntry) -> u64 {
    (entry.facts.len() + entry.memory_before.len() + entry.decision.len() + 64) as u64
}
