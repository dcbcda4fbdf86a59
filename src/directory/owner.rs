//! What users and keys have to say about their budgets: limits over everything, and the eras that resets begin.

use std::collections::BTreeMap;

use entity::{keys, users};
use serde::de::IgnoredAny;

use crate::config::Limits;
use crate::limit::{Mode, Owner, Window, WindowCap};
use crate::money::Usd;

/// A user as an owner of budgets.
#[must_use]
pub fn of_user(user: &users::Model) -> Owner {
    Owner {
        id: user.id,
        mainline: caps(user.limits.as_deref()),
        era: user.era,
        since: since(user.since_eras.as_deref()),
        stamp: user.stamp,
    }
}

/// A key as an owner of budgets.
#[must_use]
pub fn of_key(key: &keys::Model) -> Owner {
    Owner {
        id: key.id,
        mainline: caps(key.limits.as_deref()),
        era: key.era,
        since: since(key.since_eras.as_deref()),
        stamp: key.stamp,
    }
}

/// What `era` and `since_eras` of a row become when one of its windows, or all, start anew.
#[must_use]
pub fn after_reset(era: i64, since_eras: Option<&str>, window: Option<Window>) -> (i64, String) {
    let mut eras = since(since_eras);
    let next = era.saturating_add(1);
    for (which, era) in Window::ALL.into_iter().zip(&mut eras) {
        if window.is_none_or(|window| window == which) {
            *era = next;
        }
    }
    let named: BTreeMap<&str, i64> = Window::ALL.map(Window::as_str).into_iter().zip(eras).collect();
    // Plain strings and numbers: this cannot fail.
    (next, serde_json::to_string(&named).unwrap_or_default())
}

/// A JSON object of limits; none: no limits. What cannot be read allows nothing, rather than everything.
fn caps(column: Option<&str>) -> Vec<WindowCap> {
    let Some(column) = column else { return Vec::new() };
    // An array would do for the library: an empty one is no limit, which nobody has meant.
    let object = serde_json::from_str::<Option<BTreeMap<String, IgnoredAny>>>(column);
    match object.and_then(|_| serde_json::from_str::<Option<Limits>>(column)) {
        Ok(limits) => limits.as_ref().map(Vec::from).unwrap_or_default(),
        Err(error) => {
            tracing::warn!(%error, "limits in the database cannot be read; they allow nothing");
            vec![WindowCap { window: Window::Total, usd: Usd::from_nanos(1), mode: Mode::Forever }]
        }
    }
}

/// The eras that windows count from, in the order of [`Window::ALL`].
fn since(column: Option<&str>) -> [i64; 5] {
    let Some(column) = column else { return [0; 5] };
    let named: BTreeMap<String, i64> = serde_json::from_str(column).unwrap_or_else(|error| {
        tracing::warn!(%error, "eras in the database cannot be read; everything ever spent counts");
        BTreeMap::new()
    });
    Window::ALL.map(|window| named.get(window.as_str()).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::test_support::{key_row, user_row};

    #[test]
    fn limits_are_those_of_the_api() {
        let limits = r#"{"5h": {"usd": 1.5, "reset": "fixed"}, "daily": {"usd": 2, "at": "06:30"}}"#;
        let user = users::Model { limits: Some(limits.to_owned()), era: 3, stamp: 7, ..user_row(1) };
        let cap = |window, nanos, mode| WindowCap { window, usd: Usd::from_nanos(nanos), mode };
        let expected = Owner {
            id: 1,
            mainline: vec![
                cap(Window::FiveHours, 1_500_000_000, Mode::FromFirstCharge),
                cap(Window::Daily, 2_000_000_000, Mode::Calendar { at: 390 }),
            ],
            era: 3,
            since: [0; 5],
            stamp: 7,
        };
        assert_eq!(of_user(&user), expected);
        assert_eq!(of_key(&keys::Model { limits: Some("null".to_owned()), ..key_row(1, 2) }).mainline, []);
    }

    #[test]
    fn limits_that_cannot_be_read_allow_nothing() {
        for limits in ["", "5", "[]", r#"{"daily": {"usd": -1}}"#, r#"{"hourly": {"usd": 1}}"#] {
            let owner = of_key(&keys::Model { limits: Some(limits.to_owned()), ..key_row(1, 2) });
            let cap = WindowCap { window: Window::Total, usd: Usd::from_nanos(1), mode: Mode::Forever };
            assert_eq!(owner.mainline, [cap], "{limits}");
        }
    }

    #[test]
    fn a_reset_begins_an_era_for_one_window_or_for_all() {
        let (era, one) = after_reset(4, None, Some(Window::Daily));
        assert_eq!((era, since(Some(&one))), (5, [0, 0, 5, 0, 0]));
        let (era, all) = after_reset(era, Some(&one), None);
        assert_eq!((era, since(Some(&all))), (6, [6; 5]));
        let (_, another) = after_reset(6, Some(&all), Some(Window::Total));
        assert_eq!(since(Some(&another)), [7, 6, 6, 6, 6]);
    }
}
