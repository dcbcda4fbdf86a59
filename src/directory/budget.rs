//! How many unknown keys the database is asked about: a bucket that existing keys do not empty.

use parking_lot::Mutex;

/// Queries about keys that turn out not to exist, per second and in a burst, from whoever has failed too often.
const BLOCKED_PER_SECOND: i64 = 20;
const BLOCKED_BURST: i64 = 40;

/// A token bucket. A token is given back when the key turned out to exist, so only a scan can empty it.
#[derive(Debug)]
pub struct MissBudget {
    per_second: i64,
    burst: i64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Thousandths of a token, so that every millisecond adds a whole number.
    thousandths: i64,
    at: i64,
}

impl MissBudget {
    /// Of whoever guesses: for addresses and credentials that have failed too often.
    #[must_use]
    pub fn of_the_blocked(now: i64) -> Self {
        Self::new(BLOCKED_PER_SECOND, BLOCKED_BURST, now)
    }

    pub(super) fn new(per_second: i64, burst: i64, now: i64) -> Self {
        Self { per_second, burst, state: Mutex::new(State { thousandths: burst * 1000, at: now }) }
    }

    /// Takes a token, if there is one.
    pub fn take(&self, now: i64) -> bool {
        let mut state = self.state.lock();
        // A clock that was set back adds nothing, and goes on from where it is.
        let elapsed = now.saturating_sub(state.at).max(0);
        state.at = now;
        let added = elapsed.saturating_mul(self.per_second);
        state.thousandths = state.thousandths.saturating_add(added).min(self.burst * 1000);
        let enough = state.thousandths >= 1000;
        if enough {
            state.thousandths -= 1000;
        }
        enough
    }

    /// Gives a token back.
    pub fn give_back(&self) {
        let mut state = self.state.lock();
        state.thousandths = (state.thousandths + 1000).min(self.burst * 1000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate() {
        let budget = MissBudget::new(10, 3, 0);
        assert!(budget.take(0) && budget.take(0) && budget.take(0) && !budget.take(0));
        assert!(!budget.take(99) && budget.take(100) && !budget.take(199) && budget.take(200));
        assert!(budget.take(i64::MAX) && budget.take(i64::MAX) && budget.take(i64::MAX) && !budget.take(i64::MAX));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_but_never_more_than_the_burst() {
        let budget = MissBudget::new(1, 2, 0);
        assert!(budget.take(0) && budget.take(0));
        budget.give_back();
        assert!(budget.take(0) && !budget.take(0));
        (0..10).for_each(|_| budget.give_back());
        assert!(budget.take(0) && budget.take(0) && !budget.take(0));
    }

    #[test]
    fn a_clock_that_is_set_back_neither_fills_nor_stops_it() {
        let budget = MissBudget::new(1, 1, 1_000_000);
        assert!(budget.take(1_000_000) && !budget.take(0) && budget.take(1_000));
    }
}
