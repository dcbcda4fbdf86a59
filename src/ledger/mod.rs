//! The durable record of what was spent.

mod batch;
mod node;
mod order;
pub mod query;
mod record;
mod rollup;
mod row;
mod seeds;
mod slot;
mod starts;
mod urgency;
mod writer;

pub use node::begin_life;
pub use record::{AttemptReport, LedgerRecord, Outcome};
pub use seeds::LedgerSeeds;
pub use slot::LedgerSlot;
pub use writer::{Ledger, LedgerBehind, LedgerOptions, LedgerStats};
