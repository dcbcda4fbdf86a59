//! Caps with the bounds of their calendar windows.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::protocol::{Bounds, Terms};
use crate::limit::{Mode, Policy, WindowPolicy, span};

/// The policy with the windows of the calendar that `now` is in.
pub fn of(policy: Arc<Policy>, zone: &TimeZone, now: i64) -> Terms {
    let bounds = policy.windows.iter().map(|window| bounds(window, zone, now)).collect();
    Terms { policy, bounds }
}

/// Whether a window of the calendar has ended, or was not worked out yet.
pub fn is_over(terms: &Terms, now: i64) -> bool {
    terms.bounds.len() != terms.policy.windows.len()
        || terms.bounds.iter().flatten().any(|bounds| bounds.end <= now || now < bounds.start)
}

fn bounds(policy: &WindowPolicy, zone: &TimeZone, now: i64) -> Option<Bounds> {
    let Mode::Calendar { at } = policy.mode else { return None };
    let this = span(policy.window, at, zone, now)?;
    let next = span(policy.window, at, zone, this.end)?;
    Some(Bounds { start: this.start, end: this.end, next_end: next.end })
}
