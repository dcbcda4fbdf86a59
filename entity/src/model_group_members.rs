//! Which model is in which model group.

use sea_orm::entity::prelude::*;

/// One model in the one group that it is in; deleted with the group.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "model_group_members")]
pub struct Model {
    /// Its exact name, as it is sent upstream.
    #[sea_orm(primary_key, auto_increment = false)]
    pub model: String,
    /// The group.
    pub model_group_id: i64,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
