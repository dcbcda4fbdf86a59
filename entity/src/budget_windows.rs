//! When the running five hours of a budget began, if they begin with the first charge.

use sea_orm::entity::prelude::*;

/// The start of the latest window of one budget.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "budget_windows")]
pub struct Model {
    /// `user`, `key` or `provider`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub axis: String,
    /// Id of the user or key, or a number made of the provider's name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner: i64,
    /// Id of the model group; 0: mainline.
    #[sea_orm(primary_key, auto_increment = false)]
    pub scope: i64,
    /// Unix milliseconds, a whole minute.
    pub started_at: i64,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
