//! When a provider may be asked, as its schedule has it, by the clock on the wall.
//!
//! Where a clock is put forward, hours that would begin in the time that there is not begin after it; where it is put back,
//! what comes twice counts both times.

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

use crate::config::Hours;

/// Minutes of a day, and of a week.
const DAY: u32 = 24 * 60;
const WEEK: u32 = 7 * DAY;

/// How many days are looked at for the next hours: a whole week of them can be lost to a clock that is put forward.
const DAYS: i64 = 15;

/// Whether it is one of these hours, at this instant (Unix milliseconds).
#[must_use]
pub fn is_open(hours: &[Hours], zone: &TimeZone, now: i64) -> bool {
    shown(zone, now).is_some_and(|shown| is_shown_open(hours, shown))
}

/// When the next of them begin, Unix milliseconds.
#[must_use]
pub fn opens_at(hours: &[Hours], zone: &TimeZone, now: i64) -> Option<i64> {
    let today = shown(zone, now)?.date();
    let mut instants = Vec::new();
    for days in 0..DAYS {
        let date = today.checked_add(days.days()).ok()?;
        for hours in hours.iter().filter(|hours| hours.days.iter().any(|day| date.weekday() == (*day).into())) {
            let begin = zone.to_ambiguous_timestamp(date.to_datetime(hours.from));
            if matches!(begin.offset(), AmbiguousOffset::Fold { .. }) {
                instants.extend(begin.later());
            }
            instants.extend(begin.earlier());
        }
    }
    // They can also begin when the clock is changed.
    let last = instants.iter().max().copied();
    let changes = zone.following(Timestamp::from_millisecond(now).ok()?).map(|change| change.timestamp());
    instants.extend(changes.take_while(|at| Some(*at) <= last));
    let later = instants.iter().map(|at| at.as_millisecond()).filter(|at| *at > now && is_open(hours, zone, *at));
    later.min()
}

fn shown(zone: &TimeZone, now: i64) -> Option<DateTime> {
    Some(zone.to_datetime(Timestamp::from_millisecond(now).ok()?))
}

fn is_shown_open(hours: &[Hours], shown: DateTime) -> bool {
    let minute = of_week(shown.weekday(), shown.time());
    spans(hours).any(|(begin, length)| (minute + WEEK - begin) % WEEK < length)
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

    /// Whether it is open at this time (where there are two, the first), and when it next opens, as clocks there show it.
    fn told(schedule: &[Hours], zone: &str, time: &str) -> (bool, String) {
        let zone = TimeZone::get(zone).unwrap();
        let now = zone.to_ambiguous_timestamp(time.parse().unwrap()).compatible().unwrap().as_millisecond();
        let next = shown(&zone, opens_at(schedule, &zone, now).unwrap()).unwrap();
        (is_open(schedule, &zone, now), next.strftime("%a %H:%M").to_string())
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
        assert_eq!(told(&hours, "Europe/Berlin", "2026-03-28T20:00:00").1, "Sun 09:00");
    }

    /// In Berlin clocks go from 2:00 to 3:00 on 2026-03-29, and from 3:00 to 2:00 on 2026-10-25, both Sundays.
    #[test]
    fn a_clock_that_is_changed_keeps_nobody_out_for_longer() {
        let (berlin, every) = ("Europe/Berlin", Day::all());
        let within = [hours(&every, (2, 30), (6, 0))];
        assert_eq!(told(&within, berlin, "2026-03-29T01:00:00"), (false, "Sun 03:00".into()));
        assert!(told(&within, berlin, "2026-03-29T03:00:00").0);
        let lost = [hours(&[Day::Sun], (2, 0), (3, 0))];
        assert_eq!(told(&lost, berlin, "2026-03-29T01:00:00"), (false, "Sun 02:00".into()));
        let next = opens_at(&lost, &TimeZone::get(berlin).unwrap(), 1_774_742_400_000).unwrap();
        assert_eq!(next, 1_775_347_200_000, "a week later: it was lost");
        // 2:45 in summer time; what was over comes again.
        let twice = [hours(&every, (2, 30), (2, 40))];
        let zone = TimeZone::get(berlin).unwrap();
        let now = 1_792_889_100_000;
        assert_eq!(opens_at(&twice, &zone, now), Some(now + 45 * 60_000));
        assert!(!is_open(&twice, &zone, now) && is_open(&twice, &zone, now + 45 * 60_000));
    }
}
