//! The tables and how they came about. `MIGRATIONS[n]` leads from schema n to n + 1 and is never edited once released: a
//! change is a new one, with a golden database beside it in `golden/`.

use crate::store::StoreError;
use rusqlite::{Connection, TransactionBehavior};

/// Marks a SQLite file as a store of skala ("skal").
pub(super) const APPLICATION_ID: u32 = 0x736b_616c;

/// Every step, oldest first.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema/v1.sql"), include_str!("schema/v2.sql"), include_str!("schema/v3.sql")];

/// The schema that this skala writes.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// The schema of an open database.
pub(super) fn version(conn: &Connection) -> Result<u32, StoreError> {
    Ok(conn.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

/// Brings a database to [`VERSION`], each step in a transaction of its own.
pub(super) fn migrate(conn: &mut Connection) -> Result<(), StoreError> {
    let found = version(conn)?;
    if found > VERSION {
        return Err(StoreError::Newer { found, known: VERSION });
    }
    for (from, step) in (0_u32..).zip(MIGRATIONS).skip(found as usize) {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(step)?;
        tx.pragma_update(None, "user_version", from + 1)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.commit()?;
    }
    Ok(())
}
