//! The time: read here, and passed in everywhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use nix::time::{ClockId, clock_gettime};

/// Unix milliseconds now.
#[must_use]
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds since the machine was started, those in which it or this process slept included. Nobody sets it.
#[must_use]
pub fn boot_ms() -> i64 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;
    // It fails only for clocks that there are not.
    clock_gettime(CLOCK).map_or(0, |at| at.tv_sec() * 1_000 + at.tv_nsec() / 1_000_000)
}

/// The time that nodes share: Unix milliseconds as an authority has them, wherever this machine's wall clock is.
///
/// It goes on while the process is suspended, and never goes back: a clock that was ahead goes at half speed until the
/// others have caught up. Standing still instead would keep everything from being done that is due later.
pub struct SharedClock {
    boot: Box<dyn Fn() -> i64 + Send + Sync>,
    course: ArcSwap<Course>,
    /// The latest time that was told.
    told: AtomicI64,
}

/// How time follows from the machine's: at full speed, but never behind the half speed from the last correction on.
#[derive(Clone, Copy)]
struct Course {
    offset: i64,
    corrected_at: i64,
    from: i64,
}

impl Course {
    fn at(self, boot: i64) -> i64 {
        let slow = self.from.saturating_add((boot - self.corrected_at).max(0) / 2);
        boot.saturating_add(self.offset).max(slow)
    }
}

impl SharedClock {
    /// Starts from the wall clock.
    #[must_use]
    pub fn start() -> Arc<Self> {
        Self::with(boot_ms, now_ms())
    }

    fn with(boot: impl Fn() -> i64 + Send + Sync + 'static, wall: i64) -> Arc<Self> {
        let at = boot();
        let course = Course { offset: wall - at, corrected_at: at, from: wall };
        Arc::new(Self { boot: Box::new(boot), course: ArcSwap::from_pointee(course), told: AtomicI64::new(i64::MIN) })
    }

    /// Unix milliseconds now.
    #[must_use]
    pub fn now(&self) -> i64 {
        let now = self.course.load().at((self.boot)());
        self.told.fetch_max(now, Ordering::AcqRel).max(now)
    }

    /// An authority has said what time it was there, between two instants of [`boot_ms`].
    pub fn learn(&self, authority_now_ms: i64, sent_boot_ms: i64, received_boot_ms: i64) {
        if received_boot_ms < sent_boot_ms {
            return;
        }
        let half_way = sent_boot_ms + (received_boot_ms - sent_boot_ms) / 2;
        let offset = authority_now_ms - half_way;
        if self.course.load().offset == offset {
            return;
        }
        // Answers that come at the same time must not undo each other.
        self.course.rcu(|course| {
            let corrected_at = (self.boot)();
            // What nobody was told may be wrong by any amount.
            let untold = self.told.load(Ordering::Acquire) == i64::MIN;
            let from = if untold { i64::MIN } else { course.at(corrected_at) };
            Course { offset, corrected_at, from }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    const WALL: i64 = 1_760_522_430_000;

    /// A machine that was started a second ago, and its clock.
    fn machine() -> (Arc<AtomicI64>, Arc<SharedClock>) {
        let boot = Arc::new(AtomicI64::new(1_000));
        let source = Arc::clone(&boot);
        (boot, SharedClock::with(move || source.load(Ordering::SeqCst), WALL))
    }

    fn pass(boot: &AtomicI64, ms: i64) -> i64 {
        boot.fetch_add(ms, Ordering::SeqCst) + ms
    }

    #[test]
    fn it_starts_from_the_wall_clock_and_goes_on_with_the_machine() {
        let (boot, clock) = machine();
        assert_eq!(clock.now(), WALL);
        pass(&boot, 60_000);
        assert_eq!(clock.now(), WALL + 60_000, "however long the process slept");
    }

    #[test]
    fn the_authority_is_taken_to_have_answered_half_way() {
        let (boot, clock) = machine();
        let received = pass(&boot, 40);
        clock.learn(WALL + 10_000, 1_000, received);
        assert_eq!(clock.now(), WALL + 10_020);
    }

    #[test]
    fn a_clock_that_was_ahead_goes_on_at_half_speed_until_the_others_have_caught_up() {
        let (boot, clock) = machine();
        assert_eq!(clock.now(), WALL);
        clock.learn(WALL - 10_000, 1_000, 1_000);
        let mut last = clock.now();
        assert_eq!(last, WALL);
        for _ in 0..20_000 / 50 {
            pass(&boot, 50);
            assert!(clock.now() > last, "it never stands still");
            last = clock.now();
        }
        assert_eq!(last, WALL + 10_000, "caught up");
        pass(&boot, 1_000);
        assert_eq!(clock.now(), WALL + 11_000);
    }

    #[test]
    fn a_clock_that_nobody_has_asked_yet_is_put_right_at_once() {
        let (_, clock) = machine();
        clock.learn(WALL - 3_600_000, 1_000, 1_000);
        assert_eq!(clock.now(), WALL - 3_600_000);
        clock.learn(WALL - 3_700_000, 1_000, 1_000);
        assert_eq!(clock.now(), WALL - 3_600_000, "from then on it does not go back");
    }

    #[test]
    fn time_never_goes_back_however_it_is_corrected() {
        let (boot, clock) = machine();
        let mut last = clock.now();
        for n in 0..1_000 {
            let sent = pass(&boot, n % 7);
            let received = pass(&boot, n % 50);
            let correction = if n % 2 == 0 { 3_000 } else { -3_000 } + n * n % 1_000;
            clock.learn(WALL + received + correction, sent, received);
            let now = clock.now();
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    }

    #[test]
    fn an_answer_from_before_its_question_teaches_nothing() {
        let (_, clock) = machine();
        clock.learn(WALL + 1_000_000, 1_000, 999);
        assert_eq!(clock.now(), WALL);
    }

    #[test]
    fn the_machine_has_such_a_clock() {
        let before = boot_ms();
        assert!(before > 0);
        assert!(boot_ms() >= before);
        let clock = SharedClock::start();
        assert!((clock.now() - now_ms()).abs() < 1_000);
    }
}
