//! Temporary grants: more than the cap, for a while.

use sea_orm::entity::prelude::*;

/// One boost of a user's budget for a model group; deleted with either.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "quota_boost_grants")]
pub struct Model {
    /// Never reused.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// To whom.
    pub user_id: i64,
    /// For which models.
    pub model_group_id: i64,
    /// Which cap it raises: `total`, `5h`, `daily`, `weekly` or `monthly`.
    pub window: String,
    /// By how much, nano-dollars.
    pub nanos: i64,
    /// From when, Unix milliseconds.
    pub starts_at: i64,
    /// Until when (not included), Unix milliseconds.
    pub expires_at: i64,
    /// Free text for the administrator.
    #[sea_orm(column_type = "Text", nullable)]
    pub reason: Option<String>,
    /// The number of the last change, from `limit_stamps`.
    pub stamp: i64,
    /// Counts the writes to this row.
    pub version: i64,
    /// Unix milliseconds.
    pub created_at: i64,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
