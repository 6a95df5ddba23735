//! The journal: runs of equal decisions. Entries in, entries out; it is written at the end and trimmed at the beginning.

use super::body;
use super::record::name;
use crate::store::{JournalEntry, RunExtension, StoreError};
use contract::{Timestamp, micros};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::sync::Arc;
use std::time::Duration;

/// Entries are packed on an entry at most so much older, so that trimming by age, which waits so much longer, never takes
/// an entry's base before the entry.
pub(super) const BASE_SPAN: Duration = Duration::from_secs(6 * 60 * 60);

/// The fleet's newest run.
struct Tail {
    entry: i64,
    until: i64,
    count: i64,
    base: i64,
    base_at: i64,
}

fn tail(conn: &Connection, fleet: i64) -> Result<Option<Tail>, StoreError> {
    let of = |row: &Row<'_>| {
        let (entry, until, count) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Tail { entry, until, count, base: row.get(3)?, base_at: row.get(4)? })
    };
    let mut query = conn.prepare_cached("SELECT entry, until, count, base, base_at FROM tails WHERE fleet = ?1")?;
    Ok(query.query_row([fleet], of).optional()?)
}

/// A base's packed length and plain bytes; `None` when it was trimmed.
fn base(conn: &Connection, id: i64) -> Result<Option<(usize, Vec<u8>)>, StoreError> {
    let mut query = conn.prepare_cached("SELECT body FROM journal WHERE id = ?1 AND base IS NULL")?;
    let packed: Option<Vec<u8>> = query.query_row([id], |row| row.get(0)).optional()?;
    packed.map(|packed| Ok((packed.len(), body::unpack(&packed, None)?))).transpose()
}

/// Starts a run, which ends the fleet's last.
pub(super) fn append(tx: &Transaction<'_>, entry: &JournalEntry) -> Result<(), StoreError> {
    let fleet = name(tx, &entry.fleet)?;
    let former = tail(tx, fleet)?;
    let (revision, engine) = (name(tx, &entry.revision)?, name(tx, &entry.engine)?);
    let near =
        former.as_ref().filter(|tail| (0..=micros(BASE_SPAN)).contains(&entry.at.0.saturating_sub(tail.base_at)));
    let on = match near {
        Some(tail) => base(tx, tail.base)?,
        None => None,
    };
    let packed = body::pack(&body::plain(entry)?, on.as_ref().map(|(length, plain)| (*length, plain.as_slice())));
    let on = near.filter(|_| packed.on_base).map(|tail| (tail.base, tail.base_at));
    let sql = "INSERT INTO journal (at, former, former_until, former_count, revision, engine, base, body)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let (last, until) = former.as_ref().map(|tail| (tail.entry, tail.until)).unzip();
    let (count, base) = (former.as_ref().map(|tail| tail.count), on.map(|(base, _)| base));
    tx.prepare_cached(sql)?.execute(params![entry.at.0, last, until, count, revision, engine, base, packed.bytes])?;
    let id = tx.last_insert_rowid();
    let (base, base_at) = on.unwrap_or((id, entry.at.0));
    let sql = "INSERT OR REPLACE INTO tails (fleet, entry, at, until, count, base, base_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let count = i64::try_from(entry.count).unwrap_or(i64::MAX);
    tx.prepare_cached(sql)?.execute(params![fleet, id, entry.at.0, entry.until.0, count, base, base_at])?;
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

/// What an entry says of those before it.
struct Link {
    at: i64,
    /// The fleet's entry before it, with the end and the count of that run.
    former: Option<(i64, i64, i64)>,
    base: Option<i64>,
}

/// `None`: trimmed.
fn link(conn: &Connection, entry: i64) -> Result<Option<Link>, StoreError> {
    let sql = "SELECT at, former, former_until, former_count, base FROM journal WHERE id = ?1";
    let of = |row: &Row<'_>| {
        let former = match row.get(1)? {
            Some(former) => Some((former, row.get(2)?, row.get(3)?)),
            None => None,
        };
        Ok(Link { at: row.get(0)?, former, base: row.get(4)? })
    };
    Ok(conn.prepare_cached(sql)?.query_row([entry], of).optional()?)
}

/// See [`crate::store::Store::journal`]. It follows the fleet's entries back from the newest: an index would cost a page
/// written for each entry, more than the entry itself.
pub(super) fn entries(
    conn: &Connection,
    fleet: &Arc<str>,
    at: Option<Timestamp>,
    limit: u32,
) -> Result<Vec<JournalEntry>, StoreError> {
    let at = at.map_or(i64::MAX, |at| at.0);
    let known = conn.query_row("SELECT id FROM names WHERE text = ?1", [&**fleet], |row| row.get(0)).optional()?;
    let newest = known.map_or(Ok(None), |fleet| tail(conn, fleet))?;
    let mut next = newest.map(|tail| (tail.entry, tail.until, tail.count));
    let mut found = Vec::new();
    while let Some((id, until, count)) = next
        && found.len() < limit as usize
        && let Some(mut link) = self::link(conn, id)?
    {
        if link.at <= at {
            let Some(entry) = read(conn, fleet, id, (until, count))? else { break };
            found.push(entry);
        } else if let Some(base) = link.base
            && let Some(further) = self::link(conn, base)?
            && further.at > at
        {
            // All entries between one and its base began after the base: a month is some hundred steps.
            link = further;
        }
        next = link.former;
    }
    Ok(found)
}

/// One entry, with the end of its run; `None` when trimming has taken its base: what is left of that span is past retention.
fn read(
    conn: &Connection,
    fleet: &Arc<str>,
    id: i64,
    (until, count): (i64, i64),
) -> Result<Option<JournalEntry>, StoreError> {
    let sql = "SELECT at, revisions.text, engines.text, base, body
               FROM journal JOIN names AS revisions ON revisions.id = revision JOIN names AS engines ON engines.id = engine
               WHERE journal.id = ?1";
    let mut query = conn.prepare_cached(sql)?;
    let mut rows = query.query([id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let on = match row.get(3)? {
        Some(id) => match base(conn, id)? {
            Some((_, plain)) => Some(plain),
            None => return Ok(None),
        },
        None => None,
    };
    let packed = row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?;
    let body = body::parse(&body::unpack(packed, on.as_deref())?)?;
    Ok(Some(JournalEntry {
        fleet: Arc::clone(fleet),
        at: Timestamp(row.get(0)?),
        until: Timestamp(until),
        count: u64::try_from(count).unwrap_or(0),
        revision: row.get(1)?,
        engine: row.get(2)?,
        facts: body.facts,
        memory_before: body.memory_before,
        decision: body.decision,
    }))
}
