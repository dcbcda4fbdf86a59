//! Named sets of users.

use sea_orm::entity::prelude::*;

/// One user group.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "user_groups")]
pub struct Model {
    /// Never reused.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Display name, unique.
    #[sea_orm(unique)]
    pub name: String,
    /// Free text for the administrator.
    #[sea_orm(column_type = "Text", nullable)]
    pub description: Option<String>,
    /// The number of the last change, from `limit_stamps`.
    pub stamp: i64,
    /// Counts the writes to this row.
    pub version: i64,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub updated_at: i64,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
