//! The most that may be spent in each window.

use jiff::civil::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::notation::{AmountNotation, As, TimeOfDayNotation};
use crate::limit::{Mode, Window, WindowCap};
use crate::money::Usd;

const MINUTES_IN_AN_HOUR: u16 = 60;

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

/// In the order of [`Window::ALL`].
impl From<&Limits> for Vec<WindowCap> {
    fn from(limits: &Limits) -> Self {
        let caps = [
            limits.total.as_ref().map(|limit| (Window::Total, limit.usd, Mode::Forever)),
            limits.five_hours.as_ref().map(|limit| (Window::FiveHours, limit.usd, limit.mode())),
            limits.daily.as_ref().map(|limit| (Window::Daily, limit.usd, limit.mode())),
            limits.weekly.as_ref().map(|limit| (Window::Weekly, limit.usd, Mode::Calendar { at: 0 })),
            limits.monthly.as_ref().map(|limit| (Window::Monthly, limit.usd, Mode::Calendar { at: 0 })),
        ];
        caps.into_iter().flatten().map(|(window, usd, mode)| WindowCap { window, usd, mode }).collect()
    }
}

/// A cap that is not more than nothing counts as not set, and is left out.
impl From<&[WindowCap]> for Limits {
    fn from(caps: &[WindowCap]) -> Self {
        let mut limits = Self::default();
        for &WindowCap { window, usd, mode } in caps.iter().filter(|cap| cap.usd > Usd::ZERO) {
            let plain = Some(PlainLimit { usd });
            match window {
                Window::Total => limits.total = plain,
                Window::FiveHours => limits.five_hours = Some(FiveHourLimit { usd, reset: reset(mode) }),
                Window::Daily => limits.daily = Some(DailyLimit { usd, reset: reset(mode), at: start_of_day(mode) }),
                Window::Weekly => limits.weekly = plain,
                Window::Monthly => limits.monthly = plain,
                // No limits of money.
                Window::Minute | Window::AtOnce => {}
            }
        }
        limits
    }
}

impl FiveHourLimit {
    const fn mode(&self) -> Mode {
        match self.reset {
            Reset::Rolling => Mode::Rolling,
            Reset::Fixed => Mode::FromFirstCharge,
        }
    }
}

impl DailyLimit {
    fn mode(&self) -> Mode {
        match self.reset {
            Reset::Rolling => Mode::Rolling,
            Reset::Fixed => {
                let (hour, minute) = (self.at.hour().unsigned_abs(), self.at.minute().unsigned_abs());
                Mode::Calendar { at: u16::from(hour) * MINUTES_IN_AN_HOUR + u16::from(minute) }
            }
        }
    }
}

const fn reset(mode: Mode) -> Reset {
    match mode {
        Mode::Rolling => Reset::Rolling,
        Mode::FromFirstCharge | Mode::Calendar { .. } | Mode::Forever => Reset::Fixed,
    }
}

fn start_of_day(mode: Mode) -> Time {
    let Mode::Calendar { at } = mode else { return Time::midnight() };
    let (hour, minute) = (at / MINUTES_IN_AN_HOUR, at % MINUTES_IN_AN_HOUR);
    let time = i8::try_from(hour).ok().zip(i8::try_from(minute).ok());
    time.and_then(|(hour, minute)| Time::new(hour, minute, 0, 0).ok()).unwrap_or_else(Time::midnight)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;

    fn caps(limits: Value) -> Vec<WindowCap> {
        Vec::from(&serde_json::from_value::<Limits>(limits).unwrap())
    }

    #[test]
    fn limits_say_how_each_window_starts_anew() {
        let limits = json!({
            "monthly": {"usd": 5}, "weekly": {"usd": 4}, "daily": {"usd": 3, "at": "23:59"}, "5h": {"usd": 2},
            "total": {"usd": 1}
        });
        let midnight = Mode::Calendar { at: 0 };
        let expected = [
            (Window::Total, 1, Mode::Forever),
            (Window::FiveHours, 2, Mode::Rolling),
            (Window::Daily, 3, Mode::Calendar { at: 1439 }),
            (Window::Weekly, 4, midnight),
            (Window::Monthly, 5, midnight),
        ]
        .map(|(window, dollars, mode)| WindowCap {
            window,
            usd: Usd::from_nanos(dollars * Usd::NANOS_PER_USD),
            mode,
        });
        assert_eq!(caps(limits), expected);
        let fixed = caps(json!({"5h": {"usd": 1, "reset": "fixed"}, "daily": {"usd": 1, "reset": "rolling"}}));
        assert_eq!(fixed.iter().map(|cap| cap.mode).collect::<Vec<_>>(), [Mode::FromFirstCharge, Mode::Rolling]);
        assert_eq!(caps(json!({"daily": {"usd": 1}}))[0].mode, midnight);
        assert_eq!(caps(json!({})), []);
    }

    #[test]
    fn caps_come_back_as_the_limits_that_they_were() {
        for limits in [
            json!({}),
            json!({"5h": {"usd": 2, "reset": "fixed"}, "daily": {"usd": 3, "reset": "fixed", "at": "06:30"}}),
            json!({"5h": {"usd": 2, "reset": "rolling"}, "daily": {"usd": 3, "reset": "rolling"}}),
            json!({"weekly": {"usd": 0.5}, "monthly": {"usd": 7}, "total": {"usd": 9_000_000}}),
        ] {
            let limits: Limits = serde_json::from_value(limits).unwrap();
            assert_eq!(Limits::from(Vec::from(&limits).as_slice()), limits);
        }
    }

    #[test]
    fn a_cap_of_nothing_is_left_out_of_limits() {
        let zero = WindowCap { window: Window::Daily, usd: Usd::ZERO, mode: Mode::Rolling };
        assert!(Limits::from([zero].as_slice()).is_empty());
    }
}
