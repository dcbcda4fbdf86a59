//! Caps of a user, of each member of a user group, or of a key for the models of a group.

use sea_orm::entity::prelude::*;

/// One limit. Exactly one of the three subjects is set, and at least one cap; deleted with either side.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "model_group_limits")]
pub struct Model {
    /// Never reused.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The user whose limit it is.
    pub user_id: Option<i64>,
    /// The user group each of whose members has this limit.
    pub user_group_id: Option<i64>,
    /// The key whose limit it is.
    pub key_id: Option<i64>,
    /// For which models.
    pub model_group_id: i64,
    /// Cap since the beginning, nano-dollars.
    pub total_nanos: Option<i64>,
    /// Cap of five hours, nano-dollars.
    pub five_hours_nanos: Option<i64>,
    /// `rolling` or `fixed`; none: rolling.
    pub five_hours_reset: Option<String>,
    /// Cap of a day, nano-dollars.
    pub daily_nanos: Option<i64>,
    /// `fixed` or `rolling`; none: fixed.
    pub daily_reset: Option<String>,
    /// When a fixed day starts, in minutes after midnight; none: at midnight.
    pub daily_at: Option<i32>,
    /// Cap of a week, nano-dollars.
    pub weekly_nanos: Option<i64>,
    /// Cap of a month, nano-dollars.
    pub monthly_nanos: Option<i64>,
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
