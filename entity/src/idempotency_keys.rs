//! Answers to repeated POSTs with the same Idempotency-Key.

use sea_orm::entity::prelude::*;

/// One remembered answer.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_keys")]
pub struct Model {
    /// SHA-256 (hex) of actor, method, path and the header.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// SHA-256 (hex) of the request body, to refuse another body under the same key.
    pub body_hash: String,
    /// HTTP status that was answered.
    pub status: i32,
    /// The answer; secrets are left out (a replay says so).
    #[sea_orm(column_type = "Text")]
    pub answer: String,
    /// Unix milliseconds.
    #[sea_orm(indexed)]
    pub created_at: i64,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
