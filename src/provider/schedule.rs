//! When a provider may be asked, as its schedule has it, by the clock on the wall.
//!
//! Where a clock is put forward, what would begin in the hour that there is not begins after it; where it is put back, the
//! hour that comes twice counts both times.

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::config::Hours;

/// Minutes of a day, and of a week.
const DAY: u32 = 24 * 60;
const WEEK: u32 = 7 * DAY;

/// A moment as the clock on the wall shows it.
#[derive(Clone, Debug)]
pub struct LocalTime<'z> {
    shown: DateTime,
    zone: &'z TimeZone,
}

impl<'z> LocalTime<'z> {
    /// The moment at this instant, Unix milliseconds, in this zone; none: there is no such instant.
    #[must_use]
    pub fn new(now: i64, zone: &'z TimeZone) -> Option<Self> {
        Some(Self { shown: zone.to_datetime(Timestamp::from_millisecond(now).ok()?), zone })
    }

    /// From Monday's midnight.
    fn minute(&self) -> u32 {
        of_week(self.shown.weekday(), self.shown.time())
    }

    /// The instant at which the clock will show so many minutes more, Unix milliseconds.
    fn in_minutes(&self, minutes: u32) -> Option<i64> {
        let shown = self.shown;
        let whole = shown.date().to_datetime(Time::constant(shown.hour(), shown.minute(), 0, 0));
        let then = whole.checked_add(i64::from(minutes).minutes()).ok()?;
        Some(self.zone.to_ambiguous_timestamp(then).compatible().ok()?.as_millisecond())
    }
}

/// Whether it is one of these hours; there are always some.
#[must_use]
pub fn is_open(hours: &[Hours], at: &LocalTime<'_>) -> bool {
    let minute = at.minute();
    spans(hours).any(|(begin, length)| (minute + WEEK - begin) % WEEK < length)
}

/// When the next of them begin, Unix milliseconds.
#[must_use]
pub fn opens_at(hours: &[Hours], at: &LocalTime<'_>) -> Option<i64> {
    let minute = at.minute();
    at.in_minutes(spans(hours).map(|(begin, _)| (begin + WEEK - minute) % WEEK).min()?)
}

/// The minute of the week at which each begins, and how many it lasts.
fn spans(hours: &[Hours]) -> impl Iterator<Item = (u32, u32)> {
    hours.iter().flat_map(|hours| {
        let (from, to) = (of_day(hours.from), of_day(hours.to));
        let length = if to > from { to - from } else { to + DAY - from };
        hours.days.iter().map(move |day| (of_week((*day).into(), hours.from), length))
    })
}

fn of_week(day: Weekday, time: Time) -> u32 {
    u32::try_from(day.to_monday_zero_offset()).unwrap_or(0) * DAY + of_day(time)
}

fn of_day(time: Time) -> u32 {
    u32::try_from(time.hour()).unwrap_or(0) * 60 + u32::try_from(time.minute()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::config::Day;

    fn hours(days: &[Day], from: (i8, i8), to: (i8, i8)) -> Hours {
        let time = |(hour, minute)| Time::constant(hour, minute, 0, 0);
        Hours { days: days.to_vec(), from: time(from), to: time(to) }
    }

    /// Whether it is open at this time, and when it next is, as a clock there shows it.
    fn told(schedule: &[Hours], zone: &str, time: &str) -> (bool, String) {
        let zone = TimeZone::get(zone).unwrap();
        let now = zone.to_ambiguous_timestamp(time.parse().unwrap()).compatible().unwrap();
        let at = LocalTime::new(now.as_millisecond(), &zone).unwrap();
        let next = zone.to_datetime(Timestamp::from_millisecond(opens_at(schedule, &at).unwrap()).unwrap());
        (is_open(schedule, &at), next.strftime("%a %H:%M").to_string())
    }

    #[test]
    fn a_day_begins_and_ends_on_the_minute() {
        // 2026-03-02 is a Monday.
        let office = [hours(&[Day::Mon, Day::Fri], (9, 0), (17, 30))];
        assert_eq!(told(&office, "UTC", "2026-03-02T08:59:59"), (false, "Mon 09:00".into()));
        assert!(told(&office, "UTC", "2026-03-02T09:00:00").0);
        assert!(told(&office, "UTC", "2026-03-02T17:29:59").0);
        assert_eq!(told(&office, "UTC", "2026-03-02T17:30:00"), (false, "Fri 09:00".into()));
        assert!(!told(&office, "UTC", "2026-03-03T12:00:00").0);
        assert_eq!(told(&office, "UTC", "2026-03-07T12:00:00"), (false, "Mon 09:00".into()));
    }

    #[test]
    fn a_night_goes_on_into_the_next_day_and_the_next_week() {
        let night = [hours(&[Day::Sun], (22, 0), (6, 0))];
        assert!(told(&night, "UTC", "2026-03-01T23:00:00").0);
        assert!(told(&night, "UTC", "2026-03-02T05:59:00").0, "Monday belongs to Sunday's night");
        assert!(!told(&night, "UTC", "2026-03-02T06:00:00").0);
        assert!(!told(&night, "UTC", "2026-03-01T05:00:00").0, "Saturday has none");
    }

    #[test]
    fn equal_times_are_a_whole_day_and_midnight_ends_one() {
        assert!(told(&[hours(&[Day::Mon], (8, 0), (8, 0))], "UTC", "2026-03-03T07:59:00").0);
        let evening = [hours(&[Day::Mon], (18, 0), (0, 0))];
        assert!(told(&evening, "UTC", "2026-03-02T23:59:00").0);
        assert!(!told(&evening, "UTC", "2026-03-03T00:00:00").0);
    }

    #[test]
    fn the_clock_on_the_wall_decides() {
        let hours = [hours(&Day::all(), (9, 0), (10, 0))];
        assert!(told(&hours, "Asia/Tokyo", "2026-03-02T09:30:00").0);
        assert!(!told(&hours, "Asia/Tokyo", "2026-03-02T18:30:00").0, "when it is 9:30 in London");
        // In Berlin clocks go from 2:00 to 3:00 on 2026-03-29.
        assert_eq!(told(&hours, "Europe/Berlin", "2026-03-28T20:00:00").1, "Sun 09:00");
    }
}
