//! The REST API, `/api/v1` on the admin address: one file per family of endpoints, and beside them what all share.

mod admin_tokens;
mod audit_logs;
mod auth;
mod budgets;
mod csv;
mod docs;
mod explain;
mod extract;
mod gone;
mod guesses;
mod health;
mod idempotency;
mod keys;
mod limits;
mod me;
mod memberships;
mod model_groups;
mod model_limits;
mod names;
mod page;
mod params;
mod ports;
mod prices;
mod problem;
mod providers;
mod quota_boosts;
mod refusals;
mod requests;
mod resets;
mod routes;
mod settings;
mod sort;
mod stamps;
mod store;
mod summary;
mod time;
mod tokens;
mod usage;
mod usd;
mod user_group_members;
mod user_groups;
mod users;
mod validate;

pub use admin_tokens::create_admin_token;
pub use auth::{Auth, Role};
pub use budgets::{BudgetSource, BudgetStatus, BudgetWindow, OwnerId};
pub use explain::{ExplainedBudget, ExplainedCandidate, ExplainedGroup, Explanation, Verdict};
pub use limits::reset as reset_name;
pub use ports::{
    AdminState, BudgetView, BudgetsUnknown, CircuitChange, CircuitEvent, CircuitStatus, History, Invalidate,
    ModelCircuit, ProbeStatus, ProviderError, ProviderStatus, ProviderView, Shared,
};
pub use prices::import_prices;
pub use problem::Problem;
pub use routes::{openapi, openapi_text, router};
pub use time::Instant;
