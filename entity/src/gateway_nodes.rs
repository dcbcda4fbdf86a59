//! The lives of gateway processes: each is known by a number under which it holds budgets and writes the ledger.

use sea_orm::entity::prelude::*;

/// One life of one process.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "gateway_nodes")]
pub struct Model {
    /// The number (incarnation); never reused.
    #[sea_orm(primary_key)]
    pub inc: i64,
    /// Name of the node in its configuration: a label.
    pub name: String,
    /// `live`, `dead` or `closed`.
    pub state: String,
    /// Unix milliseconds.
    pub started_at: i64,
    /// When it last said that it lives, Unix milliseconds.
    pub seen_at: i64,
    /// Everything that it numbered up to here is in the ledger.
    pub applied_lsn: i64,
    /// When the authority of the budgets was told for certain that it is over; none: not yet.
    pub told_at: Option<i64>,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
