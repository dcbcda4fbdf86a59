//! What this node does because of something that happened elsewhere: to caps, to the authority, at another node.

use std::sync::{Arc, LazyLock};

use super::lease::Lease;
use super::table::Entry;
use super::{Budgets, Event};
use crate::limit::{BudgetId, Policy};

/// The caps of a budget of which this node knows nothing but that it holds nothing. Any others are later ones.
static UNKNOWN: LazyLock<Arc<Policy>> =
    LazyLock::new(|| Arc::new(Policy { version: i64::MIN, era: 0, windows: Vec::new() }));

impl Budgets {
    /// The caps of these budgets have changed: what is kept of them is given back now, and the next request brings the
    /// new caps.
    pub fn policies_changed(&self, budgets: &[BudgetId]) {
        for entry in budgets.iter().filter_map(|&id| self.table.get(id)) {
            self.ask_soon(&entry);
        }
        self.queue.wake();
    }

    /// The same of all budgets for which `concerned` holds.
    pub fn changed_where(&self, concerned: impl Fn(BudgetId) -> bool) {
        for entry in self.table.all().into_iter().filter(|entry| concerned(entry.id)) {
            self.ask_soon(&entry);
        }
        self.queue.wake();
    }

    /// What the authority and other nodes want.
    pub fn hear_of(&self, event: Event) {
        match event {
            Event::Recalled(budget) => self.policies_changed(&[budget]),
            Event::Joins(budget) => self.join(budget),
            Event::Flushed(partition) => self.changed_where(|budget| partition.holds(budget)),
            Event::Returned => {
                self.distrust();
                self.changed_where(|_| true);
            }
        }
    }

    /// Somebody waits until this node has said what it holds of a budget, if only that it holds nothing.
    fn join(&self, budget: BudgetId) {
        let entry = match self.table.get(budget) {
            Some(entry) => entry,
            None => {
                let entry = self.entry(budget, &UNKNOWN, self.now());
                // It is not in memory, so all that was ever charged here is in the database since long; but for what was
                // charged just before it got its first cap, which the next seed has.
                entry.lease.lock().become_stranger();
                entry
            }
        };
        self.ask_soon(&entry);
        self.queue.wake();
    }

    /// A request brings the caps as it knows them.
    pub(super) fn adopt(&self, lease: &mut Lease, policy: &Arc<Policy>, now: i64) {
        lease.meet(self.seeds.now_lsn());
        lease.adopt(policy, &self.settings.load().zone, now);
    }

    /// Nothing is spent of it before the authority has been asked, and that is done soon.
    fn ask_soon(&self, entry: &Entry) {
        let mut lease = entry.lease.lock();
        lease.must_ask();
        self.queue.schedule(entry.id, &mut lease, (self.clock)());
    }
}
