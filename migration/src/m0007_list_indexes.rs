//! Indexes that the lists of the REST API are read off, in each of their orders and with each of their filters.

use sea_orm_migration::prelude::*;

use crate::Step;

/// Creates the indexes of lists.
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
    let mut steps = vec![
        // The longest of these tables, while no other is locked yet.
        Step::index("audit_log_by_time", "audit_log", ["at", "id"]),
        Step::Sql("DROP INDEX IF EXISTS audit_log_at"),
        // Names are listed by their bytes. SQLite compares them so anyway: there the unique index does.
        Step::postgres("CREATE INDEX IF NOT EXISTS users_by_name ON users (name COLLATE \"C\", id)"),
        Step::postgres("CREATE INDEX IF NOT EXISTS user_groups_by_name ON user_groups (name COLLATE \"C\", id)"),
        Step::postgres("CREATE INDEX IF NOT EXISTS model_groups_by_name ON model_groups (name COLLATE \"C\", id)"),
        Step::sqlite("CREATE INDEX IF NOT EXISTS keys_by_name ON keys (user_id, name, id)"),
        Step::postgres("CREATE INDEX IF NOT EXISTS keys_by_name ON keys (user_id, name COLLATE \"C\", id)"),
        Step::index("keys_of_name", "keys", ["name", "id"]),
        Step::index("users_created_at", "users", ["created_at", "id"]),
        Step::index("keys_created_at", "keys", ["user_id", "created_at", "id"]),
        Step::index("user_groups_created_at", "user_groups", ["created_at", "id"]),
        Step::index("model_groups_created_at", "model_groups", ["created_at", "id"]),
    ];
    steps.extend(limits());
    steps
}

/// Limits of one kind of subject, of one model group, or both; boosts of a user, of a model group, or both.
fn limits() -> Vec<Step> {
    vec![
        Step::Sql(
            "CREATE INDEX IF NOT EXISTS model_group_limits_of_users \
             ON model_group_limits (id) WHERE user_id IS NOT NULL",
        ),
        Step::Sql(
            "CREATE INDEX IF NOT EXISTS model_group_limits_of_user_groups \
             ON model_group_limits (id) WHERE user_group_id IS NOT NULL",
        ),
        Step::Sql(
            "CREATE INDEX IF NOT EXISTS model_group_limits_of_keys \
             ON model_group_limits (id) WHERE key_id IS NOT NULL",
        ),
        Step::Sql(
            "CREATE INDEX IF NOT EXISTS model_group_limits_group_of_users \
             ON model_group_limits (model_group_id, id) WHERE user_id IS NOT NULL",
        ),
        Step::Sql(
            "CREATE INDEX IF NOT EXISTS model_group_limits_group_of_user_groups \
             ON model_group_limits (model_group_id, id) WHERE user_group_id IS NOT NULL",
        ),
        Step::Sql(
            "CREATE INDEX IF NOT EXISTS model_group_limits_group_of_keys \
             ON model_group_limits (model_group_id, id) WHERE key_id IS NOT NULL",
        ),
        Step::index("model_group_limits_group", "model_group_limits", ["model_group_id", "id"]),
        Step::Sql("DROP INDEX IF EXISTS model_group_limits_model_group_id"),
        Step::index("quota_boost_grants_user", "quota_boost_grants", ["user_id", "id"]),
        Step::index("quota_boost_grants_group", "quota_boost_grants", ["model_group_id", "id"]),
        Step::index("quota_boost_grants_end", "quota_boost_grants", ["expires_at", "id"]),
        Step::index("quota_boost_grants_user_end", "quota_boost_grants", ["user_id", "expires_at", "id"]),
        Step::index("quota_boost_grants_group_end", "quota_boost_grants", ["model_group_id", "expires_at", "id"]),
        Step::Sql("DROP INDEX IF EXISTS quota_boost_grants_model_group_id"),
        Step::Sql("DROP INDEX IF EXISTS quota_boost_grants_expires_at"),
    ]
}
