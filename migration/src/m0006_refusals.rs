//! Requests that were refused: kept for a while, for whoever asks why.

use sea_orm_migration::{prelude::*, schema::*};

use crate::Step;

/// Creates the requests that were refused.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        Step::run_all(steps(), manager).await
    }
}

/// The statements, in order.
#[must_use]
pub fn steps() -> Vec<Step> {
    vec![
        Step::table(
            "refusals",
            [
                big_pk_auto("id"),
                text("request_id"),
                big_integer("created_at"),
                big_integer("user_id"),
                big_integer("key_id"),
                text_null("model"),
                text_null("dialect"),
                integer("status"),
                text("code"),
                text("message"),
                text_null("axis"),
                text_null("scope"),
                text_null("window"),
                big_integer_null("limit_nanos"),
                big_integer_null("used_nanos"),
                big_integer_null("reserved_nanos"),
                big_integer_null("requested_nanos"),
                big_integer("repeated").default(0).take(),
                text_null("details"),
                text("excluded"),
                integer("excluded_more").default(0).take(),
                text("attempts"),
            ],
        ),
        // One row per request, however often it is written.
        Step::unique("refusals_request_id", "refusals", ["request_id"]),
        // Rows are listed newest first, page by page: of all, of a user, of a key; the oldest are deleted.
        Step::index("refusals_created_at", "refusals", ["created_at", "id"]),
        Step::index("refusals_user_id", "refusals", ["user_id", "created_at", "id"]),
        Step::index("refusals_key_id", "refusals", ["key_id", "created_at", "id"]),
    ]
}
