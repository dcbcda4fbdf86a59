//! The REST API: every scenario runs on a SQLite file of its own, and all of them on PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod app;
mod openapi;
mod scenarios;
#[path = "../support/mod.rs"]
mod support;

use app::App;

macro_rules! run {
    ($($module:ident: $($name:ident),+;)+) => {
        $(mod $module {
            $(#[tokio::test]
            async fn $name() {
                crate::scenarios::$module::$name(crate::App::sqlite().await).await;
            })+
        })+

        #[tokio::test]
        async fn every_scenario_holds_on_postgresql() {
            use sea_orm::ConnectionTrait;
            let server = support::postgres::Postgres::start();
            let root = sea_orm::Database::connect(server.url("postgres")).await.unwrap();
            let mut database = 0;
            $($(
                database += 1;
                println!("{}", concat!(stringify!($module), "::", stringify!($name)));
                root.execute_unprepared(&format!("CREATE DATABASE t{database}")).await.unwrap();
                let app = App::new(&server.url(&format!("t{database}"))).await;
                let db = app.db.clone();
                crate::scenarios::$module::$name(app).await;
                db.close().await.unwrap();
            )+)+
        }
    };
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
        hostile_text_is_kept_or_refused_but_never_run;
    keys:
        a_secret_is_shown_once_and_only_its_hash_is_kept,
        rotation_replaces_the_secret,
        keys_go_with_their_user,
        a_key_of_a_missing_user_is_not_found,
        only_the_verbs_that_exist_are_found;
    auth:
        every_operation_wants_a_credential,
        a_viewer_may_only_read,
        a_revoked_token_is_refused_at_once,
        the_guard_stops_guessing_but_nobody_with_a_token,
        nobody_can_take_a_name_that_stands_for_another_in_the_audit_log;
    conventions:
        answers_of_the_framework_are_problems_too,
        bodies_have_a_limit_and_a_type,
        absurd_bodies_are_refused,
        a_panic_is_a_problem,
        pages_go_through_everything_once,
        forged_cursors_are_refused,
        unknown_and_repeated_parameters_are_refused,
        health_is_told_without_a_credential;
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
        counted_chooses_the_budget,
        nothing_is_zero;
    prices:
        a_price_is_set_read_replaced_and_taken_away,
        names_with_slashes_work_raw_and_encoded,
        wrong_prices_are_refused_with_their_paths,
        a_list_is_imported,
        if_match_guards_prices;
    reading:
        the_audit_log_names_every_write_without_secrets,
        providers_are_listed_by_name,
        settings_are_shown,
        a_key_owner_sees_himself;
}
