//! Decisions and their actions: records in, the right to act out, only after the commit. What the brakes have spent is
//! read from the actions themselves, so it can never differ from them.

use super::db::{DURABLE, Db, LAZY, SPARE, Write};
use super::journal;
use crate::store::ledger::RecordedAction;
use crate::store::{ActionRow, JournalEntry, OpenAction, Record, RunExtension, Spent, StoreError};
use contract::{ActionId, Epoch, Timestamp, Version};
use policies::memory::Outcome;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::sync::Arc;

/// See [`crate::store::Store::record`].
pub(super) fn record(db: &mut Db, records: Vec<Record>) -> Result<Vec<RecordedAction>, StoreError> {
    let removes = records.iter().flat_map(|record| &record.actions).any(|row| row.change < 0);
    if removes && db.full {
        return Err(StoreError::Full("instances are not removed while it is (safety rule 18)".into()));
    }
    let session = db.session.clone();
    let acts = records.iter().any(|record| !record.actions.is_empty());
    let epoch = db.write(Write { on_reserve: !removes, ..DURABLE }, |tx| {
        let epoch = if acts { fence(tx, session.as_ref())? } else { Epoch::default() };
        for record in &records {
            put_memory(tx, &record.fleet, &record.memory)?;
            for row in &record.actions {
                put_action(tx, row, epoch)?;
            }
            journal::append(tx, &record.entry)?;
        }
        Ok(epoch)
    })?;
    let rows = records.into_iter().flat_map(|record| record.actions);
    Ok(rows.map(|row| RecordedAction::committed(row, epoch)).collect())
}

/// No lease, no write (safety rule 11): checked in the transaction itself.
fn fence(tx: &Transaction<'_>, session: Option<&(Arc<str>, Epoch)>) -> Result<Epoch, StoreError> {
    let Some((owner, epoch)) = session else {
        return Err(StoreError::Owned("the lease has not been taken".into()));
    };
    match super::lease::read(tx)? {
        Some(lease) if lease.owner == **owner && lease.epoch == *epoch => Ok(*epoch),
        Some(lease) => Err(StoreError::Owned(format!("{} holds the lease, epoch {}", lease.owner, lease.epoch.0))),
        None => Err(StoreError::Owned("the lease is gone".into())),
    }
}

/// See [`crate::store::Store::outcomes`].
pub(super) fn outcomes(db: &mut Db, outcomes: &[(ActionId, Outcome, String, Timestamp)]) -> Result<(), StoreError> {
    if outcomes.is_empty() {
        return Ok(());
    }
    db.write(DURABLE, |tx| {
        let mut update = tx.prepare_cached("UPDATE actions SET outcome = ?2, code = ?3, ended = ?4 WHERE id = ?1")?;
        for (id, outcome, code, at) in outcomes {
            update.execute(params![id.0.to_be_bytes(), word(*outcome), code, at.0])?;
        }
        Ok(())
    })
}

/// See [`crate::store::Store::checkpoint`].
pub(super) fn checkpoint(
    db: &mut Db,
    memories: &[(Arc<str>, Vec<u8>)],
    entries: &[JournalEntry],
    runs: &[RunExtension],
) -> Result<(), StoreError> {
    if memories.is_empty() && entries.is_empty() && runs.is_empty() {
        return Ok(());
    }
    db.write(LAZY, |tx| {
        for (fleet, memory) in memories {
            put_memory(tx, fleet, memory)?;
        }
        for run in runs {
            journal::extend(tx, run)?;
        }
        for entry in entries {
            journal::append(tx, entry)?;
        }
        Ok(())
    })
}

/// See [`crate::store::Store::keep_learned`].
pub(super) fn keep_learned(db: &mut Db, learned: &[(Arc<str>, Vec<u8>)]) -> Result<(), StoreError> {
    if learned.is_empty() {
        return Ok(());
    }
    if db.full {
        // There may be room in what was the reserve, and that is not for this.
        return Err(StoreError::Full("what was learned is not kept while it is".into()));
    }
    let sql = "INSERT INTO learned (fleet, bytes) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET bytes = excluded.bytes";
    db.write(SPARE, |tx| {
        for (fleet, bytes) in learned {
            let fleet = name(tx, fleet)?;
            tx.prepare_cached(sql)?.execute(params![fleet, bytes])?;
        }
        Ok(())
    })
}

/// See [`crate::store::Store::spent`].
pub(super) fn spent(conn: &Connection, since: Timestamp) -> Result<Spent, StoreError> {
    let sql = "SELECT coalesce(sum(max(change, 0)), 0), coalesce(sum(max(-change, 0)), 0)
               FROM actions WHERE at >= ?1 AND (outcome IS NULL OR outcome <> 'refused')";
    let sum = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let (added, removed) = conn.prepare_cached(sql)?.query_row([since.0], sum)?;
    // A sum beyond the type is beyond any brake, too.
    let capacity = |sum| u32::try_from(sum).unwrap_or(u32::MAX);
    Ok(Spent { added: capacity(added), removed: capacity(removed) })
}

/// The id of a text that is kept once.
pub(super) fn name(tx: &Transaction<'_>, text: &str) -> Result<i64, StoreError> {
    let known = tx.prepare_cached("SELECT id FROM names WHERE text = ?1")?.query_row([text], |row| row.get(0));
    match known.optional()? {
        Some(id) => Ok(id),
        None => {
            tx.prepare_cached("INSERT INTO names (text) VALUES (?1)")?.execute([text])?;
            Ok(tx.last_insert_rowid())
        }
    }
}

fn put_memory(tx: &Transaction<'_>, fleet: &str, memory: &[u8]) -> Result<(), StoreError> {
    let fleet = name(tx, fleet)?;
    let sql = "INSERT INTO memories (fleet, bytes) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET bytes = excluded.bytes";
    tx.prepare_cached(sql)?.execute(params![fleet, memory])?;
    Ok(())
}

fn put_action(tx: &Transaction<'_>, row: &ActionRow, epoch: Epoch) -> Result<(), StoreError> {
    let action = serde_json::to_string(&row.action).map_err(|error| StoreError::Failed(error.to_string()))?;
    let (fleet, provider, group) = (name(tx, &row.fleet)?, name(tx, &row.provider)?, name(tx, &row.group_name)?);
    let sql =
        "INSERT INTO actions (id, fleet, group_index, provider, group_name, action, change, seen_desired, seen_token,
                                    seen_at, at, expires, epoch)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    tx.prepare_cached(sql)?.execute(params![
        row.id.0.to_be_bytes(),
        fleet,
        row.group,
        provider,
        group,
        action,
        row.change,
        row.seen.desired,
        row.seen.token.as_deref(),
        row.seen.at.0,
        row.at.0,
        row.expires.0,
        epoch.0 as i64,
    ])?;
    Ok(())
}

/// Actions without an outcome, in the order in which they were recorded.
pub(super) fn open_actions(conn: &Connection) -> Result<Vec<OpenAction>, StoreError> {
    let sql = "SELECT actions.id, fleets.text, group_index, providers.text, groups.text, action, change, seen_desired, seen_token,
                      seen_at, at, expires
               FROM actions JOIN names AS fleets ON fleets.id = fleet JOIN names AS providers ON providers.id = provider
                    JOIN names AS groups ON groups.id = group_name
               WHERE outcome IS NULL ORDER BY seq";
    let mut query = conn.prepare(sql)?;
    let mut rows = query.query([])?;
    let mut open = Vec::new();
    while let Some(row) = rows.next()? {
        let action: String = row.get(5)?;
        let action = serde_json::from_str(&action)
            .map_err(|error| StoreError::Corrupt(format!("an action cannot be read: {error}")))?;
        open.push(OpenAction {
            row: ActionRow {
                id: ActionId(u128::from_be_bytes(row.get(0)?)),
                fleet: row.get(1)?,
                group: row.get(2)?,
                provider: row.get(3)?,
                group_name: row.get(4)?,
                action,
                change: row.get(6)?,
                seen: Version {
                    desired: row.get(7)?,
                    token: row.get::<_, Option<String>>(8)?.map(String::into_boxed_str),
                    at: Timestamp(row.get(9)?),
                },
                at: Timestamp(row.get(10)?),
                expires: Timestamp(row.get(11)?),
            },
        });
    }
    Ok(open)
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted => "accepted",
        Outcome::Refused => "refused",
        Outcome::Unclear => "unclear",
    }
}
