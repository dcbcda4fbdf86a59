//! The authority of a single node: the budgets' state machines in this process's memory.

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::Clock;
use super::account::{Account, Resting};
use super::authority::{Authority, AuthorityError};
use super::protocol::{Answer, Audit, Birth, Incarnation, SeedStatement, Seeded, Statement};
use super::rules::Rules;
use super::shards::{BudgetHasher, SHARDS, shard_of};
use crate::limit::BudgetId;

/// A budget that nobody holds anything of is forgotten after so long; the ledger knows it.
const FORGET_AFTER: i64 = 60_000;

/// A budget that nobody holds anything of is packed after so long.
const REST_AFTER: i64 = 5_000;

type Shard = Mutex<HashMap<BudgetId, Slot, BudgetHasher>>;

#[derive(Clone)]
enum Slot {
    Active(Box<Account>),
    Resting(Resting),
}

impl Slot {
    fn wake(&mut self, birth: Birth, rules: Rules) -> &mut Account {
        if let Self::Resting(resting) = self {
            *self = Self::Active(Box::new(resting.wake(birth, rules)));
        }
        match self {
            Self::Active(account) => account,
            Self::Resting(_) => unreachable!("it was woken"),
        }
    }

    /// Packs what is idle. False when it is to be forgotten.
    fn age(&mut self, now: i64) -> bool {
        if let Self::Active(account) = self {
            account.end_silent(now);
        }
        let last_contact = match self {
            Self::Resting(resting) => resting.last_contact(),
            Self::Active(account) if account.is_idle() => account.last_contact(),
            Self::Active(_) => return true,
        };
        let idle = now - last_contact;
        if let Self::Active(account) = self
            && idle >= REST_AFTER
            && let Some(resting) = Resting::of(account)
        {
            *self = Self::Resting(resting);
        }
        idle < FORGET_AFTER
    }
}

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
        self.with(budget, |account| account.exchange(statement, now)).unwrap_or(Answer::Seed)
    }

    pub(super) fn seed_now(&self, budget: BudgetId, seed: &SeedStatement) -> Seeded {
        let now = (self.clock)();
        let mut shard = self.shard(budget).lock();
        if let Some(slot) = shard.get_mut(&budget) {
            return slot.wake(self.settle_until, self.rules).seed(seed, now);
        }
        let Some(account) = Account::new(seed, self.settle_until, now, self.rules) else { return Seeded::Refused };
        shard.insert(budget, Slot::Active(Box::new(account)));
        Seeded::Taken
    }

    pub(super) fn close_now(&self, inc: Incarnation, budgets: &[BudgetId]) {
        for &budget in budgets {
            self.with(budget, |account| account.close(inc));
        }
    }

    fn known_by(&self, inc: Incarnation) -> Vec<BudgetId> {
        let knows = |slot: &Slot| match slot {
            Slot::Active(account) => account.knows(inc),
            Slot::Resting(resting) => resting.wake(self.settle_until, self.rules).knows(inc),
        };
        let of = |shard: &Shard| {
            let shard = shard.lock();
            shard.iter().filter(|(_, slot)| knows(slot)).map(|(budget, _)| *budget).collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(of).collect()
    }

    pub(super) fn audit_now(&self, budget: BudgetId) -> Option<Audit> {
        self.with(budget, |account| account.audit())
    }

    /// How many are packed.
    #[cfg(test)]
    pub(super) fn resting(&self) -> usize {
        let packed = |shard: &Shard| shard.lock().values().filter(|slot| matches!(slot, Slot::Resting(_))).count();
        self.shards.iter().map(packed).sum()
    }

    /// Its state now, to go back to.
    #[cfg(test)]
    pub(super) fn copy_of(&self, budget: BudgetId) -> Option<Account> {
        self.with(budget, |account| account.clone())
    }

    /// Replaces its state.
    #[cfg(test)]
    pub(super) fn put(&self, budget: BudgetId, account: Account) {
        self.shard(budget).lock().insert(budget, Slot::Active(Box::new(account)));
    }

    /// Works with a budget, if it is known.
    fn with<T>(&self, budget: BudgetId, work: impl FnOnce(&mut Account) -> T) -> Option<T> {
        let mut shard = self.shard(budget).lock();
        shard.get_mut(&budget).map(|slot| work(slot.wake(self.settle_until, self.rules)))
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

    async fn count_anew(&self, budgets: &[BudgetId]) -> Result<(), AuthorityError> {
        for &budget in budgets {
            self.with(budget, Account::count_anew);
        }
        Ok(())
    }

    async fn held_by(&self, inc: Incarnation) -> Result<Vec<BudgetId>, AuthorityError> {
        Ok(self.known_by(inc))
    }

    fn sweep(&self, turn: usize, now: i64) {
        let Some(shard) = self.shards.get(turn % SHARDS) else { return };
        let mut shard = shard.lock();
        shard.retain(|_, slot| slot.age(now));
        if shard.capacity() > shard.len().saturating_mul(4) {
            shard.shrink_to_fit();
        }
    }

    async fn audit(&self, budget: BudgetId) -> Result<Option<Audit>, AuthorityError> {
        Ok(self.audit_now(budget))
    }
}
