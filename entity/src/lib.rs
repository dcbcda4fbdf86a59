//! The tables of Tollgate as SeaORM entities.
//!
//! Conventions, the same on SQLite and PostgreSQL: times are Unix milliseconds (`i64`), money is nano-dollars
//! (`i64`), lists and small documents are JSON text, `version` counts the writes to a row (for `If-Match`), ids are
//! never reused.

pub mod admin_tokens;
pub mod audit_log;
pub mod idempotency_keys;
pub mod keys;
pub mod message_request;
pub mod model_prices;
pub mod usage_ledger;
pub mod users;
