//! What was spent per quarter of an hour: summaries of usage are read from these sums and not from the whole ledger.

use sea_orm_migration::{prelude::*, schema::*};

use crate::Step;

/// Creates the sums of quarters of an hour. They stay empty: a running gateway fills them, a few rows at a time.
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
            "usage_rollup_quarter",
            [
                big_integer("quarter"),
                big_integer("user_id"),
                big_integer("key_id"),
                text("provider"),
                text("served_model"),
                big_integer("model_group_id"),
                text("outcome"),
                boolean("counted_in_user_global"),
                boolean("counted_in_key_global"),
                big_integer("cost_nanos"),
                big_integer("requests"),
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
            ],
        )
        // Sums of everybody between two instants are one range of it.
        .keyed_by([
            "quarter",
            "user_id",
            "key_id",
            "provider",
            "served_model",
            "model_group_id",
            "outcome",
            "counted_in_user_global",
            "counted_in_key_global",
        ]),
        // The same of a user, of a key.
        Step::index("usage_rollup_quarter_user_id", "usage_rollup_quarter", ["user_id", "quarter"]),
        Step::index("usage_rollup_quarter_key_id", "usage_rollup_quarter", ["key_id", "quarter"]),
        Step::table(
            "usage_rollup_state",
            [
                integer("id").primary_key().take(),
                big_integer("announced_until"),
                big_integer("announced_id"),
                big_integer("sealed_until"),
            ],
        )
        .check("id = 1"),
        Step::Sql(
            "INSERT INTO usage_rollup_state (id, announced_until, announced_id, sealed_until) VALUES (1, 0, 0, 0) \
             ON CONFLICT (id) DO NOTHING",
        ),
    ]
}
