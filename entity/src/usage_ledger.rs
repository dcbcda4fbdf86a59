//! What was spent: one immutable row per charged attempt.

use sea_orm::entity::prelude::*;

/// One charged attempt.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_ledger")]
pub struct Model {
    /// Grows with the order of insertion.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The UUIDv7 that the client saw in `x-tollgate-request-id`.
    pub request_id: String,
    /// 1 for the first attempt.
    pub attempt: i32,
    /// When the request arrived, Unix milliseconds.
    pub created_at: i64,
    /// When the cost was fixed, Unix milliseconds; the spend belongs to this instant.
    pub settled_at: i64,
    /// Not a foreign key: deleting a user must not delete money.
    pub user_id: i64,
    /// Not a foreign key.
    pub key_id: i64,
    /// Name of the provider in the configuration.
    pub provider: String,
    /// Configuration name of the dialect.
    pub dialect: String,
    /// The model that the client named.
    pub requested_model: String,
    /// The model that was sent upstream.
    pub served_model: String,
    /// The model group that the served model was in; not a foreign key.
    pub model_group_id: Option<i64>,
    /// `completed`, `client_aborted`, `upstream_failed` or `interrupted`.
    pub outcome: String,
    /// Whether the usage was estimated because the provider did not say it.
    pub estimated: bool,
    /// HTTP status that the client got, or would have got.
    pub status: i32,
    /// Milliseconds from arrival to settlement.
    pub duration_ms: i64,
    /// Milliseconds from arrival to the first byte of the answer from upstream.
    pub first_byte_ms: Option<i64>,
    /// Text input tokens outside the cache.
    pub input_tokens: i64,
    /// Text output tokens without reasoning.
    pub output_tokens: i64,
    /// Input tokens read from the cache.
    pub cache_read_tokens: i64,
    /// Input tokens written to a 5-minute cache.
    pub cache_write_5m_tokens: i64,
    /// Input tokens written to a 1-hour cache.
    pub cache_write_1h_tokens: i64,
    /// Reasoning tokens.
    pub reasoning_tokens: i64,
    /// Audio input tokens.
    pub input_audio_tokens: i64,
    /// Audio output tokens.
    pub output_audio_tokens: i64,
    /// Image input tokens.
    pub input_image_tokens: i64,
    /// Image output tokens.
    pub output_image_tokens: i64,
    /// Web-search calls.
    pub web_searches: i64,
    /// `standard`, `priority`, `flex` or `batch`.
    pub service_tier: String,
    /// Nano-dollars.
    pub cost_nanos: i64,
    /// Whether the cost counts in the mainline budget of the user.
    pub counted_in_user_global: bool,
    /// Whether the cost counts in the mainline budget of the key.
    pub counted_in_key_global: bool,
    /// How often the user's spend had been reset.
    pub user_era: i64,
    /// How often the key's spend had been reset.
    pub key_era: i64,
    /// The price that was applied; none when nothing was charged, and in rows that are older than the table of prices.
    pub price_id: Option<i32>,
}

/// Relations are followed by explicit queries.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
