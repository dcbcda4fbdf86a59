//! The REST API, `/api/v1` on the admin address: one file per family of endpoints, and beside them what all share.

mod admin_tokens;
mod audit;
mod audit_logs;
mod auth;
mod csv;
mod docs;
mod extract;
mod health;
mod idempotency;
mod keys;
mod me;
mod page;
mod params;
mod ports;
mod prices;
mod problem;
mod providers;
mod requests;
mod routes;
mod settings;
mod store;
mod summary;
mod time;
mod tokens;
mod usage;
mod usd;
mod users;
mod validate;

pub use admin_tokens::create_admin_token;
pub use auth::{Auth, Role};
pub use ports::{AdminState, Invalidate, ProviderError, ProviderStatus, ProviderView, Shared};
pub use prices::import_prices;
pub use problem::Problem;
pub use routes::{openapi, router};
pub use time::Instant;
