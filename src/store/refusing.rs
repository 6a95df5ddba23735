//! A store that could not be opened and refuses everything: the daemon still observes, decides and shows, with every
//! fleet held for `store` (safety rule 18), instead of dying again and again. It touches no disk.

use super::ledger::RecordedAction;
use super::{
    JournalEntry, Lease, Loaded, OverrideRow, PolicyFiles, Record, RunExtension, Spent, Store, StoreError, StoreStat,
};
use contract::{ActionId, BoxFuture, Timestamp};
use policies::memory::Outcome;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

/// The store that is not there.
#[derive(Debug)]
pub struct Refusing {
    why: StoreError,
}

impl Refusing {
    /// Refuses everything with this error.
    pub fn new(why: StoreError) -> Self {
        Self { why }
    }

    fn refuse<T: Send + 'static>(&self) -> BoxFuture<'_, Result<T, StoreError>> {
        Box::pin(ready(Err(match &self.why {
            StoreError::Full(text) => StoreError::Full(text.clone()),
            StoreError::Corrupt(text) => StoreError::Corrupt(text.clone()),
            StoreError::Newer { found, known } => StoreError::Newer { found: *found, known: *known },
            StoreError::Owned(text) => StoreError::Owned(text.clone()),
            StoreError::Failed(text) => StoreError::Failed(text.clone()),
        })))
    }
}

impl Store for Refusing {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        self.refuse()
    }

    fn record(&self, _: Vec<Record>) -> BoxFuture<'_, Result<Vec<RecordedAction>, StoreError>> {
        self.refuse()
    }

    fn outcomes(&self, _: Vec<(ActionId, Outcome, String, Timestamp)>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.refuse()
    }

    fn checkpoint(
        &self,
        _: Vec<(Arc<str>, Vec<u8>)>,
        _: Vec<JournalEntry>,
        _: Vec<RunExtension>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.refuse()
    }

    fn keep_learned(&self, _: Vec<(Arc<str>, Vec<u8>)>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.refuse()
    }

    fn put_override(&self, _: Arc<str>, _: Option<OverrideRow>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.refuse()
    }

    fn journal(
        &self,
        _: Arc<str>,
        _: Option<Timestamp>,
        _: u32,
    ) -> BoxFuture<'_, Result<Vec<JournalEntry>, StoreError>> {
        self.refuse()
    }

    fn spent(&self, _: Timestamp) -> BoxFuture<'_, Result<Spent, StoreError>> {
        self.refuse()
    }

    fn keep_policies(&self, _: PolicyFiles, _: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        self.refuse()
    }

    fn policies(&self, _: Arc<str>) -> BoxFuture<'_, Result<Option<PolicyFiles>, StoreError>> {
        self.refuse()
    }

    fn lease(&self, _: Arc<str>, _: Timestamp, _: Duration) -> BoxFuture<'_, Result<Lease, StoreError>> {
        self.refuse()
    }

    fn tend(&self, _: Timestamp) -> BoxFuture<'_, Result<StoreStat, StoreError>> {
        self.refuse()
    }
}
