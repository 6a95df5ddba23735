//! What SQLite's errors mean to a caller: its codes in, [`StoreError`] out.

use crate::store::StoreError;
use rusqlite::ErrorCode;
use std::path::Path;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full(text),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt(text),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                StoreError::Failed(format!("{text}: another program, perhaps a sqlite3 shell, keeps it locked"))
            }
            // Rows that hold what skala never wrote.
            _ if matches!(
                error,
                E::FromSqlConversionFailure(..) | E::IntegralValueOutOfRange(..) | E::InvalidColumnType(..)
            ) =>
            {
                StoreError::Corrupt(text)
            }
            _ => StoreError::Failed(text),
        }
    }
}

/// A damaged store, with what a person can do about it.
pub(super) fn corrupt(path: Option<&Path>, what: &str) -> StoreError {
    let Some(path) = path else {
        return StoreError::Corrupt(what.to_owned());
    };
    let path = path.display();
    StoreError::Corrupt(format!(
        "{path}: {what}. skala does not act on a damaged store and never replaces one by itself. To restore: stop skala; \
         move {path}, {path}-wal and {path}-shm away together; put a backup at {path}, or what \
         `sqlite3 DAMAGED .recover | sqlite3 {path}` saves of it, or nothing (holds, pins, cooldowns and the journal are \
         lost then, and scale-in waits for a whole window); start skala"
    ))
}
