//! The simulated cloud passes the conformance suite in all its kinds and with both guards.
#![allow(clippy::unwrap_used, reason = "a test")]

mod stand;

use sim::Guard;
use stand::Stand;

async fn check(prefix: &'static str, guard: Guard, late: bool, not_applicable: &[&str]) {
    let mut stand = Stand::new(prefix, guard, late);
    let sim = stand.sim.clone();
    let mut expected = not_applicable.to_vec();
    if guard == Guard::ReadThenWrite {
        expected.extend(["an_atomic_guard_shows_a_token", "raise_with_an_old_token_is_a_conflict"]);
    }
    conformance::run(&sim, &mut stand).await.unwrap().assert_not_applicable(&expected);
}

#[tokio::test]
async fn groups_that_keep_desired() {
    let not_applicable = [
        "lower_is_absolute",
        "lower_twice_is_one",
        "lower_never_raises",
        "lower_from_a_stale_view_is_a_conflict",
        "terminate_without_the_ability_changes_nothing",
    ];
    for (guard, late) in [(Guard::ReadThenWrite, false), (Guard::Atomic, true)] {
        check("", guard, late, &not_applicable).await;
    }
}

#[tokio::test]
async fn servers_that_skala_sizes() {
    let mut not_applicable = vec![
        "unfilled_capacity_is_shown",
        "raise_beyond_the_clouds_max_is_refused",
        "raise_from_a_stale_view_is_a_conflict",
        "cancel_withdraws_only_what_is_unfilled",
        "cancel_from_a_stale_view_is_a_conflict",
        "lower_is_absolute",
        "lower_twice_is_one",
        "lower_never_raises",
        "lower_from_a_stale_view_is_a_conflict",
        "terminate_stops_at_the_clouds_min",
        "terminate_from_a_stale_view_is_a_conflict",
        "terminate_without_the_ability_changes_nothing",
        "raise_with_an_old_token_is_a_conflict",
    ];
    check("servers:", Guard::Atomic, false, &not_applicable).await;
    not_applicable.pop();
    not_applicable.push("two_raises_from_one_view_are_one");
    check("servers:", Guard::ReadThenWrite, true, &not_applicable).await;
}

#[tokio::test]
async fn deployments_that_pick_their_victims() {
    let not_applicable = [
        "raise_beyond_the_clouds_max_is_refused",
        "lower_without_the_ability_changes_nothing",
        "terminate_removes_exactly_the_named",
        "terminate_of_nothing_changes_nothing",
        "terminate_of_a_name_twice_removes_one",
        "terminate_of_many_removes_them_all",
        "terminate_skips_an_instance_that_is_gone",
        "terminate_spares_the_protected",
        "terminate_spares_another_groups_instance",
        "terminate_stops_at_the_clouds_min",
        "terminate_from_a_stale_view_is_a_conflict",
        "terminate_in_a_gone_group_is_not_found",
        "a_throttled_termination_changes_nothing",
        "an_error_after_a_termination_is_unclear",
        "a_termination_that_times_out_is_unclear",
    ];
    for (guard, late) in [(Guard::ReadThenWrite, true), (Guard::Atomic, false)] {
        check("deployment:", guard, late, &not_applicable).await;
    }
}
