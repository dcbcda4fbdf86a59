//! The durable record of what was spent.

mod audit;
mod batch;
mod charges;
mod details;
mod eras;
pub mod journal;
mod node;
mod order;
mod prices;
mod pulse;
pub mod quarters;
pub mod query;
mod record;
mod recovery;
mod rerate;
mod rollup;
mod row;
mod seeds;
mod slot;
mod starts;
pub(crate) mod table;
mod urgency;
mod write_off;
mod writer;

pub use audit::{Audited, SumsAudit, audit_sums};
pub use details::prune_details;
pub use node::{Ended, Fate, Silent, begin_life, silent_lives, told, untold_lives};
pub use pulse::{Pulse, PulseError, Silence};
pub use record::{AttemptReport, LedgerRecord, Outcome};
pub use recovery::{Recovered, RecoveryError, recover};
pub use rerate::{Change, Costs, Rerated, rerate};
pub(crate) use row::name as stored_name;
pub use seeds::LedgerSeeds;
pub use slot::LedgerSlot;
pub use write_off::{Loss, write_off, written_off_budgets};
pub use writer::{Ledger, LedgerBehind, LedgerOptions, LedgerStats};
