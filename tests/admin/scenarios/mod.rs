//! What the API does, one file per idea.

pub mod audit;
pub mod auth;
pub mod budgets;
pub mod conflicts;
pub mod conventions;
pub mod explain;
pub mod exports;
pub mod groups;
pub mod guesses;
pub mod hostile;
pub mod idempotency;
pub mod keys;
pub mod limits;
pub mod lists;
pub mod longest;
pub mod matrix;
pub mod model_limits;
pub mod prices;
pub mod reading;
pub mod refusals;
pub mod summary;
pub mod usage;
pub mod users;
