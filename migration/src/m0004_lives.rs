//! What becomes of lives that ended: whether the authority of the budgets was told, and what was written off.

use sea_orm_migration::{prelude::*, schema::*};

use crate::Step;

/// Creates what is known of lives that ended.
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
        Step::column("gateway_nodes", big_integer_null("told_at")),
        Step::table(
            "write_offs",
            [
                big_integer("inc"),
                text("axis"),
                big_integer("owner"),
                big_integer("scope"),
                big_integer("cost_nanos"),
                text("request_id"),
            ],
        )
        .keyed_by(["inc", "axis", "owner", "scope"]),
    ]
}
