//! The journal: runs of equal decisions. Entries in, entries out; it is written at the end and trimmed at the beginning.

use super::record::name;
use crate::store::{JournalEntry, RunExtension, StoreError};
use contract::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::sync::Arc;

/// The fleet's newest run.
struct Tail {
    entry: i64,
    until: i64,
    count: i64,
}

fn tail(conn: &Connection, fleet: i64) -> Result<Option<Tail>, StoreError> {
    let of = |row: &Row<'_>| Ok(Tail { entry: row.get(0)?, until: row.get(1)?, count: row.get(2)? });
    let mut query = conn.prepare_cached("SELECT entry, until, count FROM tails WHERE fleet = ?1")?;
    Ok(query.query_row([fleet], of).optional()?)
}

/// Starts a run, which ends the fleet's last.
pub(super) fn append(tx: &Transaction<'_>, entry: &JournalEntry) -> Result<(), StoreError> {
    let fleet = name(tx, &entry.fleet)?;
    let former = tail(tx, fleet)?;
    let (revision, engine) = (name(tx, &entry.revision)?, name(tx, &entry.engine)?);
    let body = body::write(entry)?;
    let sql = "INSERT INTO journal (fleet, at, former_until, former_count, revision, engine, body)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let (until, count) = former.map(|tail| (tail.until, tail.count)).unzip();
    tx.prepare_cached(sql)?.execute(params![fleet, entry.at.0, until, count, revision, engine, body])?;
    let sql = "INSERT OR REPLACE INTO tails (fleet, entry, at, until, count) VALUES (?1, ?2, ?3, ?4, ?5)";
    let count = i64::try_from(entry.count).unwrap_or(i64::MAX);
    tx.prepare_cached(sql)?.execute(params![fleet, tx.last_insert_rowid(), entry.at.0, entry.until.0, count])?;
    Ok(())
}

/// Lets a run go on.
pub(super) fn extend(tx: &Transaction<'_>, run: &RunExtension) -> Result<(), StoreError> {
    let count = i64::try_from(run.count).unwrap_or(i64::MAX);
    let sql = "UPDATE tails SET until = max(until, ?2), count = count + ?3
               WHERE fleet = (SELECT id FROM names WHERE text = ?1) AND at <= ?2";
    if tx.prepare_cached(sql)?.execute(params![run.fleet, run.until.0, count])? > 0 {
        return Ok(());
    }
    // It belongs to the run before: a record has begun a new one since it was counted.
    let sql = "UPDATE journal SET former_until = max(former_until, ?2), former_count = former_count + ?3
               WHERE id = (SELECT entry FROM tails JOIN names ON names.id = fleet WHERE text = ?1)
                 AND former_until IS NOT NULL";
    tx.prepare_cached(sql)?.execute(params![run.fleet, run.until.0, count])?;
    Ok(())
}

/// See [`crate::store::Store::journal`].
pub(super) fn entries(
    conn: &Connection,
    fleet: &Arc<str>,
    at: Option<Timestamp>,
    limit: u32,
) -> Result<Vec<JournalEntry>, StoreError> {
    let known = conn.query_row("SELECT id FROM names WHERE text = ?1", [&**fleet], |row| row.get(0)).optional()?;
    let Some(id) = known else {
        return Ok(Vec::new());
    };
    let sql = "SELECT journal.id, at, revisions.text, engines.text, body
               FROM journal JOIN names AS revisions ON revisions.id = revision JOIN names AS engines ON engines.id = engine
               WHERE fleet = ?1 AND at <= ?2 ORDER BY journal.id DESC LIMIT ?3";
    let mut query = conn.prepare_cached(sql)?;
    let mut rows = query.query(params![id, at.map_or(i64::MAX, |at| at.0), limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (until, count) = end(conn, id, row.get(0)?)?;
        let body = body::read(row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?)?;
        found.push(JournalEntry {
            fleet: Arc::clone(fleet),
            at: Timestamp(row.get(1)?),
            until: Timestamp(until),
            count: u64::try_from(count).unwrap_or(0),
            revision: row.get(2)?,
            engine: row.get(3)?,
            facts: body.facts,
            memory_before: body.memory_before,
            decision: body.decision,
        });
    }
    Ok(found)
}

/// How an entry's run ended: its successor says, or the tail while there is none.
fn end(conn: &Connection, fleet: i64, entry: i64) -> Result<(i64, i64), StoreError> {
    let sql = "SELECT former_until, former_count FROM journal WHERE fleet = ?1 AND id > ?2 ORDER BY id LIMIT 1";
    let pair = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    if let Some(end) = conn.prepare_cached(sql)?.query_row([fleet, entry], pair).optional()? {
        return Ok(end);
    }
    match tail(conn, fleet)? {
        Some(tail) if tail.entry == entry => Ok((tail.until, tail.count)),
        _ => Err(StoreError::Corrupt(format!("journal entry {entry} has no end"))),
    }
}

/// An entry's texts as they lie in the table.
mod body {
    use super::{JournalEntry, StoreError};

    /// What an entry keeps beside the table's columns.
    #[derive(serde::Serialize, serde::Deserialize)]
    pub(super) struct Body {
        pub facts: String,
        pub memory_before: Vec<u8>,
        pub decision: String,
    }

    const PLAIN: u8 = 0;

    pub(super) fn write(entry: &JournalEntry) -> Result<Vec<u8>, StoreError> {
        let parts = (&entry.facts, &entry.memory_before, &entry.decision);
        postcard::to_extend(&parts, vec![PLAIN]).map_err(|error| StoreError::Failed(error.to_string()))
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Body, StoreError> {
        match bytes.split_first() {
            Some((&PLAIN, rest)) => postcard::from_bytes(rest).map_err(|error| error.to_string()),
            Some((form, _)) => Err(format!("unknown form {form}")),
            None => Err("no bytes".to_owned()),
        }
        .map_err(|error| StoreError::Corrupt(format!("a journal entry cannot be read: {error}")))
    }
}
