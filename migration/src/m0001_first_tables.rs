//! Users, keys, prices, the ledger, and what administration needs.
//!
//! Names are spelled out here rather than taken from the entities: those follow the newest schema, and this file must
//! go on saying what it said when it was first run.

use sea_orm_migration::{prelude::*, schema::*};

use crate::Step;

/// Creates the first tables.
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
    let mut steps = directory();
    steps.extend(administration());
    steps.extend(ledger());
    steps
}

/// Who may call.
fn directory() -> Vec<Step> {
    vec![
        Step::table(
            "users",
            [
                big_pk_auto("id"),
                text("name"),
                text_null("note"),
                boolean("enabled"),
                big_integer_null("expires_at"),
                integer_null("rpm"),
                integer_null("max_concurrent_requests"),
                text_null("allowed_models"),
                text_null("provider_groups"),
                big_integer("version"),
                big_integer("created_at"),
                big_integer("updated_at"),
            ],
        ),
        Step::unique("users_name", "users", ["name"]),
        Step::table_owned_by(
            "users",
            "user_id",
            "keys",
            [
                big_pk_auto("id"),
                big_integer("user_id"),
                text("name"),
                text("secret_hash"),
                text("prefix"),
                boolean("enabled"),
                big_integer_null("expires_at"),
                integer_null("rpm"),
                integer_null("max_concurrent_requests"),
                text_null("allowed_models"),
                text_null("provider_groups"),
                big_integer("version"),
                big_integer("created_at"),
                big_integer("updated_at"),
            ],
        ),
        Step::unique("keys_secret_hash", "keys", ["secret_hash"]),
        // With the id, because a user's keys are listed page by page.
        Step::index("keys_user_id", "keys", ["user_id", "id"]),
    ]
}

/// Who may administer, what they did, and what they set.
fn administration() -> Vec<Step> {
    vec![
        Step::table(
            "admin_tokens",
            [
                big_pk_auto("id"),
                text("name"),
                text("role"),
                text("secret_hash"),
                text("prefix"),
                big_integer("created_at"),
            ],
        ),
        Step::unique("admin_tokens_name", "admin_tokens", ["name"]),
        Step::unique("admin_tokens_secret_hash", "admin_tokens", ["secret_hash"]),
        Step::table(
            "audit_log",
            [
                big_pk_auto("id"),
                big_integer("at"),
                text("actor"),
                text("action"),
                text("object_type"),
                text("object_id"),
                text_null("before"),
                text_null("after"),
            ],
        ),
        Step::index("audit_log_at", "audit_log", ["at"]),
        Step::table(
            "idempotency_keys",
            [
                text("id").primary_key().take(),
                text("body_hash"),
                integer("status"),
                text("answer"),
                big_integer("created_at"),
            ],
        ),
        Step::index("idempotency_keys_created_at", "idempotency_keys", ["created_at"]),
        Step::table(
            "model_prices",
            [text("model").primary_key().take(), text("price"), big_integer("version"), big_integer("updated_at")],
        ),
    ]
}

/// What was spent. No foreign keys: whoever deletes a user must not delete money.
fn ledger() -> Vec<Step> {
    vec![
        Step::table(
            "usage_ledger",
            [
                big_pk_auto("id"),
                text("request_id"),
                integer("attempt"),
                big_integer("created_at"),
                big_integer("settled_at"),
                big_integer("user_id"),
                big_integer("key_id"),
                text("provider"),
                text("dialect"),
                text("requested_model"),
                text("served_model"),
                big_integer_null("model_group_id"),
                text("outcome"),
                boolean("estimated"),
                integer("status"),
                big_integer("duration_ms"),
                big_integer_null("first_byte_ms"),
                big_integer("input_tokens"),
                big_integer("output_tokens"),
                big_integer("cache_read_tokens"),
                big_integer("cache_write_5m_tokens"),
                big_integer("cache_write_1h_tokens"),
                big_integer("reasoning_tokens"),
                big_integer("input_audio_tokens"),
                big_integer("output_audio_tokens"),
                big_integer("input_image_tokens"),
                big_integer("output_image_tokens"),
                big_integer("web_searches"),
                text("service_tier"),
                big_integer("cost_nanos"),
                boolean("counted_in_user_global").default(true).take(),
                boolean("counted_in_key_global").default(true).take(),
            ],
        ),
        // One charge per attempt, however often a record is written.
        Step::unique("usage_ledger_request_attempt", "usage_ledger", ["request_id", "attempt"]),
        // Rows are listed newest first, page by page, and added up between two instants: of all, of a user, of a key.
        Step::index("usage_ledger_settled_at", "usage_ledger", ["settled_at", "id"]),
        Step::index("usage_ledger_user_id", "usage_ledger", ["user_id", "settled_at", "id"]),
        Step::index("usage_ledger_key_id", "usage_ledger", ["key_id", "settled_at", "id"]),
        Step::table(
            "message_request",
            [
                text("request_id").primary_key().take(),
                big_integer("created_at"),
                boolean("stream"),
                big_integer("request_bytes"),
                big_integer("response_bytes"),
                text("attempts"),
                text_null("price"),
            ],
        ),
        Step::index("message_request_created_at", "message_request", ["created_at"]),
    ]
}
