//! What is known of a circuit, as nodes tell each other: the latest opening or closing.

use std::cmp::Reverse;

/// So far ahead of our own clock may be what another says, milliseconds. What is further ahead is said by a clock that is
/// wrong.
pub(crate) const AHEAD: i64 = 5_000;

/// The latest that is known of a circuit. Of what two nodes say, the greater holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// When it was opened or closed, Unix milliseconds; later than what it put an end to.
    pub at: i64,
    /// To what.
    pub state: Told,
    /// Why.
    pub reason: &'static str,
}

/// What a circuit was changed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It lets everybody through.
    Closed,
    /// It was opened.
    Open {
        /// None: until somebody closes it.
        until: Option<i64>,
        /// Only time ends it, or a person: the provider said when to come back, or why it does not serve us.
        firm: bool,
    },
}

impl Default for Word {
    fn default() -> Self {
        Self { at: i64::MIN, state: Told::Closed, reason: "" }
    }
}

impl Word {
    /// Whether it says that a circuit is open at `now`.
    #[must_use]
    pub fn is_in_force(&self, now: i64) -> bool {
        matches!(self.state, Told::Open { until, .. } if until.is_none_or(|until| now < until))
    }

    /// Whether somebody did it.
    #[must_use]
    pub fn is_by_hand(&self) -> bool {
        self.reason == super::BY_HAND
    }

    /// Whether it holds against another.
    #[must_use]
    pub fn is_after(&self, other: &Self) -> bool {
        self.rank() > other.rank()
    }

    /// Of an opening at the same time the longer holds, and that which no probe ends.
    fn rank(&self) -> (i64, bool, Reverse<bool>, i64, bool) {
        let (is_open, is_limited, until, firm) = match self.state {
            Told::Closed => (false, true, i64::MIN, false),
            Told::Open { until, firm } => (true, until.is_some(), until.unwrap_or(i64::MAX), firm),
        };
        (self.at, is_open, Reverse(is_limited), until, firm)
    }

    /// The same, but open for no longer than this, milliseconds, unless somebody did it.
    pub(super) fn cut(mut self, longest: i64) -> Self {
        let (most, by_hand) = (self.at.saturating_add(longest), self.is_by_hand());
        if let (Told::Open { until, .. }, false) = (&mut self.state, by_hand) {
            *until = Some(until.map_or(most, |until| until.min(most)));
        }
        self
    }
}
