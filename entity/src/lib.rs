//! The tables of Tollgate as SeaORM entities.
//!
//! Conventions, the same on SQLite and PostgreSQL: times are Unix milliseconds (`i64`), money is nano-dollars
//! (`i64`), lists and small documents are JSON text, `version` counts the writes to a row (for `If-Match`), ids are
//! never reused.

pub mod admin_tokens;
pub mod applied_prices;
pub mod audit_log;
pub mod budget_windows;
pub mod gateway_nodes;
pub mod idempotency_keys;
pub mod keys;
pub mod limit_stamps;
pub mod message_request;
pub mod model_group_limits;
pub mod model_group_members;
pub mod model_groups;
pub mod model_prices;
pub mod quota_boost_grants;
pub mod refusals;
pub mod usage_ledger;
pub mod usage_rollup_minute;
pub mod usage_rollup_quarter;
pub mod usage_rollup_span;
pub mod usage_rollup_state;
pub mod user_group_members;
pub mod user_groups;
pub mod users;
pub mod write_offs;
