//! How busy a provider is, as far as this node can tell: requests in flight, and how long it lets them wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What was measured so long ago counts a third of what is measured now, in ticks.
const FADING: f32 = 100.0;

/// Milliseconds of a tick.
const TICK_MS: i64 = 100;

/// A provider of which nothing is known is taken to answer after this time.
const UNKNOWN_MS: f32 = 200.0;

/// See the module.
#[derive(Debug, Default)]
pub struct Load {
    in_flight: AtomicU32,
    /// [`Waiting`] in one word, so that nobody waits for those who measure; 0: nothing is known.
    waiting: AtomicU64,
}

/// The peak of the time to the first byte: it rises at once, and falls slowly. A provider that gets slow is left at the
/// first slow answer, not when an average has noticed.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    ms: f32,
    /// When it was measured, in ticks since some time; they wrap.
    at: u32,
}

impl Waiting {
    fn unpack(word: u64) -> Option<Self> {
        #[allow(clippy::cast_possible_truncation, reason = "the two halves of it")]
        let (ms, at) = ((word >> 32) as u32, word as u32);
        (word != 0).then(|| Self { ms: f32::from_bits(ms), at })
    }

    fn pack(self) -> u64 {
        (u64::from(self.ms.to_bits()) << 32) | u64::from(self.at)
    }

    /// What share of it is left: without requests it fades, so that a provider that was slow is tried again.
    fn share(self, now: u32) -> f32 {
        #[allow(clippy::cast_precision_loss, reason = "what is so old is forgotten")]
        let age = now.wrapping_sub(self.at) as f32;
        (-age / FADING).exp()
    }

    fn joined(self, ms: f32, now: u32) -> f32 {
        let share = self.share(now);
        if ms > self.ms { ms } else { self.ms * share + ms * (1.0 - share) }
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
        let ms = ms.max(0) as f32;
        let now = ticks(now);
        let join = |word| {
            let ms = Waiting::unpack(word).map_or(ms, |before| before.joined(ms, now));
            Some(Waiting { ms, at: now }.pack())
        };
        let _ = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, join);
    }

    /// An answer has not begun after so many milliseconds, and is not waited for any longer: it would have come later.
    pub fn has_waited(&self, ms: i64, now: i64) {
        #[allow(clippy::cast_precision_loss, reason = "a difference of times")]
        let least = ms.max(0) as f32;
        let known = Waiting::unpack(self.waiting.load(Ordering::Acquire));
        if known.is_none_or(|known| known.ms * known.share(ticks(now)) < least) {
            self.waited(ms, now);
        }
    }

    /// How long one more request would wait, about: more is worse.
    #[must_use]
    pub fn score(&self, now: i64) -> f64 {
        let waiting = Waiting::unpack(self.waiting.load(Ordering::Acquire));
        let ms = waiting.map_or(UNKNOWN_MS, |waiting| waiting.ms * waiting.share(ticks(now)));
        // One millisecond more, so that requests in flight count also where answers come at once.
        f64::from(ms + 1.0) * f64::from(self.in_flight().saturating_add(1))
    }
}

fn ticks(now: i64) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "ticks wrap")]
    let ticks = (now / TICK_MS) as u32;
    ticks
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
    fn an_answer_that_was_not_waited_for_makes_nobody_look_faster() {
        let load = Load::default();
        load.has_waited(300, 0);
        assert!(load.score(0) > 300.0, "{}", load.score(0));
        load.waited(5_000, 0);
        let known = load.score(0);
        load.has_waited(20, 1);
        assert!((load.score(0) - known).abs() < 1e-9, "it might have been as slow: {}", load.score(0));
        load.has_waited(6_000, 2);
        assert!(load.score(2) > 6_000.0, "{}", load.score(2));
    }

    #[test]
    fn who_is_not_asked_any_more_is_tried_again() {
        let load = Load::default();
        load.waited(10_000, 0);
        assert!(load.score(60_000) < 50.0, "{}", load.score(60_000));
    }
}
