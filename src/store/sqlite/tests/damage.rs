//! Damage: refused with the way out, never repaired by starting afresh, never a panic.

use super::*;

/// A store with enough in it that every table has pages.
async fn filled(place: &OnDisk) {
    let store = place.store().expect("opens");
    let (memories, _) = crate::store::sample::checkpoint(200, 300, Timestamp(1));
    let entries = (0..200).map(|fleet| crate::store::sample::entry(fleet, 20, 1, Timestamp(1))).collect();
    store.checkpoint(memories, entries, vec![]).await.expect("saves");
}

fn said(place: &OnDisk, what: &str) {
    let before = std::fs::read(place.path()).expect("reads");
    match place.store() {
        Err(StoreError::Corrupt(text)) => {
            assert!(text.contains("To restore: stop skala") && text.contains("skala.db"), "{what}: {text}");
        }
        other => panic!("{what}: {other:?}"),
    }
    assert!(before == std::fs::read(place.path()).expect("reads"), "{what}: not a byte is changed");
}

#[tokio::test]
async fn what_is_no_store_is_refused() {
    let place = OnDisk::new();
    for (what, bytes) in [("empty", &b""[..]), ("text", b"hello"), ("noise", &[0xa5; 8192]), ("zeros", &[0; 4096])] {
        std::fs::write(place.path(), bytes).expect("writes");
        said(&place, what);
    }
    std::fs::remove_file(place.path()).expect("removes");
    place.sql("CREATE TABLE somebody_elses (x); PRAGMA user_version = 1");
    said(&place, "another program's database");
}

#[tokio::test]
async fn damaged_pages_are_found_at_the_start() {
    let place = OnDisk::new();
    filled(&place).await;
    let whole = std::fs::read(place.path()).expect("reads");
    assert!(whole.len() > 50 * 4096);
    let mut cut = whole.clone();
    cut.truncate(whole.len() / 2);
    std::fs::write(place.path(), &cut).expect("writes");
    said(&place, "cut in half");
    for page in [1, 10, 20, 30, 40] {
        let mut damaged = whole.clone();
        damaged[page * 4096..page * 4096 + 4096].fill(0x5a);
        std::fs::write(place.path(), &damaged).expect("writes");
        said(&place, &format!("page {page}"));
    }
    std::fs::write(place.path(), &whole).expect("a backup");
    assert!(place.store().is_ok(), "restoring helps");
}

#[tokio::test]
async fn damage_seen_at_work_stops_everything() {
    let place = OnDisk::new();
    let store = place.store().expect("opens");
    conformance::hold_lease(&store).await;
    let row = conformance::row(1, "a", 1, 1);
    store.record(vec![conformance::record("a", 1, vec![row])]).await.expect("records");
    place.sql("UPDATE actions SET action = 'nonsense'");
    let first = store.load().await.expect_err("cannot be read");
    assert!(matches!(&first, StoreError::Corrupt(text) if text.contains("To restore")), "{first}");
    let then = store.checkpoint(vec![("a".into(), vec![])], vec![], vec![]).await.expect_err("no more writes");
    assert!(matches!(then, StoreError::Corrupt(_)), "{then}");
    let then = store.record(vec![]).await.expect_err("no more records");
    assert!(matches!(then, StoreError::Corrupt(_)), "{then}");
}
