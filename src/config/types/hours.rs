//! Times of a week.

use jiff::civil::{Time, Weekday};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::notation::{As, TimeOfDayNotation};

/// Hours of some days of every week, in `budgets.time_zone`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// The days on which they begin. Left out: every day.
    #[serde(default = "Day::all")]
    #[schemars(length(min = 1))]
    pub days: Vec<Day>,
    /// When they begin.
    #[serde(with = "As::<TimeOfDayNotation>")]
    #[schemars(with = "TimeOfDayNotation")]
    pub from: Time,
    /// When they end: on the next day, if that is not later than `from`. `00:00` is midnight, the end of the day.
    #[serde(with = "As::<TimeOfDayNotation>")]
    #[schemars(with = "TimeOfDayNotation")]
    pub to: Time,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "they are what they are called")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    /// From Monday to Sunday.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun]
    }
}

impl From<Day> for Weekday {
    fn from(day: Day) -> Self {
        match day {
            Day::Mon => Self::Monday,
            Day::Tue => Self::Tuesday,
            Day::Wed => Self::Wednesday,
            Day::Thu => Self::Thursday,
            Day::Fri => Self::Friday,
            Day::Sat => Self::Saturday,
            Day::Sun => Self::Sunday,
        }
    }
}
