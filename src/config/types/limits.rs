//! The most that may be spent in each window.

use jiff::civil::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::notation::{AmountNotation, As, TimeOfDayNotation};
use crate::money::Usd;

/// The most that may be spent in each window; a window that is left out is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// In five hours.
    #[serde(rename = "5h", skip_serializing_if = "Option::is_none")]
    pub five_hours: Option<FiveHourLimit>,
    /// In a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily: Option<DailyLimit>,
    /// In a week, from Monday.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weekly: Option<PlainLimit>,
    /// In a month, from its first day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly: Option<PlainLimit>,
    /// Ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<PlainLimit>,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How a window starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Reset {
    /// It moves along with the time.
    Rolling,
    /// All at once.
    Fixed,
}

/// The most that may be spent in five hours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FiveHourLimit {
    /// The cap, in USD.
    #[serde(with = "As::<AmountNotation>")]
    #[schemars(with = "AmountNotation")]
    pub usd: Usd,
    /// Fixed windows start with their first charge.
    #[serde(default = "rolling")]
    pub reset: Reset,
}

/// The most that may be spent in a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DailyLimit {
    /// The cap, in USD.
    #[serde(with = "As::<AmountNotation>")]
    #[schemars(with = "AmountNotation")]
    pub usd: Usd,
    /// Rolling is the last 24 hours.
    #[serde(default = "fixed")]
    pub reset: Reset,
    /// When a fixed day starts, `HH:MM` in `budgets.time_zone`.
    #[serde(default, with = "As::<TimeOfDayNotation>")]
    #[schemars(with = "TimeOfDayNotation")]
    pub at: Time,
}

/// The most that may be spent in a window that has no options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlainLimit {
    /// The cap, in USD.
    #[serde(with = "As::<AmountNotation>")]
    #[schemars(with = "AmountNotation")]
    pub usd: Usd,
}

const fn rolling() -> Reset {
    Reset::Rolling
}

const fn fixed() -> Reset {
    Reset::Fixed
}
