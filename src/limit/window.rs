//! The windows of a cap, and how each starts anew.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A span of time over which spend is summed. In the order in which refusals name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Window {
    /// Since the beginning.
    #[serde(rename = "total")]
    Total,
    /// Five hours.
    #[serde(rename = "5h")]
    FiveHours,
    /// A day.
    #[serde(rename = "daily")]
    Daily,
    /// A week, from Monday.
    #[serde(rename = "weekly")]
    Weekly,
    /// A month, from day 1.
    #[serde(rename = "monthly")]
    Monthly,
    /// The last sixty seconds. Of requests, never of money.
    #[serde(rename = "rpm", skip_deserializing)]
    Minute,
    /// Now: nothing is ever spent in it, only set aside. Of requests, never of money.
    #[serde(rename = "concurrency", skip_deserializing)]
    AtOnce,
}

impl Window {
    /// Those of money, in the order in which refusals name them.
    pub const ALL: [Self; 5] = [Self::Total, Self::FiveHours, Self::Daily, Self::Weekly, Self::Monthly];

    /// The name in configuration, answers and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::FiveHours => "5h",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Minute => "rpm",
            Self::AtOnce => "concurrency",
        }
    }

    /// Whether requests are counted in it, not money.
    #[must_use]
    pub const fn is_count(self) -> bool {
        matches!(self, Self::Minute | Self::AtOnce)
    }

    /// The window of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.as_str() == name)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a window starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It moves along: the last 5 hours in slots of a minute, the last 24 hours in slots of five, the last minute in
    /// slots of a second.
    Rolling,
    /// 5h only: five hours from the minute of the first charge after the previous window ended.
    FromFirstCharge,
    /// By the calendar of the configured time zone. A day starts so many minutes after midnight; weeks and months
    /// start at midnight (0).
    Calendar {
        /// Minutes after midnight.
        at: u16,
    },
    /// `total`, and what happens at once.
    Forever,
}
