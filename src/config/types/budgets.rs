//! How budgets are held: reservation, leases, and what happens without the authority.

use std::time::Duration;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::notation::{AmountNotation, As, DurationNotation, Ratio, TimeZoneNotation};
use crate::money::Usd;

/// How budgets are held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budgets {
    /// Whether limits on model groups apply. The environment variable ENABLE_MODEL_RATE_LIMIT wins when set.
    pub model_group_limits: bool,
    /// Whether requests pass while budgets cannot be asked. The environment variable MODEL_RATE_LIMIT_FAIL_OPEN
    /// (true or false) wins when set.
    pub on_authority_failure: OnAuthorityFailure,
    /// What a request sets aside before it is sent.
    pub reservation: ReservationMode,
    /// The IANA time zone in which days, weeks and months begin.
    #[serde(with = "As::<TimeZoneNotation>")]
    #[schemars(with = "TimeZoneNotation")]
    pub time_zone: TimeZone,
    /// Output tokens that `worst_case` assumes when neither the request nor the price book bounds them.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub default_max_output_tokens: u64,
    /// How much of a budget a node holds, and for how long.
    pub lease: Lease,
    /// The same for the budgets of model groups; what is left out is inherited from `lease`.
    pub model_group_lease: LeaseOverrides,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            model_group_limits: true,
            on_authority_failure: OnAuthorityFailure::default(),
            reservation: ReservationMode::default(),
            time_zone: TimeZone::UTC,
            default_max_output_tokens: 32_768,
            lease: Lease::default(),
            model_group_lease: LeaseOverrides::default(),
        }
    }
}

impl Budgets {
    /// The lease of model-group budgets, with what was left out taken from `lease`.
    #[must_use]
    pub fn effective_model_group_lease(&self) -> Lease {
        let (base, own) = (&self.lease, &self.model_group_lease);
        Lease {
            fraction: own.fraction.unwrap_or(base.fraction),
            min: own.min.unwrap_or(base.min),
            life: own.life.unwrap_or(base.life),
            idle_return: own.idle_return.unwrap_or(base.idle_return),
            dead_after: own.dead_after.unwrap_or(base.dead_after),
            write_off: own.write_off.unwrap_or(base.write_off),
        }
    }
}

/// Whether requests pass while budgets cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum OnAuthorityFailure {
    /// They pass, within what this node knows.
    #[default]
    Open,
    /// They are refused.
    Closed,
}

/// What a request sets aside before it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ReservationMode {
    /// Nothing: it passes while anything is left.
    None,
    /// What such requests usually cost.
    #[default]
    Expected,
    /// The most it can cost: spend never passes a cap.
    WorstCase,
}

/// How much of a budget a node holds, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Lease {
    /// The share of a cap that a node asks for at once.
    pub fraction: Ratio,
    /// The least that a node asks for at once, in USD.
    #[serde(with = "As::<AmountNotation>")]
    #[schemars(with = "AmountNotation")]
    pub min: Usd,
    /// How long a lease lives without an exchange.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub life: Duration,
    /// When what is not used is given back.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub idle_return: Duration,
    /// When a silent node counts as dead.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub dead_after: Duration,
    /// When what a dead node held is written off.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub write_off: Duration,
}

impl Lease {
    /// A node stops spending so long before others may think it dead.
    pub const MARGIN: Duration = Duration::from_secs(2);
}

impl Default for Lease {
    fn default() -> Self {
        Self {
            fraction: Ratio::from_ppm(50_000),
            min: Usd::from_nanos(Usd::NANOS_PER_USD / 1_000),
            life: Duration::from_secs(5),
            idle_return: Duration::from_secs(1),
            dead_after: Duration::from_secs(30),
            write_off: Duration::from_secs(600),
        }
    }
}

/// The fields of a lease that differ for the budgets of model groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseOverrides {
    /// The share of a cap that a node asks for at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fraction: Option<Ratio>,
    /// The least that a node asks for at once, in USD.
    #[serde(with = "As::<Option<AmountNotation>>", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<AmountNotation>")]
    pub min: Option<Usd>,
    /// How long a lease lives without an exchange.
    #[serde(with = "As::<Option<DurationNotation>>", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationNotation>")]
    pub life: Option<Duration>,
    /// When what is not used is given back.
    #[serde(with = "As::<Option<DurationNotation>>", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationNotation>")]
    pub idle_return: Option<Duration>,
    /// When a silent node counts as dead.
    #[serde(with = "As::<Option<DurationNotation>>", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationNotation>")]
    pub dead_after: Option<Duration>,
    /// When what a dead node held is written off.
    #[serde(with = "As::<Option<DurationNotation>>", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationNotation>")]
    pub write_off: Option<Duration>,
}
