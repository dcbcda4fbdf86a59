//! How busy a provider is, as far as this node can tell: requests in flight, and how long it lets them wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

/// What was measured so long ago counts a third of what is measured now.
const FADING_MS: f64 = 10_000.0;

/// A provider of which nothing is known is taken to answer after this time.
const UNKNOWN_MS: f64 = 200.0;

/// See the module.
#[derive(Debug, Default)]
pub struct Load {
    in_flight: AtomicU32,
    waiting: Mutex<Option<Waiting>>,
}

/// The peak of the time to the first byte: it rises at once, and falls slowly. A provider that gets slow is left at the
/// first slow answer, not when an average has noticed.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    ms: f64,
    at: i64,
}

impl Waiting {
    /// What is left of it: without requests it fades, so that a provider that was slow is tried again.
    fn faded(self, now: i64) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a difference of times")]
        let age = (now - self.at).max(0) as f64;
        self.ms * (-age / FADING_MS).exp()
    }
}

impl Load {
    /// One more request, until the guard is dropped; and how many there are then.
    pub fn enter(self: &Arc<Self>) -> (InFlightAt, u32) {
        let before = self.in_flight.fetch_add(1, Ordering::AcqRel);
        (InFlightAt(Arc::clone(self)), before + 1)
    }

    /// How many there are.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// A good answer has begun after so many milliseconds.
    pub fn waited(&self, ms: i64, now: i64) {
        #[allow(clippy::cast_precision_loss, reason = "a difference of times")]
        let ms = ms.max(0) as f64;
        let mut waiting = self.waiting.lock();
        let next = waiting.map_or(ms, |before| {
            let share = before.faded(now) / before.ms.max(f64::MIN_POSITIVE);
            if ms > before.ms { ms } else { before.ms * share + ms * (1.0 - share) }
        });
        *waiting = Some(Waiting { ms: next, at: now });
    }

    /// How long one more request would wait, about: more is worse.
    #[must_use]
    pub fn score(&self, now: i64) -> f64 {
        let waiting = self.waiting.lock().map_or(UNKNOWN_MS, |waiting| waiting.faded(now));
        // One millisecond more, so that requests in flight count also where answers come at once.
        (waiting + 1.0) * f64::from(self.in_flight().saturating_add(1))
    }
}

/// A request in flight at a provider.
#[derive(Debug)]
pub struct InFlightAt(Arc<Load>);

impl Drop for InFlightAt {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_in_flight_counts_until_he_is_gone() {
        let load = Arc::new(Load::default());
        let idle = load.score(0);
        let (one, first) = load.enter();
        let (two, second) = load.enter();
        assert_eq!((first, second, load.in_flight()), (1, 2, 2));
        assert!((load.score(0) - 3.0 * idle).abs() < 1e-9);
        drop(one);
        drop(two);
        assert_eq!(load.in_flight(), 0);
    }

    #[test]
    fn a_slow_answer_counts_at_once_and_is_forgotten_slowly() {
        let load = Load::default();
        load.waited(100, 0);
        load.waited(5_000, 1);
        assert!(load.score(1) > 5_000.0, "{}", load.score(1));
        load.waited(100, 1_000);
        assert!(load.score(1_000) > 4_000.0, "one good answer proves nothing: {}", load.score(1_000));
        for second in 2..60 {
            load.waited(100, second * 1_000);
        }
        assert!(load.score(60_000) < 120.0, "{}", load.score(60_000));
    }

    #[test]
    fn who_is_not_asked_any_more_is_tried_again() {
        let load = Load::default();
        load.waited(10_000, 0);
        assert!(load.score(60_000) < 50.0, "{}", load.score(60_000));
    }
}
