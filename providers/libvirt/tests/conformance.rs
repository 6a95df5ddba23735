//! The suite that every provider passes, over libvirt's own mock of a hypervisor: once in this process, and once in a
//! libvirtd behind a proxy that breaks the messages between the two. `qemu.rs` has it over real guests.

// A test that cannot go on stops; and not every test needs all of the stand.
#![allow(clippy::unwrap_used, dead_code)]

mod stand;

use stand::fixture::{Domains, Kind};

/// libvirt knows domains, not groups: a group has no desired, no bounds, no owner and no switches there, so nothing of it
/// can be stale, unfilled or missing. A list has no pages, nobody throttles, and nothing expires.
const NOT_OF_LIBVIRT: &[&str] = &[
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
    "a_throttled_read_is_typed_and_unknown",
    "an_expired_read_is_typed",
    "a_lost_later_page_is_unknown",
    "a_throttled_write_changes_nothing",
    "an_expired_write_changes_nothing",
    "a_raise_beyond_the_quota_is_typed",
    "an_unsent_write_changes_nothing",
    "a_throttled_termination_changes_nothing",
    "a_write_claims_the_group",
    "anothers_claim_refuses_every_write",
    "anothers_expired_claim_is_taken_over",
    "an_older_epoch_is_refused",
];

/// There is no wire in one process.
const OF_THE_WIRE: &[&str] = &[
    "a_slow_answer_is_stamped_before_it",
    "a_failed_read_is_unknown",
    "a_read_that_times_out_is_unknown",
    "an_unreadable_answer_is_unknown",
    "an_unsent_read_is_unknown",
    "a_denied_read_is_typed",
    "a_denied_write_changes_nothing",
    "an_error_before_the_effect_is_not_a_success",
    "an_error_after_the_effect_is_unclear",
    "a_write_that_times_out_is_unclear",
    "an_unreadable_answer_to_a_write_is_unclear",
    "an_error_after_a_termination_is_unclear",
    "a_termination_that_times_out_is_unclear",
];

#[tokio::test]
async fn domains_of_the_mock_hold_the_contract() {
    let (mut fixture, provider) = Domains::new(Kind::Mock).await;
    let report = conformance::run(&provider, &mut fixture).await.unwrap();
    report.assert_not_applicable(&[NOT_OF_LIBVIRT, OF_THE_WIRE].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn domains_of_a_libvirtd_hold_the_contract_over_a_bad_wire() {
    let (mut fixture, provider) = Domains::new(Kind::MockBehindProxy).await;
    let report = conformance::run(&provider, &mut fixture).await.unwrap();
    report.assert_not_applicable(NOT_OF_LIBVIRT);
}
