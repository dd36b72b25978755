//! The list of all cases.

/// Makes one `#[test]` of each case of the [conformance](crate::conformance) suite, in the module where
/// it stands. Its argument is an `async fn() -> Fixture`.
#[macro_export]
macro_rules! conformance_suite {
    ($factory:expr) => {
        $crate::conformance_suite! { @cases $factory;
            entries {
                an_empty_store_is_at_revision_one
                the_status_counts_what_is_there
                a_put_can_be_read
                puts_count_versions
                a_deleted_key_starts_afresh
                deleting_nothing_takes_no_revision
                an_empty_value_is_a_value
                keys_and_values_are_any_bytes
                large_values_come_back_whole
                a_key_can_be_read_at_any_revision
                a_future_revision_cannot_be_read
            }
            conditions {
                create_only_what_is_not_there
                update_only_what_is_expected
                delete_only_what_is_expected
                compares_judge_every_part_of_an_entry
                a_compare_over_a_range_holds_for_all
                all_compares_must_hold
            }
            transactions {
                a_transaction_takes_one_revision
                results_tell_what_was_there
                a_step_sees_the_steps_before_it
                the_other_branch_runs_when_a_compare_fails
                a_transaction_that_reads_takes_no_revision
                a_transaction_may_read_the_past
                a_key_changes_once_in_a_transaction
                a_refused_transaction_changes_nothing
                an_empty_key_is_refused
                a_put_may_keep_value_or_lease
                deleting_a_range_deletes_what_is_in_it
                a_transaction_may_hold_others
                a_key_changes_once_also_across_transactions_within
            }
            ranges {
                a_range_is_in_byte_order
                each_kind_of_range_holds_what_it_says
                a_limit_says_what_it_leaves_out
                pages_show_one_revision
                keys_and_counts_can_be_had_alone
                a_range_can_be_read_at_any_revision
                a_serializable_read_is_of_one_revision
            }
            compaction {
                what_is_before_is_gone_and_what_is_after_stays
                compaction_changes_nothing_else
                compaction_goes_forward_only
                a_refused_read_says_what_is_left
            }
            leases {
                leases_have_names
                leases_live_for_whole_seconds
                leases_alone_take_no_revision
                an_unknown_lease_is_not_found
                revoking_deletes_the_keys_at_once
                status_tells_keys_and_remaining_time
                a_key_hangs_on_its_newest_lease
                a_lease_expires
                keeping_alive_puts_expiry_off
            }
            concurrency {
                no_increment_is_lost
                every_commit_takes_its_own_revision
                reads_never_go_back
                nobody_sees_half_a_transaction
                cancelled_commits_do_no_harm
                a_list_and_a_watch_from_there_join
            }
            watches {
                a_watch_from_now_sees_what_comes
                a_watch_from_the_past_catches_up
                a_watch_from_the_future_waits
                a_watch_sees_its_range_only
                a_revision_is_delivered_whole
                events_tell_what_was_there_before
                a_delete_event_tells_when
                watches_are_ordered_and_without_gaps
                a_watch_resumes_where_it_stopped
                a_slow_watch_misses_nothing
                a_slow_watch_never_skips_compacted_history
                compacted_history_cannot_be_watched
                the_compacted_revision_can_be_watched
                a_progress_mark_comes_when_asked_for
                a_progress_mark_never_runs_ahead
                progress_marks_come_at_intervals
                many_watches_see_the_same
                a_dropped_watch_disturbs_no_other
            }
        }
    };
    (@cases $factory:expr; $($module:ident { $($case:ident)* })*) => {
        $($(
            #[test]
            fn $case() {
                $crate::conformance::run($factory, $crate::conformance::$module::$case);
            }
        )*)*
    };
}

#[cfg(test)]
mod tests {
    /// A case that is not in the list would never run.
    #[test]
    fn every_case_is_in_the_list() {
        let list = include_str!("suite.rs");
        for source in [
            include_str!("compaction.rs"),
            include_str!("concurrency.rs"),
            include_str!("conditions.rs"),
            include_str!("entries.rs"),
            include_str!("leases.rs"),
            include_str!("ranges.rs"),
            include_str!("transactions.rs"),
            include_str!("watches.rs"),
        ] {
            let cases = source.lines().filter_map(|line| line.strip_prefix("pub async fn "));
            for case in cases.filter_map(|line| line.split('(').next()) {
                assert!(list.lines().any(|line| line.trim() == case), "{case} is not in the list");
            }
        }
    }
}
