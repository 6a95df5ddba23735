//! `kill -9` in the middle of writing: what was acknowledged is there, what was not is there whole or not at all.

use super::*;
use crate::store::conformance::{hold_lease, record, row};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

const PATH: &str = "SKALA_TEST_STORE";
const CHILD: &str = "store::sqlite::tests::kill::the_child_writes_until_it_is_killed";

/// Not a test of its own: the process that [`acknowledged_records_survive`] kills. Without the variable it does nothing.
#[tokio::test]
async fn the_child_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let store = SqliteStore::open(path.as_ref(), options()).expect("opens");
    hold_lease(&store).await;
    let done = store.load().await.expect("loads").open.len() as i64;
    for round in done / 3.. {
        // Large enough to take several pages and, now and then, to move the log into the database.
        let fleets = ["a", "b", "c"].map(|fleet| {
            let id = round as u128 * 3 + u128::from(fleet.as_bytes()[0] - b'a');
            let memory = [&round.to_be_bytes()[..], &[round as u8; 9_000]].concat();
            Record { memory, ..record(fleet, round, vec![row(id, fleet, 1, round)]) }
        });
        store.record(fleets.into()).await.expect("records");
        // In one write: of a line in pieces the kill would leave a smaller number.
        std::io::stderr().write_all(format!("acknowledged {round}\n").as_bytes()).expect("said");
    }
}

#[tokio::test]
async fn acknowledged_records_survive() {
    let place = OnDisk::new();
    let mut acknowledged = -1;
    for life in 0..6 {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program);
        child.args([CHILD, "--exact", "--nocapture"]).env(PATH, place.path());
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut left = 10 + life * 37;
        for line in lines.map_while(Result::ok) {
            if let Some(round) = line.strip_prefix("acknowledged ") {
                acknowledged = round.parse::<i64>().expect("a number");
                left -= 1;
            }
            if left == 0 {
                // The child is already in the middle of its next transaction, or about to be.
                child.kill().expect("killed");
            }
        }
        child.wait().expect("gone");
        assert!(left <= 0, "the child wrote before it died");
        check(&place, acknowledged).await;
    }
}

async fn check(place: &OnDisk, acknowledged: i64) {
    let store = place.store().expect("opens after the kill");
    let loaded = store.load().await.expect("loads");
    let ids: Vec<u128> = loaded.open.iter().map(|open| open.row.id.0).collect();
    assert_eq!(ids, (0..ids.len() as u128).collect::<Vec<_>>(), "no gap");
    assert_eq!(ids.len() % 3, 0, "a transaction is whole");
    let rounds = ids.len() as i64 / 3;
    assert!(rounds > acknowledged, "{acknowledged} was acknowledged, {rounds} rounds are there");
    assert!(rounds <= acknowledged + 2, "at most the one in the air is there beside them");
    for (fleet, memory) in &loaded.memories {
        assert_eq!(memory[..8], (rounds - 1).to_be_bytes(), "{fleet}'s memory is of the same transaction");
        let newest = store.journal(Arc::clone(fleet), None, 1).await.expect("reads");
        assert_eq!(newest[0].at, conformance::secs(rounds - 1));
    }
}
