//! What budgets have spent, in spans of time: what sums of long times are made of.

use sea_orm::entity::prelude::*;

/// What a budget has spent in a span. The key is everything but the sums.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_rollup_span")]
pub struct Model {
    /// `user`, `key` or `provider`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub axis: String,
    /// The id of the user or key, or the name of the provider.
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner: String,
    /// The model group; 0: the mainline.
    #[sea_orm(primary_key, auto_increment = false)]
    pub scope: i64,
    /// Minutes: 120, 10 080, and for providers 1 as well.
    #[sea_orm(primary_key, auto_increment = false)]
    pub span: i64,
    /// The first of them, a multiple of the span.
    #[sea_orm(primary_key, auto_increment = false)]
    pub minute: i64,
    /// The owner's era, see the ledger; 0 for providers.
    #[sea_orm(primary_key, auto_increment = false)]
    pub era: i64,
    /// Nano-dollars.
    pub cost_nanos: i64,
    /// How many rows of the ledger.
    pub requests: i64,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
