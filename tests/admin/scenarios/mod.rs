//! What the API does, one file per idea.

pub mod auth;
pub mod conventions;
pub mod idempotency;
pub mod keys;
pub mod prices;
pub mod reading;
pub mod summary;
pub mod usage;
pub mod users;
