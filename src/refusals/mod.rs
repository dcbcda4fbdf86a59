//! Requests that the gateway refused, kept for whoever asks why.
//!
//! They are worth less than anything else in the database, so they may cost nothing else anything: a request never
//! waits for them, what is in memory and in the table is bounded whatever clients do ([`tally`]), and while the
//! database is away they wait in a queue that drops what does not fit. Nothing here knows of money: a refusal is in no
//! sum and in no journal.

mod keeper;
mod query;
mod record;
mod table;
mod tally;
#[cfg(test)]
mod tests;
mod writer;

pub use keeper::Refusals;
pub use query::{Filter, MOST_ROWS, Position, find, page, prune, stream};
pub use record::{Excluded, MOST_LISTED, Refusal};
pub use tally::{FIRST, Kind};
