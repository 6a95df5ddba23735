use super::*;
use crate::store::conformance::{self, options};

pub(super) struct OnDisk(pub tempfile::TempDir);

impl OnDisk {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.0.path().join("skala.db")
    }

    pub fn store(&self) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(&self.path(), options())
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
