//! What an admitted request has set aside of each limit.

use std::fmt;
use std::sync::Arc;

use super::ask::ONE;
use crate::budget::Budgets;
use crate::budget::acquire::Entries;
use crate::limit::{CountKind, Scope};

/// What an admitted request has set aside of each limit. Dropped, it gives back what is not spent.
pub(in crate::budget) struct Held {
    budgets: Arc<Budgets>,
    entries: Entries,
    at: i64,
    /// An authority could not be asked: this node decides alone.
    pub blindly: bool,
}

impl Held {
    pub const fn new(budgets: Arc<Budgets>, entries: Entries, at: i64, blindly: bool) -> Self {
        Self { budgets, entries, at, blindly }
    }

    /// From now on the request counts for its minute.
    pub fn decide(&mut self) {
        let place = u64::try_from(self.at).unwrap_or_default();
        for slot in &mut self.entries {
            if let Some(entry) = slot.take_if(|entry| entry.id.scope == Scope::Count(CountKind::Rpm)) {
                let mut lease = entry.lease.lock();
                lease.release(ONE);
                // The instant of its admission is what clients are told their waiting time from.
                lease.charge(place, self.at, 0, ONE);
                self.budgets.tell_later(&entry, &mut lease, (self.budgets.clock)());
            }
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.entries.iter().flatten().map(|entry| entry.id);
        f.debug_struct("Held").field("limits", &ids.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for entry in self.entries.iter().flatten() {
            self.budgets.put_back(entry, ONE);
        }
    }
}
