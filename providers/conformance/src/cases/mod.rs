//! The table of all cases. Each is a small function whose name is the sentence it proves.

mod garbage;
mod lowering;
mod owning;
mod raising;
mod reading;
mod removing;
mod trouble;

use crate::stage::Case;

macro_rules! cases {
    ($($module:ident: $($name:ident)*;)*) => {
        /// All cases by name, in the order in which they run.
        pub fn all() -> impl Iterator<Item = (&'static str, Case)> {
            const ALL: &[(&str, Case)] = &[$($((stringify!($name), |stage| Box::pin($module::$name(stage)))),*),*];
            ALL.iter().copied()
        }
    };
}

cases! {
    reading:
        observation_shows_the_truth
        many_groups_are_observed_at_once
        nothing_asked_is_nothing_answered
        a_group_asked_twice_is_answered_twice
        an_unknown_group_is_not_found_and_spoils_nobody
        a_slow_answer_is_stamped_before_it
        protection_is_shown
        unfilled_capacity_is_shown
        suspension_is_shown
        a_foreign_controller_is_shown
        launch_failures_are_data
        an_atomic_guard_shows_a_token;
    raising:
        raise_is_absolute
        raise_twice_is_one
        raise_to_the_same_changes_nothing
        raise_never_lowers
        raise_beyond_the_clouds_max_is_refused
        raise_from_a_stale_view_is_a_conflict
        two_raises_from_one_view_are_one
        raise_with_an_old_token_is_a_conflict
        raise_of_an_unknown_group_is_not_found;
    lowering:
        cancel_withdraws_only_what_is_unfilled
        cancel_never_removes_an_instance
        cancel_never_raises
        cancel_from_a_stale_view_is_a_conflict
        lower_is_absolute
        lower_twice_is_one
        lower_never_raises
        lower_from_a_stale_view_is_a_conflict
        lower_without_the_ability_changes_nothing;
    removing:
        terminate_removes_exactly_the_named
        terminate_of_nothing_changes_nothing
        terminate_of_a_name_twice_removes_one
        terminate_of_many_removes_them_all
        terminate_skips_an_instance_that_is_gone
        terminate_spares_the_protected
        terminate_spares_another_groups_instance
        terminate_stops_at_the_clouds_min
        terminate_from_a_stale_view_is_a_conflict
        terminate_without_the_ability_changes_nothing
        terminate_in_a_gone_group_is_not_found;
    trouble:
        a_throttled_read_is_typed_and_unknown
        a_failed_read_is_unknown
        a_read_that_times_out_is_unknown
        an_unreadable_answer_is_unknown
        an_unsent_read_is_unknown
        a_denied_read_is_typed
        an_expired_read_is_typed
        a_lost_later_page_is_unknown
        a_throttled_write_changes_nothing
        a_denied_write_changes_nothing
        an_expired_write_changes_nothing
        a_raise_without_machines_is_typed
        a_raise_beyond_the_quota_is_typed
        an_unsent_write_changes_nothing
        an_error_before_the_effect_is_not_a_success
        an_error_after_the_effect_is_unclear
        a_write_that_times_out_is_unclear
        an_unreadable_answer_to_a_write_is_unclear
        a_throttled_termination_changes_nothing
        an_error_after_a_termination_is_unclear
        a_termination_that_times_out_is_unclear;
    garbage:
        a_page_of_html_is_unknown
        a_redirect_is_not_followed
        wrong_credentials_are_typed
        a_clock_that_is_off_is_typed
        empty_pages_hide_nothing
        an_item_twice_counts_once
        an_unknown_word_loses_no_instance
        a_number_out_of_range_is_unknown
        a_write_answered_with_html_is_no_success
        a_redirected_write_changes_nothing
        credentials_that_expire_after_a_write_hide_nothing;
    owning:
        a_write_claims_the_group
        anothers_claim_refuses_every_write
        anothers_expired_claim_is_taken_over
        an_older_epoch_is_refused;
}
