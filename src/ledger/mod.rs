//! The durable record of what was spent.

mod batch;
mod record;
mod row;
mod writer;

pub use record::{AttemptReport, LedgerRecord, Outcome};
pub use writer::{Ledger, LedgerOptions, LedgerSlot, LedgerStats};
