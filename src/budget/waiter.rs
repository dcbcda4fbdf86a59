//! A request that waits for what its budgets do not have yet, and its places in their queues.

use std::sync::Arc;

use super::Budgets;
use super::acquire::Each;
use super::denial::Need;
use super::lease::Lease;
use super::pins::Pins;
use super::table::Entry;

/// A request that waits. Its needs are part of what is asked for until it is dropped.
///
/// At first it asks all its budgets at once. If that was not enough, others want the same: then it asks one after the other,
/// in the order that is everybody's, and holds on to what it has got of those before. So whoever has got the last of one
/// budget gets what it needs of the next, and nobody keeps it from those who have that.
pub(super) struct Waiter<'a> {
    pub tickets: Each<Option<Ticket<'a>>>,
    /// Budgets that this node decides about alone.
    pub alone: Each<bool>,
    /// Budgets that give whatever they have.
    pub forced: Each<bool>,
    pub in_turn: bool,
    pub pins: Pins<'a>,
}

/// A place in the queue of a budget.
pub(super) struct Ticket<'a> {
    budgets: &'a Budgets,
    pub entry: Arc<Entry>,
    /// None while others of its budgets come first.
    number: Option<u64>,
    /// How many answers there had been when it began to wait.
    pub began: u64,
    /// Answers up to here do not count any more.
    pub since: u64,
}

impl<'a> Waiter<'a> {
    pub fn new(budgets: &'a Budgets) -> Self {
        Self {
            tickets: Each::default(),
            alone: Each::default(),
            forced: Each::default(),
            in_turn: false,
            pins: Pins::new(budgets),
        }
    }

    /// Which of those that have too little are asked now. For the others it does not wait meanwhile.
    pub fn next(&mut self, short: Each<bool>) -> Each<bool> {
        if !self.in_turn {
            return short;
        }
        let first = short.iter().position(|short| *short);
        for (at, ticket) in self.tickets.iter_mut().enumerate() {
            if let Some(ticket) = ticket.as_mut().filter(|_| first != Some(at)) {
                ticket.leave();
            }
        }
        std::array::from_fn(|at| first == Some(at))
    }
}

impl<'a> Ticket<'a> {
    pub fn new(budgets: &'a Budgets, entry: &Arc<Entry>, lease: &mut Lease, need: Need) -> Self {
        let heard = lease.heard();
        Self { budgets, entry: Arc::clone(entry), number: Some(lease.wait(need)), began: heard, since: heard }
    }

    /// Waits, if it did not.
    pub fn wait(&mut self, lease: &mut Lease, need: Need) {
        if self.number.is_none() {
            self.number = Some(lease.wait(need));
            self.since = lease.heard();
        }
    }

    pub fn wait_no_longer(&mut self, lease: &mut Lease) {
        if let Some(number) = self.number.take() {
            lease.wait_no_longer(number);
        }
    }

    /// Waits no longer, and lets others have what was granted for it.
    fn leave(&mut self) {
        if self.number.is_some() {
            let entry = Arc::clone(&self.entry);
            let mut lease = entry.lease.lock();
            self.wait_no_longer(&mut lease);
            self.budgets.tell_later(&entry, &mut lease, (self.budgets.clock)());
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let entry = Arc::clone(&self.entry);
        self.wait_no_longer(&mut entry.lease.lock());
    }
}
