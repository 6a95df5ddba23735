//! The open database: transactions in, commits or a [`StoreError`] out. It decides how durable a commit is, frees the
//! reserve when the disk is full, and refuses everything once damage has been seen.

use super::fault::corrupt;
use super::reserve::Reserve;
use crate::store::{Options, StoreError};
use contract::Epoch;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// How a transaction is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Write {
    /// The commit returns only when the disk has it; otherwise a power cut may take it back, in order, never in part.
    pub durable: bool,
    /// On a full disk it is written from the reserve. What removes instances is not (safety rule 18).
    pub on_reserve: bool,
}

/// Records, overrides, the lease.
pub(super) const DURABLE: Write = Write { durable: true, on_reserve: true };
/// Memories and grown runs.
pub(super) const LAZY: Write = Write { durable: false, on_reserve: true };
/// What rules have learned: it is large, and can be learned again.
pub(super) const SPARE: Write = Write { durable: false, on_reserve: false };

/// An open store. Fields are dropped in this order: the lock goes last.
#[derive(Debug)]
pub(super) struct Db {
    pub conn: Connection,
    /// `None`: in memory.
    pub path: Option<PathBuf>,
    pub options: Options,
    pub reserve: Option<Reserve>,
    /// The disk was full and has not had room since.
    pub full: bool,
    pub read_only: bool,
    /// Owner and epoch of the lease as last taken through this value.
    pub session: Option<(Arc<str>, Epoch)>,
    pub damage: Option<String>,
    pub _lock: Option<File>,
}

impl Db {
    /// Reads in one consistent view.
    pub fn read<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.refuse_damaged()?;
        let view = self.conn.transaction().map_err(StoreError::from);
        let done = view.and_then(|view| work(&view));
        done.map_err(|error| self.seen(error))
    }

    /// Runs `work` in a transaction that is committed when it succeeds; on a full disk a second time, on the reserve.
    pub fn write<T>(
        &mut self,
        how: Write,
        mut work: impl FnMut(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.refuse_damaged()?;
        if self.read_only {
            return Err(StoreError::Failed("it was opened to read only".into()));
        }
        let mut done = self.attempt(how, &mut work);
        if let Err(StoreError::Full(text) | StoreError::Failed(text)) = &done
            && (matches!(done, Err(StoreError::Full(_))) || self.disk_is_full())
        {
            let text = text.clone();
            self.full = true;
            let freed = self.reserve.as_mut().is_some_and(Reserve::free);
            done = if freed && how.on_reserve { self.attempt(how, &mut work) } else { Err(StoreError::Full(text)) };
        }
        done.map_err(|error| self.seen(error))
    }

    fn attempt<T>(
        &mut self,
        how: Write,
        work: &mut impl FnMut(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // In WAL mode FULL syncs the log at each commit, with all lazy commits before it; NORMAL only when the log is moved
        // into the database. The pragma costs no I/O.
        let level = if how.durable { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
        self.conn.execute_batch(level)?;
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&tx)?;
        tx.commit()?;
        Ok(done)
    }

    /// SQLite calls a disk full only where a write says so; after a failed sync, or a map of the log that cannot grow, the
    /// space left tells.
    fn disk_is_full(&self) -> bool {
        self.reserve.as_ref().is_some_and(Reserve::disk_is_full)
    }

    fn refuse_damaged(&self) -> Result<(), StoreError> {
        match &self.damage {
            Some(what) => Err(corrupt(self.path.as_deref(), what)),
            None => Ok(()),
        }
    }

    /// Damage is remembered: whatever else still works, a damaged store is not acted on.
    fn seen(&mut self, error: StoreError) -> StoreError {
        match error {
            StoreError::Corrupt(what) => {
                let error = corrupt(self.path.as_deref(), &what);
                self.damage = Some(what);
                error
            }
            other => other,
        }
    }
}
