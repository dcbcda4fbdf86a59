//! The authority of a single node: the budgets' state machines in this process's memory.

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::Clock;
use super::account::Account;
use super::authority::{Authority, AuthorityError};
use super::protocol::{Answer, Audit, Incarnation, SeedStatement, Seeded, Statement};
use super::rules::Rules;
use super::shards::{BudgetHasher, SHARDS, shard_of};
use crate::limit::BudgetId;

/// A budget that nobody holds anything of is forgotten after so long; the ledger knows it.
const FORGET_AFTER: i64 = 60_000;

type Shard = Mutex<HashMap<BudgetId, Box<Account>, BudgetHasher>>;

/// The authority of a single node.
pub struct MemoryAuthority {
    shards: Box<[Shard]>,
    /// Budgets that are seeded before this instant wait until all nodes have said what they hold.
    settle_until: i64,
    rules: Rules,
    clock: Clock,
}

impl MemoryAuthority {
    /// Knows nothing yet. `dead_after`: how long (milliseconds) other nodes may take to say what they hold.
    #[must_use]
    pub fn new(clock: Clock, dead_after: i64) -> Self {
        Self::with_rules(clock, dead_after, Rules::default())
    }

    pub(super) fn with_rules(clock: Clock, dead_after: i64, rules: Rules) -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Self { shards, settle_until: clock().saturating_add(dead_after), rules, clock }
    }

    /// How many budgets are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn exchange_now(&self, budget: BudgetId, statement: &Statement) -> Answer {
        let now = (self.clock)();
        let mut shard = self.shard(budget).lock();
        shard.get_mut(&budget).map_or(Answer::Seed, |account| account.exchange(statement, now))
    }

    pub(super) fn seed_now(&self, budget: BudgetId, seed: &SeedStatement) -> Seeded {
        let now = (self.clock)();
        let mut shard = self.shard(budget).lock();
        if let Some(account) = shard.get_mut(&budget) {
            return account.seed(seed, now);
        }
        let Some(account) = Account::new(seed, self.settle_until, now, self.rules) else { return Seeded::Refused };
        shard.insert(budget, Box::new(account));
        Seeded::Taken
    }

    pub(super) fn close_now(&self, inc: Incarnation, budgets: &[BudgetId]) {
        for &budget in budgets {
            if let Some(account) = self.shard(budget).lock().get_mut(&budget) {
                account.close(inc);
            }
        }
    }

    pub(super) fn audit_now(&self, budget: BudgetId) -> Option<Audit> {
        self.shard(budget).lock().get(&budget).map(|account| account.audit())
    }

    /// Its state now, to go back to.
    #[cfg(test)]
    pub(super) fn copy_of(&self, budget: BudgetId) -> Option<Account> {
        self.shard(budget).lock().get(&budget).map(|account| Account::clone(account))
    }

    /// Replaces its state.
    #[cfg(test)]
    pub(super) fn put(&self, budget: BudgetId, account: Account) {
        self.shard(budget).lock().insert(budget, Box::new(account));
    }

    fn shard(&self, budget: BudgetId) -> &Shard {
        &self.shards[shard_of(budget)]
    }
}

#[async_trait]
impl Authority for MemoryAuthority {
    async fn exchange(&self, budget: BudgetId, statement: &Statement) -> Result<Answer, AuthorityError> {
        Ok(self.exchange_now(budget, statement))
    }

    async fn seed(&self, budget: BudgetId, seed: &SeedStatement) -> Result<Seeded, AuthorityError> {
        Ok(self.seed_now(budget, seed))
    }

    async fn close(&self, inc: Incarnation, budgets: &[BudgetId]) -> Result<(), AuthorityError> {
        self.close_now(inc, budgets);
        Ok(())
    }

    fn sweep(&self, turn: usize, now: i64) {
        let Some(shard) = self.shards.get(turn % SHARDS) else { return };
        let mut shard = shard.lock();
        shard.retain(|_, account| !account.is_idle() || now - account.last_contact() < FORGET_AFTER);
        if shard.capacity() > shard.len().saturating_mul(4) {
            shard.shrink_to_fit();
        }
    }

    async fn audit(&self, budget: BudgetId) -> Result<Option<Audit>, AuthorityError> {
        Ok(self.audit_now(budget))
    }
}
