//! Policies that were worked out before, so that a request only clones a pointer.

use std::collections::HashMap;
use std::mem;

use parking_lot::RwLock;

use super::data::Owner;
use super::policy::{BudgetId, Scope};
use super::resolve::Budget;

/// A power of two well above the number of cores.
const SHARDS: i64 = 64;

/// Budgets in one half of a shard: 32 768 in all, at a few hundred bytes each.
const HALF: usize = 256;

/// What each budget came to, for as long as its owner stays the same; nothing else in a snapshot ever changes.
#[derive(Debug)]
pub(super) struct Memo {
    shards: Box<[RwLock<Shard>]>,
}

/// Of what was not asked for since `newer` was last filled up, `older` is forgotten when it is filled up again.
#[derive(Debug, Default)]
struct Shard {
    newer: HashMap<BudgetId, Known>,
    older: HashMap<BudgetId, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    owner: Owner,
    budget: Option<Budget>,
}

impl Memo {
    /// The budget of this owner as it was, or as it is now. Only the map is ever locked, not the work.
    pub(super) fn get(&self, id: BudgetId, owner: &Owner, work_out: impl FnOnce() -> Option<Budget>) -> Option<Budget> {
        let shard = &self.shards[shard(id)];
        if let Some(known) = shard.read().newer.get(&id)
            && known.owner == *owner
        {
            return known.budget.clone();
        }
        let before = shard.read().older.get(&id).filter(|known| known.owner == *owner).cloned();
        let known = before.unwrap_or_else(|| Known { owner: owner.clone(), budget: work_out() });
        let budget = known.budget.clone();
        let forgotten = shard.write().insert(id, known);
        // After the lock: there may be hundreds.
        drop(forgotten);
        budget
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().newer.len() + shard.read().older.len()).sum()
    }
}

impl Default for Memo {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| RwLock::default()).collect() }
    }
}

impl Shard {
    fn insert(&mut self, id: BudgetId, known: Known) -> HashMap<BudgetId, Known> {
        let mut forgotten = HashMap::new();
        if self.newer.len() >= HALF && !self.newer.contains_key(&id) {
            forgotten = mem::replace(&mut self.older, mem::take(&mut self.newer));
        }
        self.newer.insert(id, known);
        forgotten
    }
}

fn shard(id: BudgetId) -> usize {
    let group = match id.scope {
        Scope::Mainline | Scope::Count(_) => 0,
        Scope::ModelGroup(group) => group,
    };
    // Ids are handed out one after the other, so their low bits differ.
    let spread = id.owner.wrapping_mul(31).wrapping_add(group);
    usize::try_from(spread.rem_euclid(SHARDS)).unwrap_or(0)
}

#[cfg(test)]
#[path = "memo_tests.rs"]
mod tests;
