//! What is counted about leases, for metrics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::money::Usd;

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeResult {
    /// Taken.
    Ok,
    /// Asked for, and nothing granted.
    Denied,
    /// To be said again from another position.
    Resend,
    /// The budget had to be seeded.
    Seed,
    /// No answer.
    Lost,
}

/// What is counted about leases.
#[derive(Debug, Default)]
pub struct LeaseStats {
    exchanges: [AtomicU64; 5],
    violations: AtomicU64,
    outstanding: AtomicI64,
    drift: AtomicI64,
}

impl ExchangeResult {
    /// All, in the order of the counters.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Denied, Self::Resend, Self::Seed, Self::Lost];

    /// The name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Denied => "denied",
            Self::Resend => "resend",
            Self::Seed => "seed",
            Self::Lost => "lost",
        }
    }
}

impl LeaseStats {
    /// How many exchanges ended so.
    #[must_use]
    pub fn exchanges(&self, result: ExchangeResult) -> u64 {
        self.exchanges[result as usize].load(Ordering::Relaxed)
    }

    /// How many requests were admitted without knowing whether a budget could pay.
    #[must_use]
    pub fn unenforced_violations(&self) -> u64 {
        self.violations.load(Ordering::Relaxed)
    }

    /// What this node holds of all budgets.
    #[must_use]
    pub fn outstanding(&self) -> Usd {
        Usd::from_nanos(self.outstanding.load(Ordering::Relaxed))
    }

    /// By how much, in all, what was counted differed from the ledger whenever they were compared: a total of absolute
    /// amounts, which never falls.
    #[must_use]
    pub fn drift(&self) -> Usd {
        Usd::from_nanos(self.drift.load(Ordering::Relaxed))
    }

    pub(super) fn drifted(&self, by: Usd) {
        self.drift.fetch_add(by.nanos().saturating_abs(), Ordering::Relaxed);
    }

    pub(super) fn count(&self, result: ExchangeResult) {
        self.exchanges[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn violation(&self) {
        self.violations.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn holds_more(&self, by: Usd) {
        self.outstanding.fetch_add(by.nanos(), Ordering::Relaxed);
    }
}
