//! Indexes of the audit log by each of its filters, and of the keys of all users in each order.

use sea_orm_migration::prelude::*;

use crate::Step;

/// Creates more indexes of lists, and drops one that is not needed.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        Step::run_all(steps(), manager).await
    }
}

/// The statements, in order: first those of the table that grows, while no other is locked yet.
#[must_use]
pub fn steps() -> Vec<Step> {
    vec![
        Step::index("audit_log_actor", "audit_log", ["actor", "at", "id"]),
        Step::index("audit_log_action", "audit_log", ["action", "at", "id"]),
        Step::index("audit_log_object_type", "audit_log", ["object_type", "at", "id"]),
        Step::index("audit_log_object_id", "audit_log", ["object_id", "at", "id"]),
        Step::index("keys_of_all_created_at", "keys", ["created_at", "id"]),
        // Names are listed by their bytes. SQLite compares them so anyway: there `keys_of_name` does.
        Step::postgres("CREATE INDEX IF NOT EXISTS keys_of_all_by_name ON keys (name COLLATE \"C\", id)"),
        Step::postgres("DROP INDEX IF EXISTS keys_of_name"),
        // The boosts of a user are few: whoever looks for those of one model group, too, reads them all.
        Step::Sql("DROP INDEX IF EXISTS quota_boost_grants_user_id"),
    ]
}
