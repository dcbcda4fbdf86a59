//! Tokens of administrators.

use sea_orm::entity::prelude::*;

/// One token.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "admin_tokens")]
pub struct Model {
    /// Never reused.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Display name, unique.
    #[sea_orm(unique)]
    pub name: String,
    /// `admin` or `viewer`.
    pub role: String,
    /// Lower-case hex of the SHA-256 of the token.
    #[sea_orm(unique)]
    pub secret_hash: String,
    /// The first characters of the token, to recognise it by.
    pub prefix: String,
    /// Unix milliseconds.
    pub created_at: i64,
    /// From then on (Unix milliseconds) it is refused; none: never.
    pub expires_at: Option<i64>,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
