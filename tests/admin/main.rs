//! The REST API: every scenario runs on a SQLite file of its own, and all of them on PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod app;
mod given;
mod node;
mod openapi;
mod operations;
mod scenarios;
mod spec;
#[path = "../support/mod.rs"]
mod support;

use app::App;
use futures::future::LocalBoxFuture;

macro_rules! run {
    ($($module:ident: $($name:ident),+;)+) => {
        $(mod $module {
            $(#[tokio::test]
            async fn $name() {
                crate::scenarios::$module::$name(crate::App::sqlite().await).await;
            })+

            #[tokio::test]
            async fn every_scenario_holds_on_postgresql() {
                crate::on_postgresql(&[$((stringify!($name), |app| {
                    Box::pin(crate::scenarios::$module::$name(app))
                })),+])
                .await;
            }
        })+
    };
}

/// A scenario in a box of its own: together they would not fit on a stack.
type Scenario = fn(App) -> LocalBoxFuture<'static, ()>;

/// Runs each scenario on a database of its own, of one server.
async fn on_postgresql(scenarios: &[(&str, Scenario)]) {
    use sea_orm::ConnectionTrait;
    let server = support::postgres::Postgres::start();
    let root = Box::pin(sea_orm::Database::connect(server.url("postgres"))).await.unwrap();
    for (database, (name, scenario)) in scenarios.iter().enumerate() {
        println!("{name}");
        root.execute_unprepared(&format!("CREATE DATABASE t{database}")).await.unwrap();
        let app = App::new(&server.url(&format!("t{database}"))).await;
        let db = app.db.clone();
        scenario(app).await;
        db.close().await.unwrap();
    }
}

run! {
    users:
        a_user_is_created_read_changed_listed_and_deleted,
        every_wrong_field_is_named_at_once,
        unknown_fields_and_those_of_the_server_are_refused,
        a_name_is_unique,
        a_patch_changes_only_what_it_names,
        null_takes_away_only_what_may_be_absent,
        of_two_patches_with_the_same_version_one_is_refused,
        a_stale_if_match_is_refused,
        ids_out_of_range_are_refused,
        hostile_text_is_kept_or_refused_but_never_run,
        what_nobody_sees_is_in_no_name;
    keys:
        a_secret_is_shown_once_and_only_its_hash_is_kept,
        rotation_replaces_the_secret,
        keys_go_with_their_user,
        keys_of_all_users_are_listed_by_user_and_name,
        keys_of_all_users_are_sorted_and_searched,
        a_key_of_a_missing_user_is_not_found,
        only_the_verbs_that_exist_are_found;
    audit:
        every_write_of_the_document_leaves_what_was_and_what_is,
        what_goes_along_with_a_deletion_is_recorded_however_much_it_is,
        what_is_refused_or_repeated_or_changes_nothing_leaves_no_row,
        a_name_that_is_taken_again_is_another_actor_with_keys_of_its_own;
    auth:
        roles_are_what_they_say,
        a_revoked_token_is_refused_at_once,
        the_guard_stops_guessing_but_nobody_with_a_token,
        nobody_can_take_a_name_that_stands_for_another_in_the_audit_log,
        tokens_are_sorted_and_searched;
    longest:
        lists_of_the_longest_names_go_on_from_their_own_cursors;
    matrix:
        every_operation_refuses_every_wrong_credential,
        every_operation_takes_a_right_credential_however_it_is_spelled,
        a_viewer_reads_everything_but_tokens_and_writes_nothing,
        a_key_sees_nothing_of_anybody_else,
        head_is_get_without_a_body_and_options_tells_nothing,
        a_credential_is_counted_wherever_it_comes_from_and_locks_out_nobody_with_a_right_one;
    guesses:
        guesses_from_a_blocked_address_do_not_reach_the_database_and_right_keys_do;
    hostile:
        json_in_json_is_refused,
        what_is_sent_is_never_run,
        no_header_can_be_made_to_hold_another,
        paths_lead_nowhere_else,
        a_body_that_does_not_come_is_not_waited_for,
        odd_json_is_refused_or_read_as_it_says,
        no_page_of_another_origin_gets_anything;
    exports:
        readers_that_stall_hold_no_connection_to_the_database,
        rows_are_read_when_they_are_wanted_and_no_longer_when_the_reader_has_left;
    conflicts:
        whoever_has_the_name_is_named,
        of_many_who_take_a_name_at_once_the_losers_name_the_winner,
        a_singleton_names_the_model_that_it_has;
    conventions:
        answers_of_the_framework_are_problems_too,
        bodies_have_a_limit_and_a_type,
        absurd_bodies_are_refused,
        a_panic_is_a_problem,
        pages_go_through_everything_once,
        what_has_a_name_is_found_by_it,
        forged_cursors_are_refused,
        unknown_and_repeated_parameters_are_refused,
        health_is_told_without_a_credential;
    lists:
        lists_of_names_are_sorted_by_every_order_up_and_down,
        names_are_found_by_how_they_begin,
        a_cursor_goes_on_in_its_own_order_only,
        boosts_are_sorted_by_their_end_and_limits_by_their_ids,
        members_of_a_group_are_listed_in_every_order,
        members_of_a_large_group_are_listed_in_every_order,
        a_cursor_of_a_list_by_time_goes_on_in_its_own_order_only,
        long_lists_are_read_off_indexes_page_by_page,
        f11_a_page_takes_a_fixed_number_of_queries_however_long_it_is;
    idempotency:
        a_repeated_post_is_carried_out_once,
        a_repeated_answer_has_no_secret,
        another_body_is_refused,
        a_refusal_is_not_remembered,
        the_same_key_of_another_actor_or_path_is_another_key,
        of_many_at_once_one_is_carried_out,
        a_day_later_it_is_forgotten;
    usage:
        rows_come_newest_first_with_every_field,
        filters_and_pages_agree_with_a_scan,
        csv_and_json_lines_hold_everything,
        many_rows_are_streamed_in_batches,
        costs_are_exact,
        one_request_is_shown_whole,
        a_key_sees_only_its_user;
    summary:
        sums_agree_with_the_rows,
        groups_by_any_two,
        days_are_those_of_the_time_zone,
        h13_counted_chooses_the_budget,
        what_is_sealed_is_read_from_sums_by_index_and_not_from_the_ledger,
        nothing_is_zero;
    refusals:
        refusals_come_newest_first_with_every_field,
        filters_and_pages_of_refusals_agree_with_a_scan,
        refusals_are_exported_whole,
        a_refused_request_is_shown_with_who_could_not_be_asked_and_who_was,
        h22_refusals_are_in_no_sum_and_charges_are_not_refused,
        a_viewer_may_see_refusals_and_a_key_may_not;
    prices:
        a_price_is_set_read_replaced_and_taken_away,
        names_with_slashes_work_raw_and_encoded,
        wrong_prices_are_refused_with_their_paths,
        a_list_is_imported,
        if_match_guards_prices;
    reading:
        the_audit_log_names_every_write_without_secrets,
        the_audit_log_is_filtered_by_who_did_what_to_what,
        providers_are_listed_by_name,
        circuits_are_opened_and_reset_by_hand,
        settings_are_shown,
        a_key_owner_sees_himself;
    limits:
        limits_are_merged_window_by_window,
        wrong_limits_are_named_with_their_paths,
        a_user_names_its_groups,
        users_are_listed_with_their_groups_in_a_fixed_number_of_queries,
        h23_a_users_reset_starts_all_its_budgets_anew_and_none_of_its_keys,
        a_reset_that_makes_no_sense_is_refused,
        a_new_cap_is_in_force_on_this_node_at_once;
    groups:
        a_user_group_is_created_read_changed_listed_and_deleted,
        a_groups_version_follows_its_members_however_they_come_and_go,
        f05_a_group_that_does_not_exist_is_not_found,
        f10_statuses_do_not_depend_on_words,
        f11_members_are_counted_in_one_query_however_many_groups_there_are,
        a_model_group_is_created_read_changed_listed_and_deleted,
        f04_a_model_of_another_group_is_refused_and_the_group_named,
        f04_of_several_creations_at_once_one_succeeds,
        a_singleton_has_one_model,
        what_is_deleted_leaves_a_later_stamp_with_whoever_had_it;
    model_limits:
        a_limit_is_set_replaced_changed_listed_and_deleted,
        limits_are_filtered_by_subject_and_group,
        f22_a_limit_has_at_least_one_cap,
        a_limit_of_nobody_is_refused,
        of_many_settings_of_one_limit_at_once_one_creates_it,
        a_boost_is_granted_listed_and_revoked,
        a_boost_that_makes_no_sense_is_refused,
        f15_whoever_is_deleted_leaves_no_limit_boost_or_membership,
        f15_a_thousand_keys_that_come_and_go_leave_nothing_behind;
    budgets:
        budgets_tell_caps_sources_use_and_what_is_left,
        what_running_requests_have_set_aside_is_told_apart,
        a_provider_goes_by_its_name,
        a_budget_that_cannot_be_found_out_is_unavailable,
        f06_f19_f23_every_write_counts_on_this_node_before_it_is_answered,
        h16_a_boost_without_a_cap_makes_no_budget,
        a_key_owner_sees_his_budgets_and_no_others;
    explain:
        every_provider_is_named_with_what_speaks_against_it,
        the_budget_that_pays_is_named_and_so_is_the_refusal,
        f16_a_candidate_that_cannot_be_paid_for_is_passed_over,
        a_user_or_key_that_may_not_is_told_so,
        a_question_that_makes_no_sense_is_refused;
}
