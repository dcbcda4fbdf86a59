//! What the configuration says about budgets.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::config::{self, OnAuthorityFailure, ReservationMode};
use crate::limit::{BudgetId, Policy, Scope};
use crate::money::Usd;

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
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self::from(&config::Lease::default())
    }
}

/// What the configuration says about budgets.
#[derive(Clone, Debug)]
pub struct BudgetSettings {
    /// What a request sets aside.
    pub reservation: ReservationMode,
    /// What happens when the authority is away.
    pub on_failure: OnAuthorityFailure,
    /// Leases of mainline budgets.
    pub lease: LeaseSettings,
    /// Leases of model groups' budgets.
    pub model_group_lease: LeaseSettings,
    /// Whose calendar days, weeks and months follow.
    pub zone: TimeZone,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self::from(&config::Budgets::default())
    }
}

impl BudgetSettings {
    /// The settings of the leases of this budget.
    #[must_use]
    pub const fn lease_of(&self, budget: BudgetId) -> &LeaseSettings {
        match budget.scope {
            Scope::Mainline | Scope::Count(_) => &self.lease,
            Scope::ModelGroup(_) => &self.model_group_lease,
        }
    }
}

impl From<&config::Budgets> for BudgetSettings {
    fn from(said: &config::Budgets) -> Self {
        Self {
            reservation: said.reservation,
            on_failure: said.on_authority_failure,
            lease: LeaseSettings::from(&said.lease),
            model_group_lease: LeaseSettings::from(&said.effective_model_group_lease()),
            zone: said.time_zone.clone(),
        }
    }
}

impl From<&config::Lease> for LeaseSettings {
    fn from(said: &config::Lease) -> Self {
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Self {
            fraction_ppm: said.fraction.ppm(),
            min: said.min,
            life: ms(said.life),
            idle_return: ms(said.idle_return),
            dead_after: ms(said.dead_after),
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
