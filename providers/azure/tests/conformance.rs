//! The suite that every provider passes, over the wire: Uniform and Flexible scale sets of a simulated Azure, with every
//! exchange judged by the models of Microsoft's client libraries.

#![allow(clippy::unwrap_used)]

mod stand;

use conformance::{Call, Fault};
use contract::Suspended;
use sim_cloud::azure::Azure as Simulated;
use sim_cloud::fixture::Wire;
use std::sync::Arc;
use std::time::Duration;

/// Cases that say nothing of scale sets.
const NOT_APPLICABLE: &[&str] = &[
    // A set has neither a smallest nor a largest capacity of its own.
    "raise_beyond_the_clouds_max_is_refused",
    "terminate_stops_at_the_clouds_min",
    // Azure would pick the victims itself if its capacity were lowered: instances are removed by name alone.
    "lower_is_absolute",
    "lower_twice_is_one",
    "lower_never_raises",
    "lower_from_a_stale_view_is_a_conflict",
    // They can be removed by name.
    "terminate_without_the_ability_changes_nothing",
    "lower_without_the_ability_changes_nothing",
    // A connection is refused before it is known what it was for.
    "an_unsent_write_changes_nothing",
    // The fixture's clock stands still while an answer is slow; `wire.rs` has one that does not.
    "a_slow_answer_is_stamped_before_it",
];

/// What is said of every set.
const EXCHANGED: &[&str] = &[
    "autoscale",
    "operation",
    "refusal",
    "token",
    "virtual_machine_scale_sets_list_all",
    "virtual_machine_scale_sets_get",
    "virtual_machine_scale_sets_update",
    "virtual_machine_scale_sets_delete_instances",
    "virtual_machine_scale_set_vms_list",
    "virtual_machine_scale_set_rolling_upgrades_get_latest",
];

async fn run(flexible: bool, late: bool) {
    let clock = stand::clock();
    let cloud = stand::cloud(0, &clock);
    let api = Simulated::new(cloud.clone()).with_page(50);
    let api = if flexible { api.flexible() } else { api };
    let wire = Wire::start(Arc::new(api), cloud, clock.clone(), "").await;
    let mut wire = wire.without(&[(Call::Read, Fault::Slow(Duration::ZERO))]);
    wire.late = late;
    wire.offers.page = Some(50);
    // A set has no such switches; it shows a rolling upgrade.
    wire.offers.suspends = vec![Suspended::Refresh];
    // A set that is new has its machines listed once, each by a call of its own; `wire.rs` counts the steady state.
    wire.offers.counts_calls = false;
    let provider = stand::provider(&wire.server.url(), &clock).await;
    let report = conformance::run(&provider, &mut wire).await.unwrap();
    report.assert_not_applicable(NOT_APPLICABLE);
    let own: &[&str] = if flexible { &["virtual_machines_list_all"] } else { &[] };
    sim_cloud::judge("azure.py", &[&wire.server], &[EXCHANGED, own].concat());
}

#[tokio::test]
async fn uniform_scale_sets() {
    run(false, false).await;
}

#[tokio::test]
async fn flexible_scale_sets_whose_writes_take_effect_late() {
    run(true, true).await;
}
