//! What a budget is, and what its caps are.

use sha2::{Digest, Sha256};

use crate::money::Usd;

use super::count_limits::{Axis, CountKind};
use super::window::{Mode, Window};

/// The most that a cap may be, boosts included: up to it a double, which is what Redis calculates in, is exact.
pub const LARGEST_CAP: Usd = Usd::from_nanos(9_000_000 * Usd::NANOS_PER_USD);

/// The version of caps that carry no order: those of the configuration, where each node has its own.
pub const UNORDERED: i64 = 0;

/// The owner id of a provider's budget: providers have names, which stay the same on every node and in every life.
#[must_use]
pub fn provider_owner(name: &str) -> i64 {
    let digest = Sha256::digest(name.as_bytes());
    let first: [u8; 8] = digest[..8].try_into().unwrap_or_default();
    i64::from_be_bytes(first) & i64::MAX
}

/// What of a request a budget is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Spend that no model group claims.
    Mainline,
    /// Spend on the models of one group.
    ModelGroup(i64),
    /// Not spend but requests, whatever they cost: a budget whose unit is one.
    Count(CountKind),
}

/// One budget. The order is the one in which several are locked and asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetId {
    /// Which side of a request is charged.
    pub axis: Axis,
    /// Id of the user or key; of a provider, [`provider_owner`] of its name.
    pub owner: i64,
    /// What it is about.
    pub scope: Scope,
}

/// The caps of a budget. A pure function of what administrators have set: time is in it only as the steps of caps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Rises whenever anything that it was made of changes.
    pub version: i64,
    /// How often the owner's spend was reset: the era that charges are made in now.
    pub era: i64,
    /// In the order of [`Window::ALL`]; never empty.
    pub windows: Vec<WindowPolicy>,
}

/// The cap of one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowPolicy {
    /// Which.
    pub window: Window,
    /// How it starts anew.
    pub mode: Mode,
    /// The cap without boosts; more than nothing.
    pub base: Usd,
    /// The cap with boosts, from each instant (Unix milliseconds) on; sorted, the first from `i64::MIN`.
    pub caps: Vec<CapStep>,
    /// Whose row set the base.
    pub source: Source,
    /// Charges of earlier eras do not count.
    pub since_era: i64,
}

/// A cap from an instant on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapStep {
    /// Unix milliseconds.
    pub from: i64,
    /// The cap.
    pub cap: Usd,
}

/// Whose row set a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The user's own.
    User(i64),
    /// That of a user group that the user is in.
    UserGroup(i64),
    /// The key's.
    Key(i64),
    /// The provider's, in the configuration.
    Provider(i64),
}

impl WindowPolicy {
    /// The cap in force at `now` (Unix milliseconds).
    #[must_use]
    pub fn cap_at(&self, now: i64) -> Usd {
        self.caps.iter().rev().find(|step| step.from <= now).map_or(self.base, |step| step.cap)
    }

    /// What boosts add to the cap in force at `now`.
    #[must_use]
    pub fn boost_at(&self, now: i64) -> Usd {
        self.cap_at(now) - self.base
    }
}
