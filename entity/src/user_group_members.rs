//! Who is in which user group.

use sea_orm::entity::prelude::*;

/// One user in one group; deleted with either.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "user_group_members")]
pub struct Model {
    /// The group.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_group_id: i64,
    /// The user, who may be in several.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: i64,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
