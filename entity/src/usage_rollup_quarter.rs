//! What was spent, per quarter of an hour: the sums of the ledger's rows that summaries of usage are read from.

use sea_orm::entity::prelude::*;

/// The sum of the rows that have all of this in common. The key is everything but the sums.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_rollup_quarter")]
pub struct Model {
    /// The quarter of settlement: Unix milliseconds / 900 000.
    #[sea_orm(primary_key, auto_increment = false)]
    pub quarter: i64,
    /// See the ledger.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: i64,
    /// See the ledger.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_id: i64,
    /// See the ledger.
    #[sea_orm(primary_key, auto_increment = false)]
    pub provider: String,
    /// See the ledger.
    #[sea_orm(primary_key, auto_increment = false)]
    pub served_model: String,
    /// See the ledger; 0: none.
    #[sea_orm(primary_key, auto_increment = false)]
    pub model_group_id: i64,
    /// See the ledger.
    #[sea_orm(primary_key, auto_increment = false)]
    pub outcome: String,
    /// See the ledger.
    #[sea_orm(primary_key, auto_increment = false)]
    pub counted_in_user_global: bool,
    /// See the ledger.
    #[sea_orm(primary_key, auto_increment = false)]
    pub counted_in_key_global: bool,
    /// Nano-dollars.
    pub cost_nanos: i64,
    /// How many of the rows are the first of their request.
    pub requests: i64,
    /// See the ledger.
    pub input_tokens: i64,
    /// See the ledger.
    pub output_tokens: i64,
    /// See the ledger.
    pub cache_read_tokens: i64,
    /// See the ledger.
    pub cache_write_5m_tokens: i64,
    /// See the ledger.
    pub cache_write_1h_tokens: i64,
    /// See the ledger.
    pub reasoning_tokens: i64,
    /// See the ledger.
    pub input_audio_tokens: i64,
    /// See the ledger.
    pub output_audio_tokens: i64,
    /// See the ledger.
    pub input_image_tokens: i64,
    /// See the ledger.
    pub output_image_tokens: i64,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
