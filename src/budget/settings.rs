//! What the configuration says about budgets.

use jiff::tz::TimeZone;

use crate::limit::{BudgetId, Policy, Scope};
use crate::money::Usd;

/// What a request sets aside when it is admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReservationMode {
    /// Nothing to speak of: requests are admitted while anything is left.
    None,
    /// What such a request usually costs.
    #[default]
    Expected,
    /// The most that it can cost.
    WorstCase,
}

/// What happens to a request when what is left of its budgets cannot be found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is admitted, and never around a mainline budget.
    #[default]
    Open,
    /// It is refused.
    Closed,
}

/// How much is leased at once, and for how long. Times are milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// The share of a cap that one lease is made of, in parts per million.
    pub fraction_ppm: u32,
    /// The least that a lease is made of, as long as so much is left.
    pub min: Usd,
    /// How often a node that is in no hurry reports.
    pub life: i64,
    /// What has not been used for so long is given back.
    pub idle_return: i64,
    /// A node that was not heard of for so long spends nothing that is not reserved.
    pub dead_after: i64,
    /// After so long, on top of `dead_after`, what a silent node held is written off.
    pub write_off: i64,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self {
            fraction_ppm: 50_000,
            min: Usd::from_nanos(1_000_000),
            life: 5_000,
            idle_return: 1_000,
            dead_after: 30_000,
            write_off: 600_000,
        }
    }
}

/// What the configuration says about budgets.
#[derive(Clone, Debug)]
pub struct BudgetSettings {
    /// What a request sets aside.
    pub reservation: ReservationMode,
    /// What happens when the authority is away.
    pub on_failure: OnFailure,
    /// Leases of mainline budgets.
    pub lease: LeaseSettings,
    /// Leases of model groups' budgets.
    pub model_group_lease: LeaseSettings,
    /// Whose calendar days, weeks and months follow.
    pub zone: TimeZone,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self {
            reservation: ReservationMode::default(),
            on_failure: OnFailure::default(),
            lease: LeaseSettings::default(),
            model_group_lease: LeaseSettings::default(),
            zone: TimeZone::UTC,
        }
    }
}

impl BudgetSettings {
    /// The settings of the leases of this budget.
    #[must_use]
    pub const fn lease_of(&self, budget: BudgetId) -> &LeaseSettings {
        match budget.scope {
            Scope::Mainline => &self.lease,
            Scope::ModelGroup(_) => &self.model_group_lease,
        }
    }
}

impl LeaseSettings {
    /// The usual size of a lease: the configured share of the smallest cap in force.
    #[must_use]
    pub fn slice(&self, policy: &Policy, now: i64) -> Usd {
        let cap = policy.windows.iter().map(|window| window.cap_at(now)).min().unwrap_or(Usd::ZERO);
        let share = i128::from(cap.nanos()) * i128::from(self.fraction_ppm) / 1_000_000;
        Usd::from_nanos(i64::try_from(share).unwrap_or(i64::MAX))
    }
}
