//! The durable record of what was spent.

pub mod query;
mod record;

pub use record::{AttemptReport, LedgerRecord, Outcome};
