//! What was spent, per minute: the sums of the ledger's rows that budgets are made of.

use sea_orm::entity::prelude::*;

/// The sum of the rows that have all of this in common. The key is everything but the sums.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_rollup_minute")]
pub struct Model {
    /// The minute of settlement: Unix milliseconds / 60 000.
    #[sea_orm(primary_key, auto_increment = false)]
    pub minute: i64,
    /// See the ledger.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: i64,
    /// See the ledger.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_id: i64,
    /// See the ledger.
    #[sea_orm(primary_key, auto_increment = false)]
    pub provider: String,
    /// See the ledger; 0: none.
    #[sea_orm(primary_key, auto_increment = false)]
    pub model_group_id: i64,
    /// See the ledger.
    #[sea_orm(primary_key, auto_increment = false)]
    pub counted_in_user_global: bool,
    /// See the ledger.
    #[sea_orm(primary_key, auto_increment = false)]
    pub counted_in_key_global: bool,
    /// See the ledger.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_era: i64,
    /// See the ledger.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_era: i64,
    /// Nano-dollars.
    pub cost_nanos: i64,
    /// How many rows.
    pub requests: i64,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
