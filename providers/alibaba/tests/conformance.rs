//! The suite that every provider passes, over the simulated ESS: signed calls, real pages, its own error codes, and every
//! exchange judged by the official client's models.
#![allow(clippy::unwrap_used, reason = "a test")]

mod stand;

use conformance::{Call, Fault};
use stand::Stand;
use std::time::Duration;

/// The guard is a read before the write, and instances are removed by name. A connection is refused before anybody knows
/// what it was for, so no write is met by that alone. Pages have numbers, and an answer says how many items there are, so
/// there is no empty page that leads on to the next; what an empty page does is in `wire.rs`. And so is the slow answer:
/// the clock here stands still while one is waited for.
const NOT_APPLICABLE: &[&str] = &[
    "an_atomic_guard_shows_a_token",
    "raise_with_an_old_token_is_a_conflict",
    "lower_is_absolute",
    "lower_twice_is_one",
    "lower_never_raises",
    "lower_from_a_stale_view_is_a_conflict",
    "lower_without_the_ability_changes_nothing",
    "terminate_without_the_ability_changes_nothing",
    "an_unsent_write_changes_nothing",
    "empty_pages_hide_nothing",
    "a_slow_answer_is_stamped_before_it",
];

/// What is said of every group.
const EXCHANGED: &[&str] = &[
    "exchange DescribeAlarms",
    "exchange DescribeInstanceRefreshes",
    "exchange DescribeScalingActivities",
    "exchange DescribeScalingGroups",
    "exchange DescribeScalingInstances",
    "exchange DescribeScalingRules",
    "exchange DescribeScheduledTasks",
    "exchange RemoveInstances",
    "exchange ScaleWithAdjustment",
    "exchange TagResources",
];

async fn hold(late: bool) {
    let Stand { wire, provider, .. } = Stand::new().await;
    let mut wire = wire.without(&[(Call::Read, Fault::EmptyPages), (Call::Read, Fault::Slow(Duration::ZERO))]);
    wire.offers.page = Some(50);
    wire.late = late;
    let report = conformance::run(&provider, &mut wire).await.unwrap();
    report.assert_not_applicable(NOT_APPLICABLE);
    sim_cloud::judge("alibaba.py", &[&wire.server], EXCHANGED);
}

#[tokio::test]
async fn groups_hold_the_contract() {
    hold(false).await;
}

#[tokio::test]
async fn groups_hold_the_contract_when_what_timed_out_was_done() {
    hold(true).await;
}
