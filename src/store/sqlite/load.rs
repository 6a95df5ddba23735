//! What a start reads.

use super::db::Db;
use super::{overrides, policies, record};
use crate::store::{Loaded, StoreError};
use rusqlite::Connection;
use std::sync::Arc;

/// See [`crate::store::Store::load`].
pub(super) fn load(db: &mut Db) -> Result<Loaded, StoreError> {
    db.read(|conn| {
        Ok(Loaded {
            store_id: conn.query_row("SELECT value FROM meta WHERE key = 'store_id'", [], |row| row.get(0))?,
            memories: blobs(conn, "memories")?,
            learned: blobs(conn, "learned")?,
            open: record::open_actions(conn)?,
            overrides: overrides::all(conn)?,
            policies: policies::last(conn)?,
        })
    })
}

type Blobs = Vec<(Arc<str>, Vec<u8>)>;

fn blobs(conn: &Connection, table: &str) -> Result<Blobs, StoreError> {
    let sql = format!("SELECT text, bytes FROM {table} JOIN names ON names.id = fleet ORDER BY text");
    let mut query = conn.prepare(&sql)?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
