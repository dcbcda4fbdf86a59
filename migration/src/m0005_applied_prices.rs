//! The prices that were applied, each once: a row of the ledger names its own for as long as it is kept.

use sea_orm_migration::{prelude::*, schema::*};

use crate::Step;

/// Creates the prices that were applied.
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
        Step::table("applied_prices", [pk_auto("id"), text("hash"), text("json")]),
        Step::unique("applied_prices_hash", "applied_prices", ["hash"]),
        // What was charged before has none: its price is in the details as long as those are there.
        Step::column("usage_ledger", integer_null("price_id").take()),
    ]
}
