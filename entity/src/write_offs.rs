//! What a node held when it was written off, budget by budget.

use sea_orm::entity::prelude::*;

/// One budget of one life.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "write_offs")]
pub struct Model {
    /// The life.
    #[sea_orm(primary_key, auto_increment = false)]
    pub inc: i64,
    /// `user`, `key` or `provider`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub axis: String,
    /// Id of the user or key, or a number made of the provider's name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner: i64,
    /// Id of the model group; 0: mainline.
    #[sea_orm(primary_key, auto_increment = false)]
    pub scope: i64,
    /// What was charged for it, nano-dollars.
    pub cost_nanos: i64,
    /// The row of the ledger that says so; there is none when nothing was charged.
    pub request_id: String,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
