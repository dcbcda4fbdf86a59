//! When the windows of the calendar start and end.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::window::Window;

/// From `start` (included) to `end` (not included), Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First instant.
    pub start: i64,
    /// First instant of the next one.
    pub end: i64,
}

/// The day, week or month that `now` is in; days start `at` so many minutes after midnight. A start that the clocks
/// skip comes as much later as they skip; of one that comes twice the first counts. None for other windows, and beyond
/// the years that there is a calendar for.
#[must_use]
pub fn span(window: Window, at: u16, zone: &TimeZone, now: i64) -> Option<Span> {
    let today = zone.to_datetime(Timestamp::from_millisecond(now).ok()?).date();
    let (mut first, at) = match window {
        Window::Daily => (today, at),
        Window::Weekly => (monday(today)?, 0),
        Window::Monthly => (today.first_of_month(), 0),
        Window::Total | Window::FiveHours | Window::Minute | Window::AtOnce => return None,
    };
    let mut start = instant(first, at, zone)?;
    // It has not begun yet today, nor yesterday when yesterday was a date that the zone skipped.
    while start > now {
        first = step(window, first, -1)?;
        start = instant(first, at, zone)?;
    }
    let mut end = instant(step(window, first, 1)?, at, zone)?;
    // Clocks that are set back over midnight show yesterday's date again when the next one has begun already.
    while end <= now {
        first = step(window, first, 1)?;
        (start, end) = (end, instant(step(window, first, 1)?, at, zone)?);
    }
    Some(Span { start, end })
}

fn step(window: Window, date: Date, by: i64) -> Option<Date> {
    match window {
        Window::Weekly => date.checked_add((7 * by).days()),
        Window::Monthly => date.checked_add(by.months()),
        _ => date.checked_add(by.days()),
    }
    .ok()
}

fn monday(date: Date) -> Option<Date> {
    date.checked_sub(i64::from(date.weekday().to_monday_zero_offset()).days()).ok()
}

fn instant(date: Date, at: u16, zone: &TimeZone) -> Option<i64> {
    let time = Time::new(i8::try_from(at / 60).ok()?, i8::try_from(at % 60).ok()?, 0, 0).ok()?;
    // "Compatible" (RFC 5545): later in a gap, earlier in a fold.
    Some(zone.to_ambiguous_timestamp(date.to_datetime(time)).compatible().ok()?.as_millisecond())
}

#[cfg(test)]
#[path = "calendar_tests.rs"]
mod tests;
