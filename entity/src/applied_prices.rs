//! Prices that were applied to charges, each once.

use sea_orm::entity::prelude::*;

/// One price.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "applied_prices")]
pub struct Model {
    /// What rows of the ledger call it.
    #[sea_orm(primary_key)]
    pub id: i32,
    /// SHA-256 of the JSON in hexadecimal digits: no two rows are of the same price, whichever node was first.
    #[sea_orm(unique)]
    pub hash: String,
    /// JSON: service tier, context tier and rates.
    #[sea_orm(column_type = "Text")]
    pub json: String,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
