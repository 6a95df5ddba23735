//! A long journal: entries packed on bases, found again across them, also while they are trimmed.

use super::*;
use crate::store::sample;

const ENTRIES: u32 = 300;

fn at(index: u32) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + i64::from(index) * 600)
}

/// Two days of two fleets, interleaved.
async fn filled(place: &OnDisk) -> SqliteStore {
    let store = SqliteStore::open(&place.path(), Options { journal_keep: 24 * 60 * 60 * SECOND, ..options() });
    let store = store.expect("opens");
    for index in 0..ENTRIES {
        let entries = vec![sample::entry(1, 5, index, at(index)), sample::entry(2, 5, index, at(index))];
        store.checkpoint(vec![], entries, vec![]).await.expect("saves");
    }
    store
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn every_entry_is_found_across_bases() {
    let place = OnDisk::new();
    let store = filled(&place).await;
    for index in 0..ENTRIES {
        let inside = at(index).after(SECOND);
        let found = store.journal(sample::fleet(1), Some(inside), 2).await.expect("reads");
        let want: Vec<_> = [Some(index), index.checked_sub(1)].into_iter().flatten().collect();
        assert_eq!(found, want.iter().map(|index| sample::entry(1, 5, *index, at(*index))).collect::<Vec<_>>());
    }
    let db = store.db.try_lock().expect("idle");
    let alone = "SELECT count(*) FROM journal WHERE base IS NULL";
    let alone: i64 = db.conn.query_row(alone, [], |row| row.get(0)).expect("reads");
    assert!((16..40).contains(&alone), "about one in six hours stands alone, for each fleet: {alone}");
}

#[tokio::test]
async fn trimming_leaves_all_within_retention() {
    let place = OnDisk::new();
    let store = filled(&place).await;
    let full = store.journal(sample::fleet(1), None, 9_999).await.expect("reads");
    assert_eq!(full.len(), ENTRIES as usize);
    for now in (0..=ENTRIES * 2).step_by(29) {
        store.tend(at(now)).await.expect("tends");
        let kept = store.journal(sample::fleet(1), None, 9_999).await.expect("reads");
        assert_eq!(kept, full[..kept.len()], "the newest, without a gap");
        let oldest = at(now).before(24 * 60 * 60 * SECOND);
        let within = full.iter().filter(|entry| entry.at >= oldest).count();
        assert!(kept.len() >= within, "{} of {within} at {now}", kept.len());
        assert!(kept.len() <= within + 37, "at most six hours more");
    }
}
