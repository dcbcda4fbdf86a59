//! The budgets that this node knows.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::lease::Lease;
use super::shards::{BudgetHasher, SHARDS, shard_of};
use crate::limit::BudgetId;

type Shard = RwLock<HashMap<BudgetId, Arc<Entry>, BudgetHasher>>;

/// One budget. Reservations hold it, so that settling needs no look-up.
pub(super) struct Entry {
    pub id: BudgetId,
    pub lease: Mutex<Lease>,
    /// A flight has landed.
    pub landed: Notify,
}

/// The budgets that this node knows, each behind a lock of its own.
pub(super) struct Table {
    shards: Box<[Shard]>,
}

impl Table {
    pub fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }

    pub fn get(&self, id: BudgetId) -> Option<Arc<Entry>> {
        self.shard(id).read().get(&id).map(Arc::clone)
    }

    /// The budget, and whether it was made now.
    pub fn get_or_insert(&self, id: BudgetId, make: impl FnOnce() -> Lease) -> (Arc<Entry>, bool) {
        if let Some(entry) = self.get(id) {
            return (entry, false);
        }
        let mut shard = self.shard(id).write();
        if let Some(entry) = shard.get(&id) {
            return (Arc::clone(entry), false);
        }
        let entry = Arc::new(Entry { id, lease: Mutex::new(make()), landed: Notify::new() });
        shard.insert(id, Arc::clone(&entry));
        (entry, true)
    }

    /// Forgets the budget if nothing of it is left.
    pub fn remove_spent(&self, entry: &Entry) {
        let mut shard = self.shard(entry.id).write();
        let mut lease = entry.lease.lock();
        if lease.is_spent() {
            lease.gone = true;
            shard.remove(&entry.id);
            if shard.capacity() > shard.len().saturating_mul(4) {
                shard.shrink_to_fit();
            }
        }
    }

    /// The budgets in one part of the table.
    pub fn part(&self, turn: usize) -> Vec<Arc<Entry>> {
        self.shards[turn % SHARDS].read().values().map(Arc::clone).collect()
    }

    /// All budgets, a part of the table after the other.
    pub fn all(&self) -> impl Iterator<Item = Arc<Entry>> + '_ {
        (0..SHARDS).flat_map(|turn| self.part(turn))
    }

    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    fn shard(&self, id: BudgetId) -> &Shard {
        &self.shards[shard_of(id)]
    }
}
