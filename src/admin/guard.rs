//! Brute force: an address that keeps presenting wrong credentials is told to wait.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;

const MAX_FAILURES: usize = 20;
const WINDOW_MS: i64 = 5 * 60 * 1000;
/// Addresses remembered at once; the least recently used are forgotten first.
const MAX_ADDRESSES: u64 = 65_536;

/// The times of the last failures, per address.
#[derive(Clone, Debug)]
pub struct FailureGuard(Cache<IpAddr, Arc<Mutex<VecDeque<i64>>>>);

impl Default for FailureGuard {
    fn default() -> Self {
        let idle = Duration::from_millis(WINDOW_MS.unsigned_abs());
        Self(Cache::builder().max_capacity(MAX_ADDRESSES).time_to_idle(idle).build())
    }
}

impl FailureGuard {
    /// Counts a failure of `address` at `now` (Unix milliseconds).
    ///
    /// # Errors
    /// It has failed too often; the milliseconds until it may try again.
    pub fn failed(&self, address: IpAddr, now: i64) -> Result<(), i64> {
        let failures = self.0.get_with(network(address), Arc::default);
        let mut failures = failures.lock();
        while failures.front().is_some_and(|at| *at <= now - WINDOW_MS) {
            failures.pop_front();
        }
        if failures.len() >= MAX_FAILURES {
            return Err(failures.front().map_or(WINDOW_MS, |oldest| oldest + WINDOW_MS - now));
        }
        failures.push_back(now);
        Ok(())
    }
}

/// Who holds one IPv6 address usually holds its /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{FailureGuard, WINDOW_MS};

    #[test]
    fn the_twenty_first_failure_within_five_minutes_is_refused() {
        let guard = FailureGuard::default();
        let here = "192.0.2.1".parse().unwrap();
        for at in 0..20 {
            assert_eq!(guard.failed(here, at), Ok(()));
        }
        assert_eq!(guard.failed(here, 20), Err(WINDOW_MS - 20));
        assert_eq!(guard.failed("192.0.2.2".parse().unwrap(), 20), Ok(()), "another address is not touched");
        assert_eq!(guard.failed(here, WINDOW_MS), Ok(()), "the first failure is five minutes old");
        assert!(guard.failed(here, WINDOW_MS).is_err());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let guard = FailureGuard::default();
        for host in 0..20 {
            assert_eq!(guard.failed(format!("2001:db8::{host:x}").parse().unwrap(), 0), Ok(()));
        }
        assert!(guard.failed("2001:db8::ffff".parse().unwrap(), 0).is_err());
        assert_eq!(guard.failed("2001:db8:0:1::1".parse().unwrap(), 0), Ok(()));
    }
}
