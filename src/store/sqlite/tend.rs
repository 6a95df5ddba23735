//! Retention: what is past its age or beyond the store's size goes, oldest first, a bounded step in each call.

use super::db::{Db, LAZY};
use super::{journal, policies};
use crate::store::{MEMORY_KEEP, StoreError, StoreStat};
use contract::Timestamp;
use rusqlite::{Connection, Transaction, params};
use std::time::Duration;

/// Rows of the journal that one call drops at most: about 5 MiB, some tens of milliseconds. Once a minute this keeps up
/// with 80 new entries a second.
const JOURNAL_STEP: i64 = 5_000;
/// Rows dropped between two looks at the size, so that little more goes than has to.
const CROWDED_STEP: i64 = 64;
/// Closed actions that one call drops at most.
const ACTION_STEP: i64 = 2_000;
/// Closed actions are kept at least so long whatever the journal's age: brakes count them.
const ACTIONS_KEEP: Duration = Duration::from_secs(31 * 24 * 60 * 60);
/// Free pages that one call gives back to the disk at most: each may have to be moved.
const VACUUM_STEP: i64 = 256;
/// A share of the file (one in so many pages) that may lie free for what comes next.
const FREE_SHARE: i64 = 8;
/// On a full disk so much room is kept inside the file, so that recording goes on when the reserve is used up.
const ROOM_WHEN_FULL: i64 = 16 << 20;

/// The file's pages.
struct Pages {
    bytes_each: i64,
    all: i64,
    free: i64,
}

impl Pages {
    fn of(conn: &Connection) -> Result<Self, StoreError> {
        let pragma = |sql| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
        Ok(Self {
            bytes_each: pragma("PRAGMA page_size")?,
            all: pragma("PRAGMA page_count")?,
            free: pragma("PRAGMA freelist_count")?,
        })
    }

    /// More is kept than may be, or a full disk leaves too little to write on.
    fn crowded(&self, max: i64, full: bool) -> bool {
        let used = (self.all - self.free).saturating_mul(self.bytes_each);
        used > max || full && self.free * self.bytes_each < ROOM_WHEN_FULL
    }
}

/// See [`crate::store::Store::tend`].
pub(super) fn tend(db: &mut Db, now: Timestamp) -> Result<StoreStat, StoreError> {
    let oldest = now.before(db.options.journal_keep);
    let (max, full) = (i64::try_from(db.options.journal_max).unwrap_or(i64::MAX), db.full);
    db.write(LAZY, |tx| {
        let mut steps = JOURNAL_STEP - drop_entries(tx, JOURNAL_STEP, oldest.before(journal::BASE_SPAN))?;
        while steps > 0 && Pages::of(tx)?.crowded(max, full) {
            let dropped = drop_entries(tx, CROWDED_STEP, Timestamp(i64::MAX))?;
            steps = if dropped == 0 { 0 } else { steps - dropped };
        }
        drop_actions(tx, oldest.min(now.before(ACTIONS_KEEP)))?;
        policies::trim(tx, now)?;
        drop_memories(tx, now.before(MEMORY_KEEP))?;
        tx.prepare_cached("DELETE FROM overrides WHERE until <= ?1")?.execute([now.0])?;
        Ok(())
    })?;
    if db.full {
        db.full = !db.reserve.as_mut().is_none_or(|reserve| reserve.make().unwrap_or(false));
    } else {
        shrink(db)?;
    }
    Ok(StoreStat { bytes: bytes(db)?, full: db.full })
}

/// Drops up to `steps` of the oldest entries, as far as they began before `before`; how many. An entry that a wrong clock
/// dated into the future keeps those after it until its time, or the store's size, has come.
fn drop_entries(tx: &Transaction<'_>, steps: i64, before: Timestamp) -> Result<i64, StoreError> {
    let sql = "WITH oldest AS (SELECT id, at FROM journal ORDER BY id LIMIT ?1)
               DELETE FROM journal WHERE id <= (SELECT max(id) FROM oldest)
                   AND id < (SELECT coalesce(min(id), 1 << 62) FROM oldest WHERE at >= ?2)";
    let dropped = tx.prepare_cached(sql)?.execute(params![steps, before.0])?;
    Ok(i64::try_from(dropped).unwrap_or(i64::MAX))
}

fn drop_actions(tx: &Transaction<'_>, before: Timestamp) -> Result<(), StoreError> {
    let sql = "DELETE FROM actions WHERE seq IN (
                   SELECT seq FROM actions WHERE at < ?2 AND outcome IS NOT NULL ORDER BY at LIMIT ?1
               )";
    tx.prepare_cached(sql)?.execute(params![ACTION_STEP, before.0])?;
    Ok(())
}

/// Drops memories of fleets that were last decided before a time, unless a call of theirs is still open.
fn drop_memories(tx: &Transaction<'_>, before: Timestamp) -> Result<(), StoreError> {
    let sql = "DELETE FROM memories WHERE fleet IN (SELECT fleet FROM tails WHERE until < ?1)
               AND fleet NOT IN (SELECT fleet FROM actions WHERE outcome IS NULL)";
    if tx.prepare_cached(sql)?.execute([before.0])? > 0 {
        tx.execute("DELETE FROM learned WHERE fleet NOT IN (SELECT fleet FROM memories)", [])?;
    }
    Ok(())
}

/// Gives pages back when much lies free; a little is kept for what comes next.
fn shrink(db: &mut Db) -> Result<(), StoreError> {
    let pages = db.read(Pages::of)?;
    let spare = pages.free - pages.all / FREE_SHARE;
    if spare > 0 {
        let step = spare.min(VACUUM_STEP);
        // It yields a row a page and frees only as far as it is read.
        let mut query = db.conn.prepare(&format!("PRAGMA incremental_vacuum({step})"))?;
        let mut rows = query.query([])?;
        while rows.next()?.is_some() {}
    }
    Ok(())
}

/// Bytes of the database and its log.
fn bytes(db: &mut Db) -> Result<u64, StoreError> {
    let Some(path) = &db.path else {
        let pages = db.read(Pages::of)?;
        return Ok(u64::try_from(pages.all * pages.bytes_each).unwrap_or(0));
    };
    let mut log = path.clone().into_os_string();
    log.push("-wal");
    let length = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
    Ok(length(path) + length(log.as_ref()))
}
