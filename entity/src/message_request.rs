//! Detail of finished requests; may be pruned without touching the ledger.

use sea_orm::entity::prelude::*;

/// Detail of one request.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "message_request")]
pub struct Model {
    /// The UUIDv7 that the client saw.
    #[sea_orm(primary_key, auto_increment = false)]
    pub request_id: String,
    /// When the request arrived, Unix milliseconds.
    #[sea_orm(indexed)]
    pub created_at: i64,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// Bytes of the request body.
    pub request_bytes: i64,
    /// Bytes of the answer body that the provider sent.
    pub response_bytes: i64,
    /// JSON array: each attempt with provider, served model, timings, status and the reason it ended.
    #[sea_orm(column_type = "Text")]
    pub attempts: String,
    /// JSON: the price that was applied, null when nothing was charged.
    #[sea_orm(column_type = "Text", nullable)]
    pub price: Option<String>,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
