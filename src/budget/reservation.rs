//! What an admitted request has set aside.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;

use super::plan::{Plan, Target};
use super::protocol::Lsn;
use super::table::Entry;
use super::{Budgets, ReserveError};
use crate::limit::Axis;
use crate::money::Usd;

/// What an admitted request has set aside. Dropped without [`Self::settle`], it gives everything back: so a refusal,
/// an error, a panic, a client that leaves and a time-out need no care.
#[must_use = "what is set aside is given back when this is dropped"]
pub struct Reservation {
    budgets: Arc<Budgets>,
    state: Mutex<State>,
}

struct State {
    holds: [Hold; 3],
    settled: Option<Settled>,
}

/// What is set aside in one budget.
pub(super) struct Hold {
    pub target: Target,
    /// None while nothing is set aside in it.
    pub entry: Option<Arc<Entry>>,
    pub amount: Usd,
}

/// What the ledger's row of a settled request says about its budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The key's era that it was charged in.
    pub key_era: i64,
    /// The user's era that it was charged in.
    pub user_era: i64,
    /// Charged to the key's mainline budget.
    pub counted_in_key_global: bool,
    /// Charged to the user's mainline budget.
    pub counted_in_user_global: bool,
}

impl Reservation {
    pub(super) const fn new(budgets: Arc<Budgets>, holds: [Hold; 3]) -> Self {
        Self { budgets, state: Mutex::new(State { holds, settled: None }) }
    }

    /// Whether this axis is charged to its mainline budget, not to a model group's.
    #[must_use]
    pub fn counted_globally(&self, axis: Axis) -> bool {
        self.state.lock().counted_globally(axis)
    }

    /// What is set aside in the budget of this axis.
    #[must_use]
    pub fn reserved(&self, axis: Axis) -> Usd {
        self.state.lock().holds.iter().find(|hold| hold.target.axis == axis).map_or(Usd::ZERO, |hold| hold.amount)
    }

    /// What a row would say that had to be written without the reservation being settled.
    #[must_use]
    pub fn standing(&self) -> Settled {
        let state = self.state.lock();
        state.settled(state.holds.each_ref().map(|hold| hold.target.era))
    }

    /// The request has cost so much already: at least that is set aside from now on, as a debt if need be.
    pub fn raise_to(&self, amount: Usd) {
        let mut state = self.state.lock();
        if state.settled.is_some() {
            return;
        }
        for hold in &mut state.holds {
            if hold.amount < amount {
                self.budgets.raise(hold, amount);
            }
        }
    }

    /// Replaces what was set aside by what the request cost. `lsn`: its place in the journal; `settled_at`: the
    /// instant that its ledger row carries, Unix milliseconds. Once: later calls change nothing.
    pub fn settle(&self, lsn: Lsn, settled_at: i64, cost: Usd) -> Settled {
        let mut state = self.state.lock();
        if let Some(settled) = state.settled {
            return settled;
        }
        let mut eras = [0; 3];
        for (hold, era) in state.holds.iter_mut().zip(&mut eras) {
            *era = hold.target.era;
            // One budget's failure must not keep the others from being charged.
            let charged = catch_unwind(AssertUnwindSafe(|| self.budgets.settle(hold, lsn, settled_at, cost)));
            match charged {
                Ok(charged_in) => *era = charged_in,
                Err(_) => tracing::error!(budget = ?hold.target.id, %cost, lsn, "a budget could not be charged"),
            }
        }
        let settled = state.settled(eras);
        state.settled = Some(settled);
        settled
    }

    /// Another attempt: sets aside what it needs in its own budgets before it gives back what the last one had; what
    /// both have in common is set aside once. When it is refused, everything stays as it was.
    ///
    /// # Errors
    ///
    /// As [`Budgets::reserve`].
    pub async fn move_to(&mut self, plan: &Plan, amount: Usd, now: i64) -> Result<(), ReserveError> {
        let amount = self.budgets.to_set_aside(amount);
        let had = self.state.get_mut().holds.each_ref().map(|hold| (hold.target.id, hold.amount));
        let mut holds = Box::pin(self.budgets.set_aside(plan, amount, Some(&had), now)).await?;
        let state = self.state.get_mut();
        for new in &mut holds {
            let Some(old) = state.holds.iter_mut().find(|old| old.target.id == new.target.id) else { continue };
            // A budget in which nothing is set aside may have been forgotten since, and made anew for this attempt.
            if let Some(entry) = old.entry.take().filter(|_| old.amount > Usd::ZERO) {
                new.amount += std::mem::take(&mut old.amount);
                new.entry = Some(entry);
                self.budgets.lower(new, amount);
            }
        }
        for old in std::mem::replace(&mut state.holds, holds) {
            self.budgets.release(old);
        }
        state.settled = None;
        Ok(())
    }
}

impl State {
    fn settled(&self, [key_era, user_era, _]: [i64; 3]) -> Settled {
        Settled {
            key_era,
            user_era,
            counted_in_key_global: self.counted_globally(Axis::Key),
            counted_in_user_global: self.counted_globally(Axis::User),
        }
    }

    fn counted_globally(&self, axis: Axis) -> bool {
        self.holds.iter().find(|hold| hold.target.axis == axis).is_none_or(|hold| hold.target.mainline)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if state.settled.is_none() {
            for hold in &mut state.holds {
                let amount = std::mem::take(&mut hold.amount);
                self.budgets.release(Hold { target: hold.target.clone(), entry: hold.entry.take(), amount });
            }
        }
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state.lock();
        let holds = state.holds.iter().map(|hold| (hold.target.id, hold.amount));
        f.debug_struct("Reservation").field("holds", &holds.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

impl Budgets {
    fn settle(&self, hold: &mut Hold, lsn: Lsn, at: i64, cost: Usd) -> i64 {
        hold.target.era = self.era_of(&hold.target);
        let amount = std::mem::take(&mut hold.amount);
        loop {
            let held = hold.entry.take();
            let Some(entry) = held.or_else(|| self.charged_entry(&hold.target, cost, at)) else {
                return hold.target.era;
            };
            let mut lease = entry.lease.lock();
            if lease.gone {
                continue;
            }
            lease.release(amount);
            if cost != Usd::ZERO {
                lease.charge(lsn, at, hold.target.era, cost);
            }
            let era = lease.era().max(hold.target.era);
            self.tell_later(&entry, &mut lease, at);
            return era;
        }
    }

    /// A budget in which nothing was set aside: it is charged if it has a cap, now or when the request was admitted.
    fn charged_entry(&self, target: &Target, cost: Usd, now: i64) -> Option<Arc<Entry>> {
        if cost == Usd::ZERO {
            return None;
        }
        match &target.policy {
            Some(policy) => Some(self.entry(target.id, policy, now)),
            None => self.table.get(target.id),
        }
    }

    fn raise(&self, hold: &mut Hold, amount: Usd) {
        let now = (self.clock)();
        loop {
            if hold.entry.is_none() {
                let Some(policy) = &hold.target.policy else { return };
                hold.entry = Some(self.entry(hold.target.id, policy, now));
            }
            let Some(entry) = &hold.entry else { return };
            let mut lease = entry.lease.lock();
            if lease.gone {
                drop(lease);
                hold.entry = None;
                continue;
            }
            lease.take(amount - hold.amount, now);
            hold.amount = amount;
            self.tell_later(entry, &mut lease, now);
            return;
        }
    }

    fn lower(&self, hold: &mut Hold, amount: Usd) {
        let Some(entry) = hold.entry.as_ref().filter(|_| hold.amount > amount) else { return };
        self.put_back(entry, hold.amount - amount);
        hold.amount = amount;
    }

    pub(super) fn release(&self, hold: Hold) {
        if let Some(entry) = hold.entry {
            self.put_back(&entry, hold.amount);
        }
    }

    /// What was set aside in this budget is free again.
    pub(super) fn put_back(&self, entry: &Entry, amount: Usd) {
        let mut lease = entry.lease.lock();
        lease.release(amount);
        self.tell_later(entry, &mut lease, (self.clock)());
    }
}
