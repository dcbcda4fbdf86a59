//! Admin tokens that expire, and the request behind each row of the audit log.

use sea_orm_migration::{prelude::*, schema::*};

use crate::Step;

/// Gives admin tokens an end, and rows of the audit log their request.
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
        Step::column("admin_tokens", big_integer_null("expires_at").take()),
        Step::column("audit_log", text_null("request_id").take()),
    ]
}
