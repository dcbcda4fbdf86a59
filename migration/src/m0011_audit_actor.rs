//! The id of the admin token behind each row of the audit log: names can be taken again.

use sea_orm_migration::{prelude::*, schema::*};

use crate::Step;

/// Gives rows of the audit log the id of their actor.
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
    vec![Step::column("audit_log", big_integer_null("actor_id").take())]
}
