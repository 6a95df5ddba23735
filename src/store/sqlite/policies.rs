//! The last good policy files, so that a start with broken ones can go on with them (safety rule 17).

use super::db::{DURABLE, Db};
use crate::store::StoreError;
use policies::policy::SourceFile;
use rusqlite::{Connection, params};

/// See [`crate::store::Store::keep_policies`].
pub(super) fn keep(db: &mut Db, revision: &str, files: &[SourceFile]) -> Result<(), StoreError> {
    db.write(DURABLE, |tx| {
        tx.execute("DELETE FROM policies", [])?;
        let mut insert = tx.prepare_cached("INSERT INTO policies (position, name, text) VALUES (?1, ?2, ?3)")?;
        for (position, file) in (0_i64..).zip(files) {
            insert.execute(params![position, &*file.name, file.text])?;
        }
        tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('policies_revision', ?1)", [revision])?;
        Ok(())
    })
}

/// The files, in their order.
pub(super) fn all(conn: &Connection) -> Result<Vec<SourceFile>, StoreError> {
    let mut query = conn.prepare("SELECT name, text FROM policies ORDER BY position")?;
    let rows =
        query.query_map([], |row| Ok(SourceFile { name: row.get::<_, String>(0)?.into(), text: row.get(1)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
