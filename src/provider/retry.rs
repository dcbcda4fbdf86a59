//! How often, how soon and until when a request may be tried again.
//!
//! When a provider fails, every request to it wants to be tried again: an outage would double the traffic, just where
//! there is too much of it. So what a provider is asked again is only a share of what it is asked; a few are always
//! allowed, or a quiet gateway could not retry at all. Going to another provider is not limited: each is asked once more
//! by that at most, and whoever fails is soon left alone by its circuit. Before asking the same provider again a request
//! waits a random while, so that those that failed together do not come back together; and all its attempts share one
//! deadline.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::Rng;

use super::window::Window;
use crate::config::Ratio;

/// How far back requests and retries are counted.
const COUNTED: Duration = Duration::from_secs(10);

/// Retries in that time that are always allowed.
const ALWAYS: u32 = 10;

/// The longest wait before the first retry, and before any.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Requests for a provider, and how many of them were asked again.
#[derive(Debug, Default)]
pub struct RetryBudget {
    /// Requests, and retries in the place of what is bad.
    window: Mutex<Window>,
}

impl RetryBudget {
    /// A request has come to the provider.
    pub fn asked(&self, now: i64) {
        self.window.lock().add(COUNTED, now, true);
    }

    /// Whether one more retry may be made; then it is counted.
    pub fn may_retry(&self, share: Ratio, now: i64) -> bool {
        let mut window = self.window.lock();
        let allowed = has_room(&mut window, share, now);
        if allowed {
            window.add(COUNTED, now, false);
        }
        allowed
    }

    /// Whether one more retry could be made.
    pub fn has_room(&self, share: Ratio, now: i64) -> bool {
        has_room(&mut self.window.lock(), share, now)
    }

    /// Another provider has been asked for what this one was asked for.
    pub fn was_doubled(&self, now: i64) {
        self.window.lock().add(COUNTED, now, false);
    }
}

fn has_room(window: &mut Window, share: Ratio, now: i64) -> bool {
    let (asked, retried) = window.sums(COUNTED, now);
    let by_share = u64::from(asked) * u64::from(share.ppm()) / 1_000_000;
    u64::from(retried) < by_share.saturating_add(u64::from(ALWAYS))
}

/// How long to wait before the same provider is asked again, after so many failures (1: the first): any time up to twice
/// the bound of the one before ("full jitter").
pub fn pause(failures: u32, rng: &mut impl Rng) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    let most = FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE);
    rng.random_range(Duration::ZERO..=most)
}

/// When an answer has to have begun, whoever gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// So long after the request has come; zero: never.
    #[must_use]
    pub fn new(arrived: Instant, total: Duration) -> Self {
        Self(arrived.checked_add(total).filter(|_| !total.is_zero()))
    }

    /// The instant; none: never.
    #[must_use]
    pub const fn at(self) -> Option<Instant> {
        self.0
    }

    /// How much time is left; none: any amount.
    #[must_use]
    pub fn left(self, now: Instant) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(now))
    }

    /// Whether there is time for anything after this pause.
    #[must_use]
    pub fn allows(self, pause: Duration, now: Instant) -> bool {
        self.left(now).is_none_or(|left| left > pause)
    }
}
