//! What stands in for the ledger, which knows nothing of counts.

use std::sync::Arc;

use async_trait::async_trait;

use crate::budget::account::MINUTE;
use crate::budget::{Clock, Incarnation, Lsn, Seed, SeedError, SeedQuery, Seeds, WindowSeed};
use crate::limit::BudgetId;
use crate::money::Usd;

/// The incarnations that may hold something: all that are not closed.
pub type Living = Arc<dyn Fn() -> Vec<Incarnation> + Send + Sync>;

/// A ledger in which nothing is: each node has yet to tell all that it remembers. The place of a request in its
/// journal, which is in memory only, is its instant.
pub struct CountSeeds {
    inc: Incarnation,
    living: Living,
    clock: Clock,
}

impl CountSeeds {
    pub fn new(inc: Incarnation, living: Living, clock: Clock) -> Self {
        Self { inc, living, clock }
    }
}

#[async_trait]
impl Seeds for CountSeeds {
    /// Nothing was counted before a count was watched.
    fn now_lsn(&self) -> Lsn {
        0
    }

    /// What is over need not be remembered.
    fn written_lsn(&self) -> Lsn {
        u64::try_from((self.clock)().saturating_sub(MINUTE)).unwrap_or_default()
    }

    async fn barrier(&self, _lsn: Lsn) -> Result<(), SeedError> {
        Ok(())
    }

    async fn seed(&self, query: &SeedQuery) -> Result<Seed, SeedError> {
        let query_started = (self.clock)();
        let nothing = |window| WindowSeed { window, sum: Usd::ZERO, minutes: Vec::new() };
        let mut nodes = (self.living)();
        if !nodes.contains(&self.inc) {
            nodes.push(self.inc);
        }
        Ok(Seed {
            query_started,
            windows: query.windows.iter().map(|query| nothing(query.window)).collect(),
            first_charge_start: None,
            marks: nodes.into_iter().map(|inc| (inc, 0)).collect(),
        })
    }

    fn first_charge_started(&self, _budget: BudgetId, _start: i64) {}
}
