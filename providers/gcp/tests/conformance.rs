//! The suite that every provider passes, over the simulated Compute Engine.
#![allow(clippy::unwrap_used, dead_code, reason = "a test; and not every test needs all of the stand")]

mod stand;

use conformance::{Call, Fault, Offers};
use contract::Suspended;
use stand::{LONG, PROJECT, SHORT, Stand};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

/// The cases that say nothing of a managed instance group. Its guard is a read before the write, it has its own removal by
/// name, no bounds of its own, no protection of instances, and no place for an owner's claim.
const NOT_OF_GROUPS: &[&str] = &[
    "protection_is_shown",
    "an_atomic_guard_shows_a_token",
    "raise_beyond_the_clouds_max_is_refused",
    "raise_with_an_old_token_is_a_conflict",
    "lower_is_absolute",
    "lower_twice_is_one",
    "lower_never_raises",
    "lower_from_a_stale_view_is_a_conflict",
    "lower_without_the_ability_changes_nothing",
    "terminate_spares_the_protected",
    "terminate_stops_at_the_clouds_min",
    "terminate_without_the_ability_changes_nothing",
    "a_write_claims_the_group",
    "anothers_claim_refuses_every_write",
    "anothers_expired_claim_is_taken_over",
    "an_older_epoch_is_refused",
];

/// The clock of the stand moves only when a test moves it: `wire.rs` has the first with a clock that runs. Where later
/// pages fail the provider asks each zone by itself, and the suite's few groups fit into one page of each: `wire.rs` has
/// more of them. And the server cannot refuse the connection to a write alone: `errors_tests.rs` has that one.
const NOT_OF_THE_STAND: &[&str] =
    &["a_slow_answer_is_stamped_before_it", "a_lost_later_page_is_unknown", "an_unsent_write_changes_nothing"];

fn offers(all: Offers) -> Offers {
    let slow = Fault::Slow(Duration::ZERO);
    Offers {
        protect: false,
        owner_tags: false,
        // What a group can say of itself: that a rolling replacement runs.
        suspends: vec![Suspended::Refresh],
        faults: all.faults.into_iter().filter(|(call, fault)| *call != Call::Read || *fault != slow).collect(),
        ..all
    }
}

/// Google says how long to wait: until the minute turns. The limiter then keeps its own calls back, so these cases need
/// deadlines that are longer than such a wait.
fn throttles(case: &str) -> bool {
    case.contains("throttled")
}

/// What the suite said and heard is held against the published description too, where the judge is installed.
fn assert_described(said: &BTreeSet<String>) {
    let Ok(venv) = std::env::var("SKALA_VENV") else { return };
    let exchanges = std::env::temp_dir().join(format!("skala-gcp-suite-{}.jsonl", std::process::id()));
    std::fs::write(&exchanges, said.iter().map(String::as_str).collect::<String>()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clouds/gcp.py");
    let verdict = Command::new(format!("{venv}/bin/python")).args([script, "-"]).arg(&exchanges).arg(PROJECT).output();
    let verdict = verdict.expect("SKALA_VENV has no python");
    let words = format!("{}{}", String::from_utf8_lossy(&verdict.stdout), String::from_utf8_lossy(&verdict.stderr));
    _ = std::fs::remove_file(&exchanges);
    assert!(verdict.status.success(), "{words}");
    assert!(words.contains("exchanges fit the published descriptions of the APIs"), "{words}");
}

#[tokio::test]
async fn managed_instance_groups_hold_the_contract() {
    let mut said = BTreeSet::new();
    for late in [false, true] {
        let mut stand = Stand::with_page(20).await;
        let provider = stand.provider(SHORT).await;
        stand.wire.offers = offers(stand.wire.offers.clone());
        stand.wire.late = late;
        let report = conformance::run_if(&provider, &mut stand.wire, |case| !throttles(case)).await.unwrap();
        report.assert_not_applicable(&[NOT_OF_GROUPS, NOT_OF_THE_STAND].concat());
        said.extend(stand.wire.server.exchanges_as_lines().split_inclusive('\n').map(str::to_owned));
    }
    assert_described(&said);
}

#[tokio::test]
async fn a_throttle_holds_until_the_minute_turns() {
    let mut stand = Stand::new().await;
    let provider = stand.provider(LONG).await;
    stand.wire.offers = offers(stand.wire.offers.clone());
    let report = conformance::run_if(&provider, &mut stand.wire, throttles).await.unwrap();
    report.assert_not_applicable(&[]);
    assert_eq!(report.passed.len(), 3, "{report}");
}
