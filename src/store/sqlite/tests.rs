mod damage;
mod full;
mod history;
mod kill;
mod opening;

use super::*;
use crate::store::conformance::{self, options};
use std::path::PathBuf;

/// A directory with a store in it.
struct OnDisk(tempfile::TempDir);

impl OnDisk {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("skala.db")
    }

    fn beside(&self, ending: &str) -> PathBuf {
        self.0.path().join(format!("skala.db{ending}"))
    }

    fn store(&self) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(&self.path(), options())
    }

    /// Runs SQL on the file behind the store's back.
    fn sql(&self, sql: &str) {
        let conn = rusqlite::Connection::open(self.path()).expect("opens");
        conn.execute_batch(sql).expect("runs");
    }
}

impl conformance::Place for OnDisk {
    fn open(&self, options: Options) -> Box<dyn Store> {
        Box::new(SqliteStore::open(&self.path(), options).expect("opens"))
    }
}

#[tokio::test]
async fn it_keeps_what_every_store_promises() {
    conformance::run(OnDisk::new).await;
}
