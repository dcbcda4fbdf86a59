//! Budgets that could not be asked for a moment ago.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;

use super::shards::BudgetHasher;
use crate::limit::BudgetId;

/// After a failure a budget is not asked for again for so long (milliseconds).
const AWAY: i64 = 250;

/// Whoever reads the log learns of one in so long (milliseconds), however many there are.
const SAY_EVERY: i64 = 1_000;

/// Each budget by itself: what Redis or the ledger cannot say of one, it may well say of another.
#[derive(Default)]
pub(super) struct Failures {
    /// Nothing is failing after that. Nearly always nothing is.
    until: AtomicI64,
    /// When one was last said.
    said_at: AtomicI64,
    of: Mutex<HashMap<BudgetId, i64, BudgetHasher>>,
}

impl Failures {
    /// It could not be asked for at `now`.
    pub fn note(&self, budget: BudgetId, now: i64) {
        let until = now.saturating_add(AWAY);
        let mut of = self.of.lock();
        if now >= self.until.fetch_max(until, Ordering::Relaxed) {
            of.clear();
        }
        of.insert(budget, until);
        if of.len() > 2 * of.values().filter(|until| now < **until).count().max(16) {
            of.retain(|_, until| now < *until);
        }
    }

    /// Whether one is to be said at `now`.
    pub fn is_news(&self, now: i64) -> bool {
        let said_at = self.said_at.load(Ordering::Relaxed);
        now - said_at >= SAY_EVERY
            && self.said_at.compare_exchange(said_at, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether it failed just before `now`.
    pub fn is_failing(&self, budget: BudgetId, now: i64) -> bool {
        now < self.until.load(Ordering::Relaxed) && self.of.lock().get(&budget).is_some_and(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Axis, Scope};

    fn budget(owner: i64) -> BudgetId {
        BudgetId { axis: Axis::User, owner, scope: Scope::Mainline }
    }

    #[test]
    fn a_budget_fails_for_a_quarter_of_a_second_and_no_other_with_it() {
        let failures = Failures::default();
        failures.note(budget(1), 1_000);
        assert!(failures.is_failing(budget(1), 1_249));
        assert!(!failures.is_failing(budget(1), 1_250));
        assert!(!failures.is_failing(budget(2), 1_000));
    }

    #[test]
    fn of_many_failures_one_a_second_is_news() {
        let failures = Failures::default();
        let said = (10_000..20_000).filter(|now| failures.is_news(*now)).count();
        assert_eq!(said, 10);
    }

    #[test]
    fn what_is_over_is_forgotten_however_many_fail() {
        let failures = Failures::default();
        for owner in 0..100_000 {
            failures.note(budget(owner), owner);
        }
        assert!(failures.of.lock().len() <= 502, "{}", failures.of.lock().len());
        assert!(failures.is_failing(budget(99_999), 99_999));
    }
}
