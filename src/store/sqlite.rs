//! The store in a SQLite file: calls of [`Store`] in, transactions out. One writer: every call waits for its turn and runs
//! on a blocking thread of the runtime, so that a paused clock waits with it. It never makes up what it cannot read.
//!
//! What it costs, measured in release on 2 busy cores with made-up fleets of ten instances that decide every 15 s, change
//! desired 100 times a day and keep full facts every 10 minutes:
//! - kept: 0.16 MB a fleet and day (0.18 MB with a hundred instances), about 0.6 KB an entry, so 10,000 fleets keep
//!   1.5 GB a day and `journal_max = "10GiB"` holds about a week of them;
//! - written, with a checkpoint every 30 s: 31 MB a day for one fleet, 0.4 GB for 100, 23 GB for 10,000;
//! - a checkpoint of 10,000 memories of 300 bytes and 10,000 grown runs: 30 to 50 ms; a durable record: 0.5 to 1.3 ms.

mod body;
mod db;
mod fault;
mod journal;
mod lease;
mod load;
mod open;
mod overrides;
mod policies;
mod record;
mod reserve;
mod schema;
mod tend;

#[cfg(test)]
mod tests;

use super::ledger::RecordedAction;
use super::{
    JournalEntry, Lease, Loaded, Options, OverrideRow, PolicyFiles, Record, RunExtension, Spent, Store, StoreError,
    StoreStat,
};
use ::policies::memory::Outcome;
use contract::{ActionId, BoxFuture, Timestamp};
use db::Db;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// The store of a daemon. A call that has begun is finished even when its future is dropped.
#[derive(Debug)]
pub struct SqliteStore {
    // Tokio's mutex is fair and waits without a thread; the guard moves to the blocking thread.
    db: Arc<Mutex<Db>>,
}

impl SqliteStore {
    /// Opens the store of a daemon, and makes one where there is none. No other process can open it so meanwhile.
    ///
    /// # Errors
    /// `Owned` when another skala has it open; `Corrupt` when it is damaged, which is never repaired by starting afresh;
    /// `Newer` when a newer skala wrote it; `Full` when not even the reserve gives room enough to open it.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        Ok(Self::of(open::writer(path, options)?))
    }

    /// Opens a store to read only, for `explain` with the daemon down; every write fails.
    ///
    /// # Errors
    /// As [`SqliteStore::open`], but it does not mind a daemon; `Failed` when there is no store.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        Ok(Self::of(open::reader(path)?))
    }

    /// A store without a file: `sqlite::memory:`.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn open_in_memory(options: Options) -> Result<Self, StoreError> {
        Ok(Self::of(open::without_file(options)?))
    }

    fn of(db: Db) -> Self {
        Self { db: Arc::new(Mutex::new(db)) }
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Db) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let db = Arc::clone(&self.db);
        Box::pin(async move {
            let mut db = db.lock_owned().await;
            match tokio::task::spawn_blocking(move || work(&mut db)).await {
                Ok(done) => done,
                Err(lost) => Err(StoreError::Failed(format!("the call did not finish: {lost}"))),
            }
        })
    }
}

impl Store for SqliteStore {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        self.run(load::load)
    }

    fn record(&self, records: Vec<Record>) -> BoxFuture<'_, Result<Vec<RecordedAction>, StoreError>> {
        self.run(move |db| record::record(db, records))
    }

    fn outcomes(&self, outcomes: Vec<(ActionId, Outcome, String, Timestamp)>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(move |db| record::outcomes(db, &outcomes))
    }

    fn checkpoint(
        &self,
        memories: Vec<(Arc<str>, Vec<u8>)>,
        entries: Vec<JournalEntry>,
        runs: Vec<RunExtension>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(move |db| record::checkpoint(db, &memories, &entries, &runs))
    }

    fn keep_learned(&self, learned: Vec<(Arc<str>, Vec<u8>)>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(move |db| record::keep_learned(db, &learned))
    }

    fn put_override(&self, fleet: Arc<str>, row: Option<OverrideRow>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(move |db| overrides::put(db, &fleet, row.as_ref()))
    }

    fn journal(
        &self,
        fleet: Arc<str>,
        at: Option<Timestamp>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<JournalEntry>, StoreError>> {
        self.run(move |db| db.read(|conn| journal::entries(conn, &fleet, at, limit)))
    }

    fn spent(&self, since: Timestamp) -> BoxFuture<'_, Result<Spent, StoreError>> {
        self.run(move |db| db.read(|conn| record::spent(conn, since)))
    }

    fn keep_policies(&self, policies: PolicyFiles, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(move |db| policies::keep(db, &policies, now))
    }

    fn policies(&self, revision: Arc<str>) -> BoxFuture<'_, Result<Option<PolicyFiles>, StoreError>> {
        self.run(move |db| db.read(|conn| policies::of(conn, &revision)))
    }

    fn lease(&self, owner: Arc<str>, now: Timestamp, ttl: Duration) -> BoxFuture<'_, Result<Lease, StoreError>> {
        self.run(move |db| lease::ask(db, owner, now, ttl))
    }

    fn tend(&self, now: Timestamp) -> BoxFuture<'_, Result<StoreStat, StoreError>> {
        self.run(move |db| tend::tend(db, now))
    }
}
