//! The durable record of what was spent.

mod audit;
mod batch;
mod charges;
mod details;
pub mod journal;
mod node;
mod order;
mod prices;
pub mod query;
mod record;
mod recovery;
mod rerate;
mod rollup;
mod row;
mod seeds;
mod slot;
mod starts;
mod table;
mod urgency;
mod writer;

pub use audit::{Audited, SumsAudit, audit_sums};
pub use details::prune_details;
pub use node::begin_life;
pub use record::{AttemptReport, LedgerRecord, Outcome};
pub use recovery::{Recovered, RecoveryError, recover};
pub use rerate::{Change, Costs, Rerated, rerate};
pub use seeds::LedgerSeeds;
pub use slot::LedgerSlot;
pub use writer::{Ledger, LedgerBehind, LedgerOptions, LedgerStats};
