//! The policies in force, so that a start with broken files can go on with the last good ones (safety rule 17), and those
//! before them for as long as the journal speaks of them: a decision is explained by the policies of its time. A file that
//! did not change from one set to the next is kept once.

use super::db::{DURABLE, Db};
use super::record::name;
use crate::store::{POLICIES_KEEP, PolicyFiles, StoreError};
use contract::Timestamp;
use policies::policy::SourceFile;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::time::Duration;

/// See [`crate::store::Store::keep_policies`].
pub(super) fn keep(db: &mut Db, policies: &PolicyFiles, now: Timestamp) -> Result<(), StoreError> {
    db.write(DURABLE, |tx| {
        let revision = name(tx, &policies.revision)?;
        // A start takes what was in force before it.
        let in_force = "SELECT revision FROM policy_sets WHERE replaced IS NULL";
        if tx.query_row(in_force, [], |row| row.get(0)).optional()? == Some(revision) {
            return Ok(());
        }
        let replace = "UPDATE policy_sets SET replaced = ?1, last = (SELECT coalesce(max(id), 0) FROM journal)
                       WHERE replaced IS NULL";
        tx.execute(replace, [now.0])?;
        let interval = contract::micros(policies.interval);
        tx.execute("INSERT INTO policy_sets (revision, interval) VALUES (?1, ?2)", params![revision, interval])?;
        let set = tx.last_insert_rowid();
        let mut insert =
            tx.prepare_cached("INSERT INTO policy_files (policy_set, position, name, text) VALUES (?1, ?2, ?3, ?4)")?;
        for (position, file) in (0_i64..).zip(&policies.files) {
            insert.execute(params![set, position, &*file.name, text(tx, set, file)?])?;
        }
        Ok(())
    })
}

/// The id of a file's text: the one that the set before has under this name, or a new one.
fn text(tx: &Transaction<'_>, set: i64, file: &SourceFile) -> Result<i64, StoreError> {
    let sql = "SELECT policy_texts.id FROM policy_files JOIN policy_texts ON policy_texts.id = policy_files.text
               WHERE policy_set = (SELECT max(id) FROM policy_sets WHERE id < ?1) AND name = ?2 AND policy_texts.text = ?3";
    let kept = tx.prepare_cached(sql)?.query_row(params![set, &*file.name, file.text], |row| row.get(0)).optional()?;
    match kept {
        Some(id) => Ok(id),
        None => {
            tx.prepare_cached("INSERT INTO policy_texts (text) VALUES (?1)")?.execute([&file.text])?;
            Ok(tx.last_insert_rowid())
        }
    }
}

/// The files in force, in their order.
pub(super) fn last(conn: &Connection) -> Result<Vec<SourceFile>, StoreError> {
    let set: Option<i64> = conn.query_row("SELECT max(id) FROM policy_sets", [], |row| row.get(0))?;
    set.map_or_else(|| Ok(Vec::new()), |set| files(conn, set))
}

/// See [`crate::store::Store::policies`].
pub(super) fn of(conn: &Connection, revision: &str) -> Result<Option<PolicyFiles>, StoreError> {
    let sql = "SELECT policy_sets.id, interval FROM policy_sets JOIN names ON names.id = revision
               WHERE names.text = ?1 ORDER BY policy_sets.id DESC LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let Some((set, interval)) = conn.prepare_cached(sql)?.query_row([revision], read).optional()? else {
        return Ok(None);
    };
    let interval = Duration::from_micros(u64::try_from(interval).unwrap_or(0));
    Ok(Some(PolicyFiles { revision: revision.into(), interval, files: files(conn, set)? }))
}

fn files(conn: &Connection, set: i64) -> Result<Vec<SourceFile>, StoreError> {
    let sql =
        "SELECT name, policy_texts.text FROM policy_files JOIN policy_texts ON policy_texts.id = policy_files.text
               WHERE policy_set = ?1 ORDER BY position";
    let mut query = conn.prepare_cached(sql)?;
    let rows =
        query.query_map([set], |row| Ok(SourceFile { name: row.get::<_, String>(0)?.into(), text: row.get(1)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Drops sets that the journal has no entries of any more: by the entries' ids, since a clock may have been wrong.
pub(super) fn trim(tx: &Transaction<'_>, now: Timestamp) -> Result<(), StoreError> {
    let oldest = "SELECT coalesce(min(id), 1 << 62) FROM journal";
    let oldest: i64 = tx.prepare_cached(oldest)?.query_row([], |row| row.get(0))?;
    let limits = [oldest, now.before(POLICIES_KEEP).0];
    let past = "policy_set IN (SELECT id FROM policy_sets WHERE last < ?1 AND replaced < ?2)";
    if tx.prepare_cached(&format!("DELETE FROM policy_files WHERE {past}"))?.execute(limits)? > 0 {
        tx.execute("DELETE FROM policy_texts WHERE id NOT IN (SELECT text FROM policy_files)", [])?;
    }
    tx.prepare_cached("DELETE FROM policy_sets WHERE last < ?1 AND replaced < ?2")?.execute(limits)?;
    Ok(())
}
