//! What survives a restart: memories, recorded actions, overrides, the journal, the lease, the last good policies.
//!
//! [`Store`] is a seam: SQLite in production, memory in a simulation. One conformance function holds for both.

pub mod hold_all;
mod lease;
pub mod ledger;
pub mod memory;
pub mod refusing;
pub mod sample;
pub mod sqlite;
pub mod url;

#[cfg(test)]
mod conformance;

use contract::{ActionId, BoxFuture, Capacity, Epoch, Timestamp};
use ledger::RecordedAction;
use policies::facts::Override;
use policies::memory::Outcome;
use policies::plan::Action;
use policies::policy::SourceFile;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// What can go wrong with the store, named by what the caller does next.
#[derive(Debug, Error)]
pub enum StoreError {
    /// No space: scale-in is refused, scale-out goes on from the reserve (safety rule 18).
    #[error("the store's disk is full: {0}")]
    Full(String),
    /// Not a store, or damaged: refuse to act and say how to restore (safety rule 18).
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// Written by a newer skala.
    #[error("the store has schema {found}, this skala knows up to {known}; run the newer skala or restore a backup")]
    Newer {
        /// Schema found.
        found: u32,
        /// Newest schema known.
        known: u32,
    },
    /// Another daemon has the store or its lease: write nothing (safety rule 11).
    #[error("the store is not ours: {0}")]
    Owned(String),
    /// Anything else: may pass by itself.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// How long and how much is kept, and what a new store is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How long entries of the journal are kept at least; a store may keep them up to 6 hours longer.
    pub journal_keep: Duration,
    /// The store's largest size in bytes; the oldest of the journal goes first.
    pub journal_max: u64,
    /// Bytes set aside for a full disk (safety rule 18).
    pub reserve: u64,
    /// The lasting id that a new store gets; one that exists keeps its own.
    pub new_id: String,
}

impl Options {
    /// The defaults of `skala.toml`: 30 days, 10 GiB, and the reserve of 64 MiB.
    pub fn new(new_id: impl Into<String>) -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self { journal_keep: 30 * day, journal_max: 10 << 30, reserve: 64 << 20, new_id: new_id.into() }
    }
}

/// One fleet's part of a record transaction: everything that must be durable before its calls are made.
#[derive(Debug)]
pub struct Record {
    /// The fleet.
    pub fleet: Arc<str>,
    /// The memory after the decision, encoded.
    pub memory: Vec<u8>,
    /// The decision, as a journal entry; it starts a new run.
    pub entry: JournalEntry,
    /// The actions to carry out, in order, each group's.
    pub actions: Vec<ActionRow>,
}

/// An action as it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionRow {
    /// Its id, made for this record.
    pub id: ActionId,
    /// The fleet.
    pub fleet: Arc<str>,
    /// Index of the group in the policy.
    pub group: u16,
    /// The provider's name.
    pub provider: Arc<str>,
    /// The group's name.
    pub group_name: Arc<str>,
    /// What to do.
    pub action: Action,
    /// Capacity added (positive) or removed (negative): what the brakes count.
    pub change: i32,
    /// The state the plan was made from.
    pub seen: contract::Version,
    /// When it was recorded.
    pub at: Timestamp,
    /// The plan expires here: an action not yet sent is dropped.
    pub expires: Timestamp,
}

/// A decision in the journal: a run of equal decisions is one entry, extended.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalEntry {
    /// The fleet.
    pub fleet: Arc<str>,
    /// When the run began.
    pub at: Timestamp,
    /// The last decision of the run.
    pub until: Timestamp,
    /// How many decisions.
    pub count: u64,
    /// The policy set's revision.
    pub revision: Arc<str>,
    /// The engine's version that decided.
    pub engine: Arc<str>,
    /// The facts of the run's first decision as a `decide` input line; empty when the entry keeps none.
    pub facts: String,
    /// The memory before the run's first decision, encoded; empty when the entry keeps none.
    pub memory_before: Vec<u8>,
    /// The first decision as a `decide` output line.
    pub decision: String,
}

/// A run that went on: the newest entry of the fleet grows.
#[derive(Clone, Debug, PartialEq)]
pub struct RunExtension {
    /// The fleet.
    pub fleet: Arc<str>,
    /// The last decision of the run.
    pub until: Timestamp,
    /// Decisions added since the last extension.
    pub count: u64,
}

/// An override as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct OverrideRow {
    /// The fleet.
    pub fleet: Arc<str>,
    /// What a person asked for.
    pub what: Override,
    /// Who asked.
    pub by: Arc<str>,
    /// When.
    pub at: Timestamp,
}

/// An action of an earlier life whose end is not known.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenAction {
    /// As recorded.
    pub row: ActionRow,
}

/// How long the memory of a fleet that nobody decides any more is kept: long enough for a policy that was removed by
/// mistake, far longer than any window.
pub const MEMORY_KEEP: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Policies are kept at least so long after they were replaced: what was decided under them is saved a while later.
const POLICIES_KEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything that policies are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFiles {
    /// What [`policies::policy::PolicySet::revision`] says of them.
    pub revision: Arc<str>,
    /// The interval of fleets that say none.
    pub interval: Duration,
    /// The files, in their order.
    pub files: Vec<SourceFile>,
}

/// Everything a start needs.
#[derive(Debug, Default)]
pub struct Loaded {
    /// This store's lasting id: the owner tags carry it.
    pub store_id: String,
    /// Encoded memories by fleet.
    pub memories: Vec<(Arc<str>, Vec<u8>)>,
    /// What rules have learned by fleet, encoded.
    pub learned: Vec<(Arc<str>, Vec<u8>)>,
    /// Actions without an outcome.
    pub open: Vec<OpenAction>,
    /// Overrides that have not been released.
    pub overrides: Vec<OverrideRow>,
    /// The last good policy files.
    pub policies: Vec<SourceFile>,
}

/// What the brakes have spent in a window, all fleets together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Instances added.
    pub added: Capacity,
    /// Instances removed.
    pub removed: Capacity,
}

/// The lease as it stands after asking for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// Whether it is ours.
    pub held: bool,
    /// Who holds it.
    pub owner: String,
    /// Its term.
    pub epoch: Epoch,
    /// Its end.
    pub until: Timestamp,
}

/// The store's condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStat {
    /// Bytes on disk.
    pub bytes: u64,
    /// The disk was full at the last write and the reserve is spent.
    pub full: bool,
}

/// What is kept over a restart.
pub trait Store: Send + Sync {
    /// Reads everything a start needs.
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreError>>;

    /// Makes decisions durable in one transaction and hands out the right to carry their actions out.
    /// The rows come back in the order of the records and their actions. Each entry closes its fleet's former run.
    ///
    /// # Errors
    /// Nothing was recorded then. `Owned` when there are actions and the lease, last asked for through this value, is not
    /// held. `Full` when the disk is full and an action removes instances: record the others again without it.
    fn record(&self, records: Vec<Record>) -> BoxFuture<'_, Result<Vec<RecordedAction>, StoreError>>;

    /// Notes how actions ended; the last word about an action counts, and an action that is no longer kept is passed over.
    fn outcomes(&self, outcomes: Vec<(ActionId, Outcome, String, Timestamp)>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Saves memories, new journal entries and grown runs; need not be durable at once. Runs are extended first: they
    /// speak of entries stored before, `entries` carry their own `until` and `count`. An extension that ends before the
    /// fleet's newest entry began still goes to the run before it; one of a fleet without entries is passed over.
    fn checkpoint(
        &self,
        memories: Vec<(Arc<str>, Vec<u8>)>,
        entries: Vec<JournalEntry>,
        runs: Vec<RunExtension>,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Keeps what fleets' rules have learned, in place of the last; need not be durable at once. It is kept as long as the
    /// fleet's memory. On a full disk it is refused: the reserve is for what matters more.
    fn keep_learned(&self, learned: Vec<(Arc<str>, Vec<u8>)>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Keeps an override, replacing the fleet's last; `None` releases it. Durable.
    fn put_override(&self, fleet: Arc<str>, row: Option<OverrideRow>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The journal of one fleet around a time, newest first: entries that began at or before `at` (all when `None`), at
    /// most `limit`. The first is the run that `at` falls into, or the last before it.
    fn journal(
        &self,
        fleet: Arc<str>,
        at: Option<Timestamp>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<JournalEntry>, StoreError>>;

    /// What was added and removed since a time (inclusive), by recorded actions that were not refused.
    fn spent(&self, since: Timestamp) -> BoxFuture<'_, Result<Spent, StoreError>>;

    /// Keeps the policies that come into force now, in place of the last. Earlier ones stay for as long as the journal has
    /// entries from their time. Durable.
    fn keep_policies(&self, policies: PolicyFiles, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The policies of a revision, while they are kept.
    fn policies(&self, revision: Arc<str>) -> BoxFuture<'_, Result<Option<PolicyFiles>, StoreError>>;

    /// Takes or renews the lease for `owner`; a lease that ran out passes to whoever asks, with a larger epoch.
    /// An end once promised is never taken back, so a clock that goes backwards steals nothing. Durable.
    fn lease(&self, owner: Arc<str>, now: Timestamp, ttl: Duration) -> BoxFuture<'_, Result<Lease, StoreError>>;

    /// Drops what is past retention, a bounded step in each call, and says how the store does. Call it every minute or so.
    fn tend(&self, now: Timestamp) -> BoxFuture<'_, Result<StoreStat, StoreError>>;
}
