//! The durable record of what was spent.

mod record;

pub use record::{AttemptReport, LedgerRecord, Outcome};
