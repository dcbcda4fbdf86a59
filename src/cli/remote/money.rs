//! Limits and amounts of dollars: as arguments, and as the API shows them.

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tollgate::money::Usd;

/// The most that may be spent in each window.
#[derive(Args)]
pub struct NewLimits {
    /// USD in five hours.
    #[arg(long = "5h", value_name = "USD", help_heading = "Limits")]
    five_hours: Option<Usd>,
    /// How the five hours go on.
    #[arg(long = "5h-reset", value_name = "HOW", requires = "five_hours", help_heading = "Limits")]
    five_hours_reset: Option<Reset>,
    /// USD in a day.
    #[arg(long, value_name = "USD", help_heading = "Limits")]
    daily: Option<Usd>,
    /// How the day goes on.
    #[arg(long, value_name = "HOW", requires = "daily", help_heading = "Limits")]
    daily_reset: Option<Reset>,
    /// When the day starts, in the node's time zone.
    #[arg(long, value_name = "HH:MM", requires = "daily", help_heading = "Limits")]
    daily_at: Option<String>,
    /// USD in a week, from Monday.
    #[arg(long, value_name = "USD", help_heading = "Limits")]
    weekly: Option<Usd>,
    /// USD in a month, from its first day.
    #[arg(long, value_name = "USD", help_heading = "Limits")]
    monthly: Option<Usd>,
    /// USD ever.
    #[arg(long, value_name = "USD", help_heading = "Limits")]
    total: Option<Usd>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Reset {
    /// It moves along with the time.
    Rolling,
    /// It ends for all of it at once.
    Fixed,
}

impl NewLimits {
    /// As the API reads them.
    pub fn json(self) -> Value {
        let mut limits = Map::new();
        let windows = [
            ("5h", self.five_hours),
            ("daily", self.daily),
            ("weekly", self.weekly),
            ("monthly", self.monthly),
            ("total", self.total),
        ];
        for (window, usd) in windows {
            limits.extend(usd.map(|usd| (window.to_owned(), json!({"usd": amount(usd)}))));
        }
        let mut limits = Value::Object(limits);
        let word = |reset| if matches!(reset, Reset::Rolling) { "rolling" } else { "fixed" };
        for (path, value) in [
            ("/5h", self.five_hours_reset.map(|reset| ("reset", word(reset).to_owned()))),
            ("/daily", self.daily_reset.map(|reset| ("reset", word(reset).to_owned()))),
            ("/daily", self.daily_at.map(|at| ("at", at))),
        ] {
            if let (Some((name, value)), Some(window)) = (value, limits.pointer_mut(path)) {
                window[name] = json!(value);
            }
        }
        limits
    }
}

/// An amount as text, which is exact whatever reads it.
pub fn amount(usd: Usd) -> String {
    usd.to_string()
}

/// Limits as the API shows them.
#[derive(Deserialize)]
pub struct Limits {
    #[serde(rename = "5h")]
    five_hours: Option<Cap>,
    daily: Option<Cap>,
    weekly: Option<Cap>,
    monthly: Option<Cap>,
    total: Option<Cap>,
}

#[derive(Deserialize)]
struct Cap {
    /// As it was written: all of its digits.
    usd: Box<RawValue>,
    reset: Option<String>,
    at: Option<String>,
}

impl Limits {
    /// `5h 3, daily 10 at 06:00`: USD, with what is not the usual way.
    pub fn shown(&self) -> String {
        let windows = [
            ("5h", "rolling", &self.five_hours),
            ("daily", "fixed", &self.daily),
            ("weekly", "fixed", &self.weekly),
            ("monthly", "fixed", &self.monthly),
            ("total", "fixed", &self.total),
        ];
        let shown = windows.into_iter().filter_map(|(window, usual, cap)| {
            let Cap { usd, reset, at } = cap.as_ref()?;
            let reset = reset.as_deref().filter(|reset| *reset != usual).map(|reset| format!(" {reset}"));
            let at = at.as_deref().filter(|at| *at != "00:00").map(|at| format!(" at {at}"));
            Some(format!("{window} {}{}{}", usd.get(), reset.unwrap_or_default(), at.unwrap_or_default()))
        });
        let shown = shown.collect::<Vec<_>>();
        if shown.is_empty() { "-".to_owned() } else { shown.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn limits_are_shown_with_all_their_digits_and_what_is_unusual_about_them() {
        let limits: Limits = serde_json::from_str(
            r#"{"5h": {"usd": 3, "reset": "rolling"}, "daily": {"usd": 8999999.123456789, "reset": "fixed", "at": "06:00"},
                "total": {"usd": 0.000000001}}"#,
        )
        .unwrap();
        assert_eq!(limits.shown(), "5h 3, daily 8999999.123456789 at 06:00, total 0.000000001");
        let limits: Limits =
            serde_json::from_str(r#"{"5h": {"usd": 3, "reset": "fixed"}, "daily": {"usd": 1, "reset": "rolling"}}"#)
                .unwrap();
        assert_eq!(limits.shown(), "5h 3 fixed, daily 1 rolling");
        assert_eq!(serde_json::from_str::<Limits>("{}").unwrap().shown(), "-");
    }

    #[test]
    fn limits_are_sent_exactly() {
        let limits = NewLimits {
            five_hours: Some("3".parse().unwrap()),
            five_hours_reset: Some(Reset::Fixed),
            daily: Some("8999999.123456789".parse().unwrap()),
            daily_reset: None,
            daily_at: Some("06:00".to_owned()),
            weekly: None,
            monthly: None,
            total: None,
        };
        let expected = json!({
            "5h": {"usd": "3", "reset": "fixed"}, "daily": {"usd": "8999999.123456789", "at": "06:00"},
        });
        assert_eq!(limits.json(), expected);
    }
}
