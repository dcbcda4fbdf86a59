//! Prices set over REST or imported; they win over the file and the built-in book.

use sea_orm::entity::prelude::*;

/// The price of one model.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "model_prices")]
pub struct Model {
    /// Model name as sent upstream.
    #[sea_orm(primary_key, auto_increment = false)]
    pub model: String,
    /// JSON: the price entry.
    #[sea_orm(column_type = "Text")]
    pub price: String,
    /// Counts the writes to this row.
    pub version: i64,
    /// Unix milliseconds.
    pub updated_at: i64,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
