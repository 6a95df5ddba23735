//! The store in memory, for simulations and `plan`: the same promises as SQLite's, except to outlive the process. It is
//! deterministic, waits for nothing unless told to, and can be told to fail.

mod state;

#[cfg(test)]
mod tests;

use super::ledger::RecordedAction;
use super::{
    JournalEntry, Lease, Loaded, Options, OverrideRow, PolicyFiles, Record, RunExtension, Spent, Store, StoreError,
    StoreStat, lease::asked,
};
use contract::{ActionId, BoxFuture, Epoch, Timestamp};
use policies::memory::Outcome;
use state::State;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a simulated store suffers from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The disk is full and the reserve is in use: nothing is recorded that removes instances, and nothing learned kept.
    Full,
    /// The disk and the reserve are full: nothing is written.
    FullToTheBrim,
    /// Damaged.
    Corrupt,
    /// Every call takes so long, by tokio's clock.
    Slow(Duration),
}

/// A handle on a store in memory. Handles from [`MemoryStore::reopen`] share what is kept, as daemons share a file.
#[derive(Debug)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    /// Owner and epoch of the lease as last taken through this handle.
    session: Mutex<Option<(Arc<str>, Epoch)>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(options: Options) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(options))), session: Mutex::default() }
    }

    /// The store as a restarted daemon opens it: all that was kept, no lease in hand.
    pub fn reopen(&self) -> Self {
        Self { state: Arc::clone(&self.state), session: Mutex::default() }
    }

    /// From now on the store suffers from this, whichever handle is used.
    pub fn set_fault(&self, fault: Fault) {
        unpoisoned(&self.state).fault = fault;
    }

    /// The journal and the actions with their outcomes as text, a line each, in the order in which they came. Equal runs
    /// give equal bytes.
    pub fn dump(&self) -> Vec<u8> {
        unpoisoned(&self.state).dump()
    }

    fn run<'a, T: Send + 'a>(
        &'a self,
        write: bool,
        work: impl FnOnce(&mut State) -> Result<T, StoreError> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        Box::pin(async move {
            let fault = unpoisoned(&self.state).fault;
            if let Fault::Slow(delay) = fault {
                tokio::time::sleep(delay).await;
            }
            match fault {
                Fault::Corrupt => Err(StoreError::Corrupt("as the simulation asked".into())),
                Fault::FullToTheBrim if write => Err(StoreError::Full("as the simulation asked".into())),
                _ => work(&mut unpoisoned(&self.state)),
            }
        })
    }
}

/// A panic elsewhere left whole values behind: every change below is made after what can fail.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store for MemoryStore {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        self.run(false, |state| Ok(state.load()))
    }

    fn record(&self, records: Vec<Record>) -> BoxFuture<'_, Result<Vec<RecordedAction>, StoreError>> {
        let session = unpoisoned(&self.session).clone();
        self.run(true, move |state| state.record(records, session))
    }

    fn outcomes(&self, outcomes: Vec<(ActionId, Outcome, String, Timestamp)>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(true, move |state| {
            state.outcomes(outcomes);
            Ok(())
        })
    }

    fn checkpoint(
        &self,
        memories: Vec<(Arc<str>, Vec<u8>)>,
        entries: Vec<JournalEntry>,
        runs: Vec<RunExtension>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(true, move |state| {
            state.memories.extend(memories);
            runs.iter().for_each(|run| state.extend(run));
            entries.into_iter().for_each(|entry| state.append(entry));
            Ok(())
        })
    }

    fn keep_learned(&self, learned: Vec<(Arc<str>, Vec<u8>)>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(true, move |state| {
            if state.fault == Fault::Full && !learned.is_empty() {
                return Err(StoreError::Full("what was learned is not kept while it is".into()));
            }
            state.learned.extend(learned);
            Ok(())
        })
    }

    fn put_override(&self, fleet: Arc<str>, row: Option<OverrideRow>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(true, move |state| {
            match row {
                Some(row) => state.overrides.insert(fleet, row),
                None => state.overrides.remove(&fleet),
            };
            Ok(())
        })
    }

    fn journal(
        &self,
        fleet: Arc<str>,
        at: Option<Timestamp>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<JournalEntry>, StoreError>> {
        self.run(false, move |state| Ok(state.journal(&fleet, at, limit)))
    }

    fn spent(&self, since: Timestamp) -> BoxFuture<'_, Result<Spent, StoreError>> {
        self.run(false, move |state| Ok(state.spent(since)))
    }

    fn keep_policies(&self, policies: PolicyFiles, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(true, move |state| {
            state.keep_policies(policies, now);
            Ok(())
        })
    }

    fn policies(&self, revision: Arc<str>) -> BoxFuture<'_, Result<Option<PolicyFiles>, StoreError>> {
        self.run(false, move |state| Ok(state.policies(&revision)))
    }

    fn lease(&self, owner: Arc<str>, now: Timestamp, ttl: Duration) -> BoxFuture<'_, Result<Lease, StoreError>> {
        self.run(true, move |state| {
            let lease = asked(state.lease.as_ref(), &owner, now, ttl);
            if lease.held {
                state.lease = Some(lease.clone());
            }
            *unpoisoned(&self.session) = lease.held.then_some((owner, lease.epoch));
            Ok(lease)
        })
    }

    fn tend(&self, now: Timestamp) -> BoxFuture<'_, Result<StoreStat, StoreError>> {
        self.run(false, move |state| Ok(state.tend(now)))
    }
}
