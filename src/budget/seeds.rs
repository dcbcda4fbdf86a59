//! What budgets need from the ledger.

use async_trait::async_trait;
use thiserror::Error;

use super::protocol::{Lsn, Seed, SeedQuery};
use crate::limit::BudgetId;

/// Why the ledger gave no answer.
#[derive(Debug, Error)]
#[error("the ledger cannot be read: {0}")]
pub struct SeedError(pub String);

/// What budgets need from the ledger.
#[async_trait]
pub trait Seeds: Send + Sync {
    /// The last place in the journal that was given out.
    fn now_lsn(&self) -> Lsn;

    /// Up to where the journal is in the database, as far as this process knows.
    fn written_lsn(&self) -> Lsn;

    /// Waits until everything up to this place is in the database.
    async fn barrier(&self, lsn: Lsn) -> Result<(), SeedError>;

    /// Sums of a budget, from one snapshot: exactly the charges up to the mark of each incarnation.
    async fn seed(&self, query: &SeedQuery) -> Result<Seed, SeedError>;

    /// Fixed five hours of this budget began: to be stored with the next batch.
    fn first_charge_started(&self, budget: BudgetId, start: i64);
}
