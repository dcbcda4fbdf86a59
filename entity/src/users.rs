//! People (or teams) who pay.

use sea_orm::entity::prelude::*;

/// One user.
#[derive(Clone, Debug, Default, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    /// Never reused.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Display name, unique.
    #[sea_orm(unique)]
    pub name: String,
    /// Free text for the administrator.
    pub note: Option<String>,
    /// A disabled user is refused `user_disabled`.
    pub enabled: bool,
    /// Unix milliseconds from which the user is refused `user_expired`.
    pub expires_at: Option<i64>,
    /// Requests per minute; none: not limited.
    pub rpm: Option<i32>,
    /// Requests in flight at once; none: not limited.
    pub max_concurrent_requests: Option<i32>,
    /// JSON array of globs on the requested model; none: all.
    #[sea_orm(column_type = "Text", nullable)]
    pub allowed_models: Option<String>,
    /// JSON array of provider groups; none: all.
    #[sea_orm(column_type = "Text", nullable)]
    pub provider_groups: Option<String>,
    /// JSON object of caps by window, as the REST API shows it; none: no limits.
    #[sea_orm(column_type = "Text", nullable)]
    pub limits: Option<String>,
    /// How often its spend was reset.
    pub era: i64,
    /// JSON object of windows to the era from which spend counts; none: all counts.
    #[sea_orm(column_type = "Text", nullable)]
    pub since_eras: Option<String>,
    /// The number of the last change that a budget can tell, from `limit_stamps`; deletions of what it had included.
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
