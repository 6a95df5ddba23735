//! The suite that every provider passes, over moto and over a simulated AWS.
//!
//! moto is a cloud API server that nobody here wrote, and microburst, which breaks its answers, is a proxy of the same kind;
//! both are started from the venv that `SKALA_VENV` names. What it cannot show (slow boots, unfilled groups, launch failures, wrong answers in the API's own
//! form) the simulated AWS shows, which boto3 judges; and botocore's description of the services judges every exchange.

// A test that cannot go on stops; and not every test needs all of the stand.
#![allow(clippy::unwrap_used, dead_code)]

mod stand;

use conformance::{Call, Fault, Fixture};
use contract::{Ask, Epoch, InstanceId, Provider, Target, Version};
use sim_cloud::fixture::Wire;
use stand::fixture::Groups;
use stand::simulated::{self, Stand};
use stand::tagged::Tagged;

/// The cases that say nothing of an Auto Scaling group: its guard is a read before the write, and it has its own removal
/// by name. Its writes are refused at once for want of machines or quota by no answer of the API: those come as data.
const NOT_OF_GROUPS: &[&str] = &[
    "an_atomic_guard_shows_a_token",
    "raise_with_an_old_token_is_a_conflict",
    "lower_is_absolute",
    "lower_twice_is_one",
    "lower_never_raises",
    "lower_from_a_stale_view_is_a_conflict",
    "lower_without_the_ability_changes_nothing",
    "terminate_without_the_ability_changes_nothing",
    "a_raise_without_machines_is_typed",
    "a_raise_beyond_the_quota_is_typed",
    "an_unsent_write_changes_nothing",
];

/// What moto cannot be made to answer: wrong answers in the API's own form.
const NOT_AT_MOTO: &[&str] = &[
    "empty_pages_hide_nothing",
    "an_item_twice_counts_once",
    "an_unknown_word_loses_no_instance",
    "a_number_out_of_range_is_unknown",
];

/// A tag is no group to EC2: it has no desired, no bounds, no owner, and is never missing; so no view of it is stale.
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
    "an_unsent_write_changes_nothing",
    "a_write_claims_the_group",
    "anothers_claim_refuses_every_write",
    "anothers_expired_claim_is_taken_over",
    "an_older_epoch_is_refused",
    "terminate_in_a_gone_group_is_not_found",
];

/// What is said of every group.
const SAID_OF_GROUPS: &[&str] = &[
    "exchange CreateOrUpdateTags",
    "exchange DescribeAutoScalingGroups",
    "exchange DescribeInstanceRefreshes",
    "exchange DescribeInstances",
    "exchange DescribePolicies",
    "exchange DescribeScalingActivities",
    "exchange DescribeScheduledActions",
    "exchange SetDesiredCapacity",
    "exchange TerminateInstanceInAutoScalingGroup",
];

fn judge(wires: &[Wire], expected: &[&str]) {
    let servers: Vec<_> = wires.iter().map(|wire| &wire.server).collect();
    sim_cloud::judge("aws.py", &servers, expected);
}

fn target(group: &str, seen: u32) -> Target {
    Target {
        group: group.into(),
        action: contract::ActionId(7),
        seen: Version { desired: Some(seen), token: None, at: contract::Timestamp(0) },
        lease: Epoch(1),
    }
}

#[tokio::test]
async fn groups_at_moto_hold_the_contract() {
    let (mut fixture, provider) = Groups::new().await;
    // moto answers a batch of terminations with an HTML page. The provider says so and goes one by one from then on,
    // which the suite, rightly, would take for a failure of the first case.
    let group = fixture.create(conformance::Spec::full(3)).await.unwrap();
    let seen = provider.observe(&[Ask::new(group.as_str())]).await.remove(0).unwrap();
    let two: Vec<InstanceId> = seen.instances[..2].iter().map(|instance| instance.id.clone()).collect();
    let error = provider.terminator().unwrap().terminate(&target(group.as_str(), 3), &two).await.unwrap_err();
    assert_eq!(error.code(), "unclear", "{error}");
    assert_eq!(fixture.truth(&group).await.unwrap().instances.len(), 3);

    let report = conformance::run(&provider, &mut fixture).await.unwrap();
    let without = [
        "unfilled_capacity_is_shown",
        "launch_failures_are_data",
        "cancel_withdraws_only_what_is_unfilled",
        "cancel_from_a_stale_view_is_a_conflict",
    ];
    report.assert_not_applicable(&[NOT_OF_GROUPS, NOT_AT_MOTO, &without].concat());
}

#[tokio::test]
async fn groups_at_the_simulated_aws_hold_the_contract() {
    let mut wires = Vec::new();
    for late in [false, true] {
        let Stand { wire, provider, .. } = Stand::new(simulated::settings(), "", 40).await;
        let mut wire = wire.without(&[(Call::Write, Fault::OutOfCapacity), (Call::Write, Fault::QuotaExceeded)]);
        wire.late = late;
        let report = conformance::run(&provider, &mut wire).await.unwrap();
        report.assert_not_applicable(NOT_OF_GROUPS);
        wires.push(wire);
    }
    judge(&wires, SAID_OF_GROUPS);
}

#[tokio::test]
async fn tagged_instances_at_the_simulated_aws_hold_the_contract() {
    let mut wires = Vec::new();
    for late in [false, true] {
        let Stand { wire, provider, .. } = Stand::new(simulated::settings(), "servers:", 5).await;
        let mut wire = wire.without(&[(Call::Read, Fault::OutOfRange)]);
        wire.late = late;
        let report = conformance::run(&provider, &mut wire).await.unwrap();
        // No number in EC2's answers could be out of range.
        report.assert_not_applicable(&[NOT_OF_TAGS, &["a_number_out_of_range_is_unknown"]].concat());
        wires.push(wire);
    }
    judge(&wires, &["exchange DescribeInstances", "exchange RunInstances", "exchange TerminateInstances"]);
}

#[tokio::test]
async fn tagged_instances_at_moto_hold_the_contract() {
    let (mut fixture, provider) = Tagged::new().await;
    let report = conformance::run(&provider, &mut fixture).await.unwrap();
    let without = ["launch_failures_are_data", "a_lost_later_page_is_unknown"];
    report.assert_not_applicable(&[NOT_OF_TAGS, NOT_AT_MOTO, &without].concat());
}
