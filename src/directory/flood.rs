//! A coarse limit on requests per address, before anything is known about the caller.
//!
//! The counts are estimates that can only be too high, so the limit is generous: it is there for floods, and never
//! decides what a person was promised. (`pingora_limits::rate::Rate` would do the same, but reads the clock itself
//! and subtracts two readings of different threads, which panics under overflow checks.)

use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};

use pingora_limits::estimator::Estimator;

use super::failures::network;

/// Requests per second from one address.
const LIMIT: isize = 1000;

/// Wide enough that with 20 000 addresses a second every count is exact (measured): 8 MiB in all.
const HASHES: usize = 8;
const SLOTS: usize = 65_536;

/// Counts requests per address and second.
pub struct FloodGuard {
    /// For even and odd seconds.
    counts: [Second; 2],
}

struct Second {
    at: AtomicI64,
    estimator: Estimator,
}

impl FloodGuard {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        let second = || Second { at: AtomicI64::new(i64::MIN), estimator: Estimator::new(HASHES, SLOTS) };
        Self { counts: [second(), second()] }
    }

    /// Counts a request at `now` (Unix milliseconds); false: it is one too many.
    pub fn admit(&self, address: IpAddr, now: i64) -> bool {
        let second = now.div_euclid(1000);
        let counts = &self.counts[usize::from(second.rem_euclid(2) == 1)];
        let last = counts.at.load(Ordering::Relaxed);
        // One thread empties it. What others count in these microseconds may be lost, which is fine for an estimate.
        if last != second && counts.at.compare_exchange(last, second, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            counts.estimator.reset();
        }
        counts.estimator.incr(network(address), 1) <= LIMIT
    }
}

impl Default for FloodGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for FloodGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FloodGuard").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(guard: &FloodGuard, address: [u8; 4], now: i64) -> usize {
        (0..3000).filter(|_| guard.admit(address.into(), now)).count()
    }

    #[test]
    fn a_flood_is_cut_at_the_limit_and_others_do_not_notice() {
        let guard = FloodGuard::new();
        assert_eq!(admitted(&guard, [192, 0, 2, 1], 500), 1000);
        assert_eq!(admitted(&guard, [192, 0, 2, 2], 500), 1000);
        assert_eq!(admitted(&guard, [192, 0, 2, 1], 999), 0);
        assert_eq!(admitted(&guard, [192, 0, 2, 1], 1000), 1000);
        assert_eq!(admitted(&guard, [192, 0, 2, 1], 2000), 1000);
    }

    #[test]
    fn twenty_thousand_addresses_do_not_get_in_each_others_way() {
        let guard = FloodGuard::new();
        for n in 0..20_000_u32 {
            for _ in 0..900 / 100 {
                assert!(guard.admit(std::net::Ipv4Addr::from(n).into(), 0));
            }
        }
    }

    #[test]
    fn many_threads_may_count_across_the_boundary_of_a_second() {
        let guard = FloodGuard::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for now in (-5_000..5_000).chain([i64::MIN, i64::MAX]) {
                        guard.admit([192, 0, 2, 1].into(), now);
                    }
                });
            }
        });
        assert_eq!(admitted(&guard, [192, 0, 2, 1], 100_000), 1000);
    }
}
