//! How far the sums per quarter of an hour are.

use sea_orm::entity::prelude::*;

/// Its only row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_rollup_state")]
pub struct Model {
    /// 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// Whoever writes a row that was settled before this instant (Unix milliseconds) adds it to the sums.
    pub announced_until: i64,
    /// The last row of the ledger when that was said: it and those before it are added by whoever said it.
    pub announced_id: i64,
    /// The sums have all rows that were settled before this instant.
    pub sealed_until: i64,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
