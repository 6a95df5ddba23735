//! The lease's one row: asked for in, as it stands out.

use super::db::{DURABLE, Db};
use crate::store::{Lease, StoreError, lease::asked};
use contract::{Epoch, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::Arc;
use std::time::Duration;

/// The lease as it stands; `held` is not known here and false.
pub(super) fn read(conn: &Connection) -> Result<Option<Lease>, StoreError> {
    let mut query = conn.prepare_cached("SELECT owner, epoch, until FROM lease")?;
    let row = query.query_row([], |row| {
        let epoch = row.get::<_, i64>(1)?;
        Ok(Lease { held: false, owner: row.get(0)?, epoch: Epoch(epoch as u64), until: Timestamp(row.get(2)?) })
    });
    Ok(row.optional()?)
}

/// See [`crate::store::Store::lease`].
pub(super) fn ask(db: &mut Db, owner: Arc<str>, now: Timestamp, ttl: Duration) -> Result<Lease, StoreError> {
    let lease = db.write(DURABLE, |tx| {
        let lease = asked(read(tx)?.as_ref(), &owner, now, ttl);
        if lease.held {
            let sql = "INSERT OR REPLACE INTO lease (one, owner, epoch, until) VALUES (1, ?1, ?2, ?3)";
            tx.prepare_cached(sql)?.execute(params![lease.owner, lease.epoch.0 as i64, lease.until.0])?;
        }
        Ok(lease)
    });
    let lease = lease?;
    db.session = lease.held.then_some((owner, lease.epoch));
    Ok(lease)
}
