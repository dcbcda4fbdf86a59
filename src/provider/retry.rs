//! How often, how soon and until when a request may be tried again.
//!
//! When a provider fails, every request to it wants to be tried again: an outage would double the traffic, just where
//! there is too much of it. So retries together are only a share of what is asked; a few are always allowed, or a quiet
//! gateway could not retry at all. Before asking the same provider again a request waits a random while, so that those
//! that failed together do not come back together; and all its attempts end at one deadline.

#[cfg(test)]
mod tests;

use std::time::Duration;

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

/// Retries as a share of requests.
#[derive(Debug, Default)]
pub struct RetryBudget {
    /// Requests, and retries in the place of what is bad.
    window: Window,
}

impl RetryBudget {
    /// A request has come.
    pub fn asked(&mut self, now: i64) {
        self.window.add(COUNTED, now, true);
    }

    /// Whether one more retry may be made; then it is counted.
    pub fn may_retry(&mut self, share: Ratio, now: i64) -> bool {
        let (asked, retried) = self.window.sums(COUNTED, now);
        let by_share = u64::from(asked) * u64::from(share.ppm()) / 1_000_000;
        let allowed = u64::from(retried) < by_share.saturating_add(u64::from(ALWAYS));
        if allowed {
            self.window.add(COUNTED, now, false);
        }
        allowed
    }
}

/// How long to wait before the same provider is asked again, after so many failures (1: the first): any time up to twice
/// the bound of the one before ("full jitter").
pub fn pause(failures: u32, rng: &mut impl Rng) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    let most = FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE);
    rng.random_range(Duration::ZERO..=most)
}

/// When all attempts of a request together have to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Option<i64>);

impl Deadline {
    /// So long after the request has come, Unix milliseconds; zero: never.
    #[must_use]
    pub fn new(arrived: i64, total: Duration) -> Self {
        let total = i64::try_from(total.as_millis()).unwrap_or(i64::MAX);
        Self((total > 0).then(|| arrived.saturating_add(total)))
    }

    /// How much time is left; none: any amount.
    #[must_use]
    pub fn left(self, now: i64) -> Option<Duration> {
        self.0.map(|at| Duration::from_millis(u64::try_from(at.saturating_sub(now)).unwrap_or(0)))
    }

    /// Whether there is time for anything after this pause.
    #[must_use]
    pub fn allows(self, pause: Duration, now: i64) -> bool {
        self.left(now).is_none_or(|left| left > pause)
    }
}
