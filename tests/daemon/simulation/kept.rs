//! What a fleet with an `objective` rule writes: the README's figures.

use super::history::{Act, Records, objective, world};
use super::world::secs;
use skala::store::sqlite::SqliteStore;
use skala::store::{Options, Store};

const HOURS: u64 = 6;

/// What the journal of these hours takes in SQLite, in megabytes a day.
fn journal_megabytes(entries: Vec<skala::store::JournalEntry>) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("skala.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&path, Options::new("store-1")).unwrap();
        let empty = std::fs::metadata(&path).unwrap().len();
        store.checkpoint(Vec::new(), entries, Vec::new()).await.unwrap();
        // Closing it moves the write-ahead log into the file.
        drop(store);
        let grown = std::fs::metadata(&path).unwrap().len() - empty;
        grown as f64 / 1e6 * 24.0 / HOURS as f64
    })
}

#[test]
fn the_readmes_figures_of_an_objective_fleet() {
    let world = world(&[&objective("a", "sum(rps)")], Some(Records::new(Act::Answer)));
    let store = world.store.reopen();
    let (learned, entries) = world.live(async |life| {
        tokio::time::sleep(secs(HOURS * 3_600)).await;
        life.stop().await;
        let learned = store.load().await.unwrap().learned.remove(0).1.len();
        (learned, store.journal("a".into(), None, 100_000).await.unwrap())
    });
    let full = entries.iter().filter(|entry| !entry.facts.is_empty()).count();
    let megabytes = journal_megabytes(entries);
    let said = format!("{learned} bytes learned; {full} full entries in {HOURS} h, {megabytes:.2} MB of journal a day");
    assert!((26_000..=30_000).contains(&learned), "{said}");
    assert!((5.0..=9.0).contains(&megabytes), "{said}");
    println!("{said}");
}
