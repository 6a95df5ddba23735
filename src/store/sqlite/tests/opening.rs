//! Opening: what is made, who else may, which schema.

use super::*;
use crate::store::conformance::{entry, hold_lease, record, row, secs};
use std::os::unix::fs::PermissionsExt;

fn refused(found: Result<SqliteStore, StoreError>) -> StoreError {
    match found {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn only_its_owner_reads_it() {
    let place = OnDisk::new();
    let store = place.store().expect("opens");
    store.checkpoint(vec![("a".into(), vec![1])], vec![], vec![]).await.expect("saves");
    for ending in ["", "-wal", "-shm", ".lock", ".reserve"] {
        let meta = std::fs::metadata(place.beside(ending)).unwrap_or_else(|error| panic!("{ending}: {error}"));
        assert_eq!(meta.permissions().mode() & 0o777, 0o600, "{ending}");
    }
    drop(store);
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o644)).expect("opened up by somebody");
    drop(place.store().expect("opens"));
    let mode = std::fs::metadata(place.path()).expect("is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_second_daemon_is_refused() {
    let place = OnDisk::new();
    let first = place.store().expect("opens");
    let error = refused(place.store());
    assert!(matches!(error, StoreError::Owned(_)), "{error}");
    let said = error.to_string();
    assert!(
        said.contains("skala.db is open in another skala") && said.contains(&std::process::id().to_string()),
        "{said}"
    );
    assert!(first.load().await.is_ok(), "the first is not disturbed");
    drop(first);
    assert!(place.store().is_ok(), "the lock goes with its holder");
}

/// Between fork and exec a child has all files of its parent open, and a parent that dies then leaves it its lock.
#[tokio::test]
async fn a_lock_that_is_about_to_go_is_waited_for() {
    let place = OnDisk::new();
    drop(place.store().expect("opens"));
    let held = std::fs::File::open(place.beside(".lock")).expect("is there");
    held.lock().expect("locks");
    let freed = tokio::task::spawn_blocking(move || {
        #[expect(clippy::disallowed_methods, reason = "a process that takes its time")]
        std::thread::sleep(Duration::from_millis(100));
        drop(held);
    });
    place.store().expect("opens once the other is gone");
    freed.await.expect("ended");
}

#[tokio::test]
async fn it_can_be_read_with_and_without_a_daemon() {
    let place = OnDisk::new();
    assert!(matches!(SqliteStore::open_read_only(&place.path()), Err(StoreError::Failed(_))), "there is none");
    assert!(!place.path().exists(), "reading makes none");
    let daemon = place.store().expect("opens");
    let check = async |count| {
        let reader = SqliteStore::open_read_only(&place.path()).expect("opens to read");
        assert_eq!(reader.journal("a".into(), None, 9).await.expect("reads").len(), count);
        let error = reader.checkpoint(vec![("a".into(), vec![])], vec![], vec![]).await.expect_err("writes nothing");
        assert!(error.to_string().contains("read only"), "{error}");
    };
    daemon.checkpoint(vec![], vec![entry("a", 1, "hold")], vec![]).await.expect("saves");
    check(1).await;
    daemon.checkpoint(vec![], vec![entry("a", 2, "out")], vec![]).await.expect("saves");
    check(2).await;
    drop(daemon);
    check(2).await;
}

#[tokio::test]
async fn a_store_keeps_its_id() {
    let place = OnDisk::new();
    drop(SqliteStore::open(&place.path(), Options::new("first")).expect("opens"));
    let again = SqliteStore::open(&place.path(), Options::new("second")).expect("opens");
    assert_eq!(again.load().await.expect("loads").store_id, "first");
}

#[test]
fn a_half_made_store_is_made_again() {
    let place = OnDisk::new();
    std::fs::write(place.beside(".new"), "half").expect("left by a crash");
    assert!(place.store().is_ok());
    assert!(!place.beside(".new").exists());
}

#[test]
fn a_missing_directory_is_said() {
    let place = OnDisk::new();
    let error = refused(SqliteStore::open(&place.0.path().join("none/skala.db"), options()));
    assert!(error.to_string().contains("its directory has to exist"), "{error}");
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let place = OnDisk::new();
    drop(place.store().expect("opens"));
    place.sql(&format!("PRAGMA user_version = {}", schema::VERSION + 1));
    let before = std::fs::read(place.path()).expect("reads");
    let error = refused(place.store());
    assert!(matches!(error, StoreError::Newer { found, known } if found == known + 1), "{error}");
    assert!(matches!(SqliteStore::open_read_only(&place.path()), Err(StoreError::Newer { .. })));
    assert!(before == std::fs::read(place.path()).expect("reads"), "not a byte is changed");
}

/// Each released schema, as SQL text; opening must carry everything over.
#[tokio::test]
async fn stores_of_every_schema_open() {
    let golden = [include_str!("golden/v1.sql"), include_str!("golden/v2.sql"), include_str!("golden/v3.sql")];
    assert_eq!(golden.len(), schema::VERSION as usize, "every schema has its golden store");
    for (version, sql) in (1_u32..).zip(golden) {
        let place = OnDisk::new();
        place.sql(sql);
        let store = place.store().unwrap_or_else(|error| panic!("schema {version}: {error}"));
        let loaded = store.load().await.expect("loads");
        assert_eq!(loaded.store_id, "golden");
        assert_eq!(loaded.memories, [("checkout".into(), vec![1, 2, 3])]);
        let learned = [("checkout".into(), vec![4, 5])];
        assert_eq!(loaded.learned, learned[..usize::from(version >= 3)]);
        let want = ActionRow { id: contract::ActionId(7), ..row(7, "checkout", 4, 60) };
        assert_eq!(loaded.open.iter().map(|open| &open.row).collect::<Vec<_>>(), [&want]);
        assert_eq!(loaded.overrides.len(), 2);
        let file = SourceFile { name: "checkout.toml".into(), text: "[fleet.checkout]".into() };
        let policies = PolicyFiles { revision: "r1".into(), interval: 15 * SECOND, files: vec![file] };
        assert_eq!(loaded.policies, policies.files);
        assert_eq!(store.policies("r1".into()).await.expect("reads"), Some(policies));
        let first = JournalEntry { until: secs(45), count: 4, ..entry("checkout", 0, "hold") };
        let second = JournalEntry { until: secs(90), count: 3, ..entry("checkout", 60, "out") };
        assert_eq!(store.journal("checkout".into(), None, 9).await.expect("reads"), [second, first]);
        assert_eq!(store.spent(secs(0)).await.expect("reads"), Spent { added: 4, removed: 2 });
        hold_lease(&store).await;
        store.record(vec![record("checkout", 100, vec![row(9, "checkout", 1, 100)])]).await.expect("goes on");
        drop(store);
        assert!(place.store().is_ok(), "and opens again");
    }
}

use crate::store::ActionRow;
use ::policies::policy::SourceFile;

const SECOND: Duration = Duration::from_secs(1);
