//! Who changed what; rows are only ever added.

use sea_orm::entity::prelude::*;

/// One write through the API or the command line.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_log")]
pub struct Model {
    /// Grows with time.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// `x-tollgate-request-id` of the answer to whoever asked for it; none: the command line.
    pub request_id: Option<String>,
    /// Unix milliseconds.
    #[sea_orm(indexed)]
    pub at: i64,
    /// Name of the admin token at that time.
    pub actor: String,
    /// Id of the admin token; none: the environment's, or the command line. Another token may have taken the name since.
    pub actor_id: Option<i64>,
    /// `create`, `update`, `delete`, `rotate`, ...
    pub action: String,
    /// Kind of object: `user`, `key`, `price`, ...
    pub object_type: String,
    /// Id or name of the object.
    pub object_id: String,
    /// JSON of the object before, without secrets.
    #[sea_orm(column_type = "Text", nullable)]
    pub before: Option<String>,
    /// JSON of the object after, without secrets.
    #[sea_orm(column_type = "Text", nullable)]
    pub after: Option<String>,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
