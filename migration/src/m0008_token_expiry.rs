//! Admin tokens that expire.

use sea_orm_migration::{prelude::*, schema::*};

use crate::Step;

/// Gives admin tokens an end.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for step in steps() {
            step.run(manager).await?;
        }
        Ok(())
    }
}

/// The statements, in order.
#[must_use]
pub fn steps() -> Vec<Step> {
    vec![Step::column("admin_tokens", big_integer_null("expires_at").take())]
}
