//! The budgets of which it is noted in Redis that this node may hold something.

use std::collections::HashSet;

use parking_lot::Mutex;

use super::super::shards::BudgetHasher;
use super::partition::{PARTITIONS, Partition};
use crate::limit::BudgetId;

/// By partition.
pub struct Registry([Mutex<HashSet<BudgetId, BudgetHasher>>; PARTITIONS]);

impl Default for Registry {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Registry {
    pub fn knows(&self, budget: BudgetId) -> bool {
        self.part(Partition::of(budget)).lock().contains(&budget)
    }

    pub fn add(&self, budget: BudgetId) {
        self.part(Partition::of(budget)).lock().insert(budget);
    }

    pub fn forget(&self, budget: BudgetId) {
        self.part(Partition::of(budget)).lock().remove(&budget);
    }

    pub fn forget_all(&self, partition: Partition) {
        *self.part(partition).lock() = HashSet::default();
    }

    /// Those in which there is a budget.
    pub fn partitions(&self) -> Vec<Partition> {
        Partition::all().filter(|&partition| !self.part(partition).lock().is_empty()).collect()
    }

    fn part(&self, partition: Partition) -> &Mutex<HashSet<BudgetId, BudgetHasher>> {
        &self.0[partition.index()]
    }
}
