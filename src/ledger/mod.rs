//! The durable record of what was spent.

mod batch;
pub mod query;
mod record;
mod row;
mod writer;

pub use record::{AttemptReport, LedgerRecord, Outcome};
pub use writer::{Ledger, LedgerOptions, LedgerSlot, LedgerStats};
