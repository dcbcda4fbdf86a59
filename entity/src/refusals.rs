//! Requests that the gateway refused: no money, and forgotten after a while.

use sea_orm::entity::prelude::*;

/// One refused request of a known key, and how many more like it came in the same minute.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "refusals")]
pub struct Model {
    /// Grows with the order of insertion.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The UUIDv7 that the client saw in `x-tollgate-request-id`.
    #[sea_orm(unique)]
    pub request_id: String,
    /// When the request arrived, Unix milliseconds.
    pub created_at: i64,
    /// Not a foreign key: deleting a user leaves what was refused to it.
    pub user_id: i64,
    /// Not a foreign key.
    pub key_id: i64,
    /// The model that the client named; none: it was refused before its body was read.
    pub model: Option<String>,
    /// Configuration name of the dialect; none: it asked for a list of models.
    pub dialect: Option<String>,
    /// HTTP status of the answer.
    pub status: i32,
    /// Why, as the client was told.
    pub code: String,
    /// The same as a sentence.
    #[sea_orm(column_type = "Text")]
    pub message: String,
    /// Whose limit it was: `key` or `user`; none: it was no limit.
    pub axis: Option<String>,
    /// `mainline` or the model group's name.
    pub scope: Option<String>,
    /// `5h`, `daily`, ..., `rpm` or `concurrency`.
    pub window: Option<String>,
    /// The cap of the budget, in nano-dollars.
    pub limit_nanos: Option<i64>,
    /// What was charged to it.
    pub used_nanos: Option<i64>,
    /// What other requests had set aside.
    pub reserved_nanos: Option<i64>,
    /// What this one needed.
    pub requested_nanos: Option<i64>,
    /// How many more refusals of the same kind came in the same minute and are no rows of their own.
    pub repeated: i64,
    /// JSON object: the details that the client was told.
    #[sea_orm(column_type = "Text", nullable)]
    pub details: Option<String>,
    /// JSON array: providers that could not be asked, each with the reason.
    #[sea_orm(column_type = "Text")]
    pub excluded: String,
    /// How many more providers could not be asked.
    pub excluded_more: i32,
    /// JSON array: providers that were asked or passed over before the refusal, as in the details of a settled request.
    #[sea_orm(column_type = "Text")]
    pub attempts: String,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
