//! Stops guessing: whoever fails to authenticate 20 times in 5 minutes has to wait.
//!
//! Counted apart per address (IPv6: per /64, which is what one subscriber has) and per credential. What is refused
//! here is not counted again, so that the time to wait is a promise. A key that exists passes whatever is counted:
//! that is for the caller of this module to see to, and [`super::Authenticator`] does.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use super::secret::SecretHash;

const FAILURES: usize = 20;

/// Milliseconds.
const WINDOW: i64 = 5 * 60 * 1000;

/// Milliseconds by which a failure may be counted late: longer than a look-up may take.
const OUT_OF_ORDER: i64 = 10_000;

/// Addresses, and credentials, that are remembered. Each takes at most about 300 bytes.
const TRACKED_MAX: usize = 32 * 1024;

/// Of how many the one is dropped that failed least, when there is no room.
const EVICTION_SAMPLE: usize = 16;

/// Whether somebody has failed too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No.
    Good,
    /// Yes.
    Blocked,
}

/// Counts failures.
#[derive(Debug)]
pub struct FailureGuard {
    addresses: Mutex<Tracker<IpAddr>>,
    credentials: Mutex<Tracker<SecretHash>>,
}

impl Default for FailureGuard {
    fn default() -> Self {
        Self::with_capacity(TRACKED_MAX)
    }
}

impl FailureGuard {
    fn with_capacity(capacity: usize) -> Self {
        Self { addresses: Mutex::new(Tracker::new(capacity)), credentials: Mutex::new(Tracker::new(capacity)) }
    }

    /// Whether this address, or this credential, has failed too often.
    #[must_use]
    pub fn standing(&self, address: IpAddr, credential: Option<&SecretHash>, now: i64) -> Standing {
        let blocked = self.addresses.lock().wait(&network(address), now).is_some()
            || credential.is_some_and(|credential| self.credentials.lock().wait(credential, now).is_some());
        if blocked { Standing::Blocked } else { Standing::Good }
    }

    /// Counts a failure. A credential that was missing, or several that differ, fail with none.
    ///
    /// # Errors
    ///
    /// How long to wait, when address or credential had failed too often before.
    pub fn failed(&self, address: IpAddr, credential: Option<&SecretHash>, now: i64) -> Result<(), Duration> {
        let address = network(address);
        // Always in this order.
        let mut addresses = self.addresses.lock();
        let mut credentials = self.credentials.lock();
        let wait = addresses.wait(&address, now);
        let wait = wait.max(credential.and_then(|credential| credentials.wait(credential, now)));
        if let Some(wait) = wait {
            return Err(wait);
        }
        addresses.count(address, now);
        if let Some(credential) = credential {
            credentials.count(*credential, now);
        }
        Ok(())
    }
}

/// The part of an address that one subscriber has.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
    }
}

/// The instants of the latest failures of each, oldest first.
#[derive(Debug)]
struct Tracker<K> {
    capacity: usize,
    failures: HashMap<K, VecDeque<i64>>,
    swept_at: i64,
}

impl<K: Copy + Eq + Hash> Tracker<K> {
    fn new(capacity: usize) -> Self {
        Self { capacity, failures: HashMap::new(), swept_at: 0 }
    }

    fn wait(&self, key: &K, now: i64) -> Option<Duration> {
        let failures = self.failures.get(key)?;
        let recent = failures.iter().filter(|at| is_recent(**at, now)).count();
        if recent < FAILURES {
            return None;
        }
        let oldest = failures.iter().find(|at| is_recent(**at, now))?;
        // Whole seconds, rounded up: that is what the header can say.
        let milliseconds = u64::try_from(oldest.saturating_add(WINDOW).saturating_sub(now)).unwrap_or(0);
        Some(Duration::from_secs(milliseconds.div_ceil(1000).max(1)))
    }

    fn count(&mut self, key: K, now: i64) {
        if !self.failures.contains_key(&key) && self.failures.len() >= self.capacity {
            self.make_room(now);
        }
        let failures = self.failures.entry(key).or_default();
        failures.retain(|at| is_recent(*at, now));
        failures.push_back(now);
    }

    fn make_room(&mut self, now: i64) {
        // A sweep looks at all: not more often than once a second, however many addresses there are.
        if now.saturating_sub(self.swept_at).saturating_abs() >= 1000 {
            self.swept_at = now;
            self.failures.retain(|_, failures| failures.back().is_some_and(|at| is_recent(*at, now)));
        }
        while self.failures.len() >= self.capacity {
            let sample = self.failures.iter().take(EVICTION_SAMPLE);
            let least =
                sample.min_by_key(|(_, failures)| (failures.len(), failures.back().copied())).map(|(key, _)| *key);
            let Some(least) = least else { return };
            self.failures.remove(&least);
        }
    }
}

/// Failures come a little out of order: each is dated when its request came and counted when its look-up has ended. One
/// from much later is of a clock that was set back since, and does not count.
fn is_recent(at: i64, now: i64) -> bool {
    (-OUT_OF_ORDER..WINDOW).contains(&now.saturating_sub(at))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn the_21st_failure_within_5_minutes_has_to_wait_until_the_first_is_5_minutes_old() {
        let guard = FailureGuard::default();
        for n in 0..20 {
            assert_eq!(guard.failed(HERE, None, n * 1_000), Ok(()), "failure {n}");
        }
        assert_eq!(guard.standing(HERE, None, 20_000), Standing::Blocked);
        assert_eq!(guard.failed(HERE, None, 20_000), Err(Duration::from_secs(280)));
        assert_eq!(guard.failed(HERE, None, 299_001), Err(Duration::from_secs(1)));
        assert_eq!(guard.standing(THERE, None, 20_000), Standing::Good);
        // The refusals were not counted: one attempt is free as promised, and only one.
        assert_eq!(guard.failed(HERE, None, 300_000), Ok(()));
        assert_eq!(guard.failed(HERE, None, 300_000), Err(Duration::from_secs(1)));
    }

    #[test]
    fn a_credential_is_counted_wherever_it_comes_from() {
        let guard = FailureGuard::default();
        let credential = SecretHash::of("leaked");
        for n in 0..20 {
            let address = IpAddr::from([10, 0, 0, n]);
            assert_eq!(guard.failed(address, Some(&credential), 0), Ok(()));
        }
        assert_eq!(guard.standing(THERE, Some(&credential), 0), Standing::Blocked);
        assert!(guard.failed(THERE, Some(&credential), 0).is_err());
        assert_eq!(guard.standing(THERE, Some(&SecretHash::of("other")), 0), Standing::Good);
    }

    #[test]
    fn an_ipv6_subscriber_is_one_address_and_a_mapped_ipv4_address_is_an_ipv4_address() {
        let address = |text: &str| network(text.parse().unwrap());
        assert_eq!(address("2001:db8:1:2::1"), address("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:192.0.2.1"), HERE);
        assert_ne!(address("::ffff:192.0.2.1"), address("::ffff:192.0.2.2"));
    }

    #[test]
    fn however_many_addresses_fail_a_bounded_number_is_remembered_and_the_blocked_one_stays_so() {
        let guard = FailureGuard::with_capacity(100);
        for _ in 0..20 {
            guard.failed(HERE, None, 0).unwrap();
        }
        for n in 0..1_000_u32 {
            let address = std::net::Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) | (u128::from(n) << 64));
            let _ = guard.failed(address.into(), None, 1);
        }
        assert_eq!(guard.addresses.lock().failures.len(), 100);
        assert_eq!(guard.standing(HERE, None, 1), Standing::Blocked);
        // What is over makes room for what is new.
        guard.failed(THERE, None, WINDOW + 1).unwrap();
        assert_eq!(guard.addresses.lock().failures.len(), 1);
    }

    #[test]
    fn a_failure_that_is_counted_late_does_not_wipe_out_the_others() {
        let guard = FailureGuard::default();
        for _ in 0..20 {
            guard.failed(HERE, None, 1_000).unwrap();
        }
        assert!(guard.failed(HERE, None, 999).is_err());
        assert_eq!(guard.standing(HERE, None, 1_000), Standing::Blocked);
    }

    #[test]
    fn a_clock_that_is_set_back_blocks_nobody_for_longer() {
        let guard = FailureGuard::default();
        for _ in 0..20 {
            guard.failed(HERE, None, WINDOW * 10).unwrap();
        }
        assert_eq!(guard.standing(HERE, None, 0), Standing::Good);
    }
}
