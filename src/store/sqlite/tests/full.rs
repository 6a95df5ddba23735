//! A full disk (safety rule 18). SQLite's own limit on pages plays the disk; lifting it plays the reserve or the cleaning.

use super::*;
use crate::store::conformance::{hold_lease, record, row, secs};

/// Lets the file grow by so many more pages.
fn limit(store: &SqliteStore, more: i64) {
    let db = store.db.try_lock().expect("idle");
    let pages: i64 = db.conn.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("reads");
    let sql = format!("PRAGMA max_page_count = {}", pages + more);
    db.conn.query_row(&sql, [], |row| row.get::<_, i64>(0)).expect("sets");
}

fn bulky(fleet: &str, at: i64, actions: Vec<crate::store::ActionRow>) -> Record {
    Record { memory: vec![7; 100_000], ..record(fleet, at, actions) }
}

#[tokio::test]
async fn the_reserve_is_really_allocated() {
    use std::os::unix::fs::MetadataExt;
    let place = OnDisk::new();
    let store = SqliteStore::open(&place.path(), Options::new("id")).expect("opens");
    let meta = std::fs::metadata(place.beside(".reserve")).expect("is there");
    assert_eq!(meta.len(), 64 << 20);
    assert!(meta.blocks() * 512 >= 64 << 20, "not a hole: {} blocks", meta.blocks());
    assert!(!store.tend(secs(0)).await.expect("tends").full);
}

#[tokio::test]
async fn a_full_disk_frees_the_reserve_and_refuses_scale_in() {
    let place = OnDisk::new();
    let store = place.store().expect("opens");
    hold_lease(&store).await;
    limit(&store, 2);
    // Not recorded, so not acted on, and not tried again on the freed reserve.
    let removal = store.record(vec![bulky("a", 1, vec![row(1, "a", -1, 1)])]).await.expect_err("full");
    assert_eq!(removal.to_string(), "the store's disk is full: database or disk is full");
    assert!(!place.beside(".reserve").exists(), "the reserve is freed");
    limit(&store, 1_000);
    let removal = store.record(vec![record("a", 2, vec![row(2, "a", -1, 2)])]).await.expect_err("no scale-in");
    assert!(matches!(removal, StoreError::Full(_)), "also when it would fit by now: {removal}");
    store.record(vec![bulky("a", 3, vec![row(3, "a", 1, 3)])]).await.expect("scale-out goes on");
    assert_eq!(store.load().await.expect("loads").open.len(), 1);

    // There is room again.
    assert!(!store.tend(secs(10)).await.expect("tends").full);
    assert!(place.beside(".reserve").exists(), "the reserve is back");
    store.record(vec![record("a", 11, vec![row(4, "a", -1, 11)])]).await.expect("scale-in again");
}

#[tokio::test]
async fn what_was_learned_does_not_use_up_the_reserve() {
    let place = OnDisk::new();
    let store = place.store().expect("opens");
    let learned = |byte| vec![("a".into(), vec![byte; 100_000])];
    store.checkpoint(vec![("a".into(), vec![1])], vec![], vec![]).await.expect("saves");
    store.keep_learned(learned(1)).await.expect("keeps");
    limit(&store, 2);
    let bigger = vec![("a".into(), vec![2; 300_000])];
    let full = store.keep_learned(bigger).await.expect_err("full");
    assert!(matches!(full, StoreError::Full(_)), "{full}");
    limit(&store, 1_000);
    let full = store.keep_learned(learned(3)).await.expect_err("there is room in what was the reserve");
    assert_eq!(full.to_string(), "the store's disk is full: what was learned is not kept while it is");
    store.checkpoint(vec![("a".into(), vec![4; 100_000])], vec![], vec![]).await.expect("memories are");
    assert!(store.load().await.expect("loads").learned == learned(1));
    assert!(!store.tend(secs(10)).await.expect("tends").full);
    store.keep_learned(learned(5)).await.expect("there is room again");
}

#[tokio::test]
async fn what_was_refused_is_tried_once_more_on_the_reserve() {
    let place = OnDisk::new();
    let store = place.store().expect("opens");
    let reserve = place.beside(".reserve");
    let mut db = store.db.try_lock().expect("idle");
    let mut tries = 0;
    let done = db.write(super::super::db::LAZY, |_| {
        tries += 1;
        if reserve.exists() { Err(StoreError::Full("disk".into())) } else { Ok(tries) }
    });
    assert_eq!(done.expect("the reserve made room"), 2);
    assert!(db.full, "it is said");
    let again: Result<(), _> = db.write(super::super::db::LAZY, |_| Err(StoreError::Full("disk".into())));
    assert!(matches!(again, Err(StoreError::Full(_))), "there is no second reserve");
    let other: Result<(), _> = db.write(super::super::db::LAZY, |_| Err(StoreError::Failed("busy".into())));
    assert!(matches!(other, Err(StoreError::Failed(_))), "other errors are not called full");
}

#[tokio::test]
async fn on_a_full_disk_the_oldest_of_the_journal_makes_room() {
    let place = OnDisk::new();
    let store = place.store().expect("opens");
    let entries = (0..3_000).map(|at| conformance::entry("a", at, &"x".repeat(900))).collect();
    store.checkpoint(vec![], entries, vec![]).await.expect("saves");
    let tend = async |full| {
        store.db.try_lock().expect("idle").full = full;
        store.tend(secs(3_000)).await.expect("tends");
        store.journal("a".into(), None, 9_999).await.expect("reads").len()
    };
    assert_eq!(tend(false).await, 3_000);
    assert_eq!(tend(true).await, 0, "3 MiB are less than the room that is kept");
}

#[tokio::test]
async fn a_store_opens_without_room_for_a_reserve() {
    let place = OnDisk::new();
    // A reserve that no disk holds.
    let options = Options { reserve: 1 << 60, ..options() };
    let store = SqliteStore::open(&place.path(), options).expect("opens all the same");
    assert!(store.tend(secs(0)).await.expect("tends").full, "and says so");
    assert!(!place.beside(".reserve").exists());
}
