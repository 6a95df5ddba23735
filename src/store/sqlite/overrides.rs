//! What people asked for, one override a fleet.

use super::db::{DURABLE, Db};
use super::record::name;
use crate::store::{OverrideRow, StoreError};
use contract::Timestamp;
use policies::facts::Override;
use rusqlite::{Connection, params};

/// See [`crate::store::Store::put_override`].
pub(super) fn put(db: &mut Db, fleet: &str, row: Option<&OverrideRow>) -> Result<(), StoreError> {
    db.write(DURABLE, |tx| {
        let fleet = name(tx, fleet)?;
        let Some(row) = row else {
            tx.execute("DELETE FROM overrides WHERE fleet = ?1", [fleet])?;
            return Ok(());
        };
        let (pin, scale_in_only, now) = match &row.what {
            Override::Hold { scale_in_only, .. } => (None, *scale_in_only, false),
            Override::Pin { n, now, .. } => (Some(*n), false, *now),
        };
        let sql = "INSERT OR REPLACE INTO overrides (fleet, pin, until, scale_in_only, pin_now, reason, asked_by, at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let (until, reason) = (row.what.until().0, row.what.reason());
        tx.execute(sql, params![fleet, pin, until, scale_in_only, now, reason, row.by, row.at.0])?;
        Ok(())
    })
}

/// Every override that has not been released, by fleet.
pub(super) fn all(conn: &Connection) -> Result<Vec<OverrideRow>, StoreError> {
    let sql = "SELECT text, pin, until, scale_in_only, pin_now, reason, asked_by, at
               FROM overrides JOIN names ON names.id = fleet ORDER BY text";
    let mut query = conn.prepare(sql)?;
    let rows = query.query_map([], |row| {
        let (until, reason) = (Timestamp(row.get(2)?), row.get(5)?);
        let what = match row.get(1)? {
            Some(n) => Override::Pin { n, until, now: row.get(4)?, reason },
            None => Override::Hold { until, scale_in_only: row.get(3)?, reason },
        };
        Ok(OverrideRow { fleet: row.get(0)?, what, by: row.get(6)?, at: Timestamp(row.get(7)?) })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
