//! The suite that every provider passes, over the simulated OpenStack. `tests/real.rs` passes it over a real one.

// A test that cannot go on stops; and not every test needs all of the stand.
#![allow(clippy::unwrap_used, dead_code)]

mod stand;

use conformance::{Call, Fault};
use stand::Stand;
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

/// A tag is no group to Nova: it has no desired, no bounds, no owner and no other controller, and is never missing; so no
/// view of it is stale. Want of machines is never said at once: it comes as data. Its list has no capacities that could be
/// out of range. Credentials and the time are Keystone's business, whose refusals `tests/wire.rs` shows: to Nova every
/// token that is not good is the same.
const NOT_OF_TAGS: &[&str] = &[
    "an_unknown_group_is_not_found_and_spoils_nobody",
    "unfilled_capacity_is_shown",
    "suspension_is_shown",
    "a_foreign_controller_is_shown",
    "an_atomic_guard_shows_a_token",
    "raise_beyond_the_clouds_max_is_refused",
    "raise_from_a_stale_view_is_a_conflict",
    "two_raises_from_one_view_are_one",
    "raise_with_an_old_token_is_a_conflict",
    "raise_of_an_unknown_group_is_not_found",
    "cancel_withdraws_only_what_is_unfilled",
    "cancel_from_a_stale_view_is_a_conflict",
    "lower_is_absolute",
    "lower_twice_is_one",
    "lower_never_raises",
    "lower_from_a_stale_view_is_a_conflict",
    "lower_without_the_ability_changes_nothing",
    "terminate_stops_at_the_clouds_min",
    "terminate_from_a_stale_view_is_a_conflict",
    "terminate_without_the_ability_changes_nothing",
    "terminate_in_a_gone_group_is_not_found",
    "a_raise_without_machines_is_typed",
    "an_unsent_write_changes_nothing",
    "wrong_credentials_are_typed",
    "a_clock_that_is_off_is_typed",
    "a_number_out_of_range_is_unknown",
    "a_write_claims_the_group",
    "anothers_claim_refuses_every_write",
    "anothers_expired_claim_is_taken_over",
    "an_older_epoch_is_refused",
];

async fn stand() -> Stand {
    let mut stand = Stand::new().await;
    stand.wire = stand.wire.without(&[
        (Call::Write, Fault::OutOfCapacity),
        (Call::Read, Fault::WrongCredentials),
        (Call::Read, Fault::ClockOff),
        (Call::Read, Fault::OutOfRange),
    ]);
    let offers = &mut stand.wire.offers;
    offers.knows_groups = false;
    offers.owner_tags = false;
    offers.foreign = false;
    offers.suspends = Vec::new();
    // Small pages: two servers of a group may well stand on two.
    stand.api.set_up(|setup| setup.page = 7);
    offers.page = Some(7);
    stand
}

/// What the suite said and heard is held against OpenStack's own schemas too, where the judge is installed.
fn assert_described(said: &BTreeSet<String>) {
    let Ok(venv) = std::env::var("SKALA_VENV") else { return };
    let exchanges = std::env::temp_dir().join(format!("skala-openstack-suite-{}.jsonl", std::process::id()));
    std::fs::write(&exchanges, said.iter().map(String::as_str).collect::<String>()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clouds/openstack.py");
    let verdict = Command::new(format!("{venv}/bin/python")).args([script, "-"]).arg(&exchanges).output();
    let verdict = verdict.expect("SKALA_VENV has no python");
    let words = format!("{}{}", String::from_utf8_lossy(&verdict.stdout), String::from_utf8_lossy(&verdict.stderr));
    _ = std::fs::remove_file(&exchanges);
    assert!(verdict.status.success(), "{words}");
    assert!(words.contains("answers fit tempest's schemas"), "{words}");
}

#[tokio::test]
async fn tagged_servers_hold_the_contract() {
    let mut stand = stand().await;
    let provider = stand.provider();
    let report = conformance::run(&provider, &mut stand.wire).await.unwrap();
    report.assert_not_applicable(NOT_OF_TAGS);
    let said = stand.wire.server.exchanges_as_lines();
    assert_described(&said.split_inclusive('\n').map(str::to_owned).collect());
}

#[tokio::test]
async fn a_write_that_comes_late_holds_the_contract_too() {
    let mut stand = stand().await;
    stand.wire.late = true;
    let provider = stand.provider();
    let times_out = |name: &str| name.contains("times_out");
    let report = conformance::run_if(&provider, &mut stand.wire, times_out).await.unwrap();
    assert_eq!(report.passed.len(), 3, "{report}");
    stand.wire.clock.pass(Duration::from_secs(1));
}
