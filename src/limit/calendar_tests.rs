#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use jiff::tz::AmbiguousOffset;
use proptest::prelude::*;

use super::*;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

const CALENDAR: [Window; 3] = [Window::Daily, Window::Weekly, Window::Monthly];

/// Whole hours, half an hour, at midnight, a minute after it, a day skipped, no daylight saving at all.
const ZONES: [&str; 12] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/Havana",
    "Asia/Beirut",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "Africa/Casablanca",
    "Asia/Kathmandu",
];

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

/// Milliseconds of a time with its offset, RFC 3339.
fn ms(time: &str) -> i64 {
    time.parse::<Timestamp>().unwrap_or_else(|error| panic!("{time}: {error}")).as_millisecond()
}

/// Whether `now` is in the span from one time to the other, and so are its ends.
#[track_caller]
fn assert_span(window: Window, at: &str, name: &str, now: &str, (start, end): (&str, &str)) {
    let (hour, minute) = at.split_once(':').unwrap();
    let at = hour.parse::<u16>().unwrap() * 60 + minute.parse::<u16>().unwrap();
    let expected = Span { start: ms(start), end: ms(end) };
    for now in [ms(now), expected.start, expected.end - 1] {
        let found = span(window, at, &zone(name), now).unwrap();
        let text = |ms| zone(name).to_datetime(Timestamp::from_millisecond(ms).unwrap()).to_string();
        assert_eq!(found, expected, "at {}: {} to {}", text(now), text(found.start), text(found.end));
    }
}

#[test]
fn a_day_with_a_gap_has_23_hours_and_one_with_a_fold_25() {
    let (spring, autumn) = ("2026-03-29T12:00:00+02:00", "2026-10-25T12:00:00+01:00");
    let day = ("2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00");
    assert_span(Window::Daily, "00:00", "Europe/Berlin", spring, day);
    assert_eq!(ms(day.1) - ms(day.0), 23 * HOUR);
    let day = ("2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00");
    assert_span(Window::Daily, "00:00", "Europe/Berlin", autumn, day);
    assert_eq!(ms(day.1) - ms(day.0), 25 * HOUR);

    let day = ("2026-03-08T00:00:00-05:00", "2026-03-09T00:00:00-04:00");
    assert_span(Window::Daily, "00:00", "America/New_York", "2026-03-08T03:00:00-04:00", day);
    let day = ("2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00");
    assert_span(Window::Daily, "00:00", "America/New_York", "2026-11-01T01:30:00-05:00", day);
}

#[test]
fn lord_howe_sets_its_clocks_by_half_an_hour() {
    let day = ("2026-10-04T00:00:00+10:30", "2026-10-05T00:00:00+11:00");
    assert_span(Window::Daily, "00:00", "Australia/Lord_Howe", "2026-10-04T12:00:00+11:00", day);
    assert_eq!(ms(day.1) - ms(day.0), 23 * HOUR + 30 * MINUTE);
    // 02:00 to 02:30 do not exist: 02:15 comes half an hour later.
    let day = ("2026-10-04T02:45:00+11:00", "2026-10-05T02:15:00+11:00");
    assert_span(Window::Daily, "02:15", "Australia/Lord_Howe", "2026-10-04T12:00:00+11:00", day);
}

#[test]
fn a_day_that_starts_in_a_gap_starts_as_much_later_as_the_clocks_skip() {
    let before = ("2026-03-28T02:30:00+01:00", "2026-03-29T03:30:00+02:00");
    assert_span(Window::Daily, "02:30", "Europe/Berlin", "2026-03-29T03:10:00+02:00", before);
    let after = ("2026-03-29T03:30:00+02:00", "2026-03-30T02:30:00+02:00");
    assert_span(Window::Daily, "02:30", "Europe/Berlin", "2026-03-29T03:30:00+02:00", after);
}

#[test]
fn a_day_that_starts_in_a_fold_starts_when_its_time_first_comes() {
    let day = ("2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00");
    for now in ["2026-10-25T02:45:00+02:00", "2026-10-25T02:10:00+01:00", "2026-10-25T02:40:00+01:00"] {
        assert_span(Window::Daily, "02:30", "Europe/Berlin", now, day);
    }
}

#[test]
fn a_day_without_a_midnight_starts_with_its_first_hour() {
    // 2018-11-04 began at 01:00.
    let day = ("2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00");
    assert_span(Window::Daily, "00:00", "America/Sao_Paulo", "2018-11-04T01:30:00-02:00", day);
    let before = ("2018-11-03T00:00:00-03:00", "2018-11-04T01:00:00-02:00");
    assert_span(Window::Daily, "00:00", "America/Sao_Paulo", "2018-11-03T23:59:59-03:00", before);
}

#[test]
fn an_evening_that_comes_twice_belongs_to_one_day() {
    // At midnight back to 23:00: the Saturday has 25 hours.
    let day = ("2018-02-17T00:00:00-02:00", "2018-02-18T00:00:00-03:00");
    for now in ["2018-02-17T23:30:00-02:00", "2018-02-17T23:30:00-03:00"] {
        assert_span(Window::Daily, "00:00", "America/Sao_Paulo", now, day);
    }
}

#[test]
fn clocks_set_back_over_a_midnight_that_was_do_not_bring_yesterday_back() {
    // At 00:01 on Sunday 2009-11-01 back to 23:01 on Saturday: the new day and month had begun.
    let again = "2009-10-31T23:30:00-03:30";
    let start = "2009-11-01T00:00:00-02:30";
    assert!(ms(again) > ms(start));
    assert_span(Window::Daily, "00:00", "America/St_Johns", again, (start, "2009-11-02T00:00:00-03:30"));
    assert_span(Window::Monthly, "00:00", "America/St_Johns", again, (start, "2009-12-01T00:00:00-03:30"));
}

#[test]
fn a_date_that_was_skipped_is_no_day_of_its_own() {
    // Samoa went from Thursday 2011-12-29 to Saturday 2011-12-31.
    let (thursday, saturday) = ("2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00");
    assert_eq!(ms(saturday) - ms(thursday), 24 * HOUR);
    assert_span(Window::Daily, "00:00", "Pacific/Apia", "2011-12-29T12:00:00-10:00", (thursday, saturday));
    let next = (saturday, "2012-01-01T00:00:00+14:00");
    assert_span(Window::Daily, "00:00", "Pacific/Apia", "2011-12-31T12:00:00+14:00", next);
    // On Saturday before ten, neither Saturday's nor the skipped Friday's day has begun.
    let thursday = ("2011-12-29T10:00:00-10:00", "2011-12-31T10:00:00+14:00");
    assert_span(Window::Daily, "10:00", "Pacific/Apia", "2011-12-31T05:00:00+14:00", thursday);
    let week = ("2011-12-26T00:00:00-10:00", "2012-01-02T00:00:00+14:00");
    assert_span(Window::Weekly, "00:00", "Pacific/Apia", "2011-12-31T05:00:00+14:00", week);
}

#[test]
fn before_its_start_it_is_still_the_day_before() {
    let day = ("2026-05-31T06:30:00Z", "2026-06-01T06:30:00Z");
    assert_span(Window::Daily, "06:30", "UTC", "2026-06-01T06:29:59.999Z", day);
    let next = ("2026-06-01T06:30:00Z", "2026-06-02T06:30:00Z");
    assert_span(Window::Daily, "06:30", "UTC", "2026-06-01T06:30:00Z", next);
}

#[test]
fn months_have_28_to_31_days_and_weeks_begin_on_monday() {
    for (now, start, end, days) in [
        ("2026-02-28T23:59:59.999Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z", 28),
        ("2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z", 29),
        ("2000-02-29T12:00:00Z", "2000-02-01T00:00:00Z", "2000-03-01T00:00:00Z", 29),
        ("2100-02-28T12:00:00Z", "2100-02-01T00:00:00Z", "2100-03-01T00:00:00Z", 28),
        ("2026-04-30T12:00:00Z", "2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z", 30),
        ("2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z", 31),
    ] {
        assert_span(Window::Monthly, "00:00", "UTC", now, (start, end));
        assert_eq!(ms(end) - ms(start), days * 24 * HOUR);
    }
    // Over the turn of the year, and over a leap day.
    let week = ("2025-12-29T00:00:00Z", "2026-01-05T00:00:00Z");
    assert_span(Window::Weekly, "00:00", "UTC", "2026-01-01T00:00:00Z", week);
    let week = ("2028-02-28T00:00:00Z", "2028-03-06T00:00:00Z");
    assert_span(Window::Weekly, "00:00", "UTC", "2028-02-29T00:00:00Z", week);
    // The clocks are set on a Sunday, within the week.
    let week = ("2026-03-23T00:00:00+01:00", "2026-03-30T00:00:00+02:00");
    assert_span(Window::Weekly, "00:00", "Europe/Berlin", "2026-03-29T23:59:59+02:00", week);
}

#[test]
fn a_start_is_the_days_alone() {
    let zone = zone("Europe/Berlin");
    let now = ms("2026-06-10T12:00:00Z");
    for window in [Window::Weekly, Window::Monthly] {
        assert_eq!(span(window, 300, &zone, now), span(window, 0, &zone, now));
    }
    for window in [Window::Total, Window::FiveHours] {
        assert_eq!(span(window, 0, &zone, now), None);
    }
}

#[test]
fn what_is_no_time_has_no_span() {
    let zone = zone("UTC");
    assert_eq!(span(Window::Daily, 24 * 60, &zone, 0), None);
    for now in [i64::MIN, i64::MAX] {
        assert_eq!(span(Window::Daily, 0, &zone, now), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn spans_tile_the_time_line(
        zone in prop::sample::select(ZONES.to_vec()),
        window in prop::sample::select(CALENDAR.to_vec()),
        at in 0_u16..1440,
        now in ms("1980-01-01T00:00:00Z")..ms("2060-01-01T00:00:00Z"),
    ) {
        tiles(zone, window, at, now)?;
    }

    /// Around each moment at which the clocks were set, where random times seldom fall.
    #[test]
    fn spans_tile_the_time_line_where_the_clocks_are_set(
        name in prop::sample::select(ZONES.to_vec()),
        window in prop::sample::select(CALENDAR.to_vec()),
        at in prop_oneof![Just(0_u16), 0_u16..181, 1380_u16..1440],
        near in ms("1980-01-01T00:00:00Z")..ms("2060-01-01T00:00:00Z"),
        off in -26 * HOUR..26 * HOUR,
    ) {
        let near = Timestamp::from_millisecond(near).unwrap();
        if let Some(set) = zone(name).preceding(near).next() {
            tiles(name, window, at, set.timestamp().as_millisecond() + off)?;
        }
    }
}

fn tiles(name: &str, window: Window, at: u16, now: i64) -> Result<(), TestCaseError> {
    let zone = zone(name);
    let mut current = span(window, at, &zone, now).unwrap();
    prop_assert!(current.start <= now && now < current.end, "{now} in {current:?}");
    let before = span(window, at, &zone, current.start - 1).unwrap();
    prop_assert_eq!(before.end, current.start);
    for _ in 0..4 {
        for inside in [current.start, current.start + (current.end - current.start) / 2, current.end - 1] {
            prop_assert_eq!(span(window, at, &zone, inside), Some(current));
        }
        let next = span(window, at, &zone, current.end).unwrap();
        prop_assert_eq!(next.start, current.end);
        let start = zone.to_datetime(Timestamp::from_millisecond(next.start).unwrap());
        let wanted = if window == Window::Daily { at } else { 0 };
        let minute = u16::try_from(start.hour()).unwrap() * 60 + u16::try_from(start.minute()).unwrap();
        let skipped = span_starts_in_a_gap(&zone, start, wanted);
        prop_assert!(minute == wanted || skipped, "{start} is not {wanted} minutes after midnight");
        match window {
            Window::Weekly => prop_assert!(start.weekday().to_monday_zero_offset() == 0 || skipped),
            Window::Monthly => prop_assert!(start.day() == 1 || skipped),
            _ => {}
        }
        current = next;
    }
    Ok(())
}

/// Whether the wanted time does not exist on the date of `start`, or on the date before it.
fn span_starts_in_a_gap(zone: &TimeZone, start: jiff::civil::DateTime, wanted: u16) -> bool {
    let time = Time::new(i8::try_from(wanted / 60).unwrap(), i8::try_from(wanted % 60).unwrap(), 0, 0).unwrap();
    [start.date(), start.date().yesterday().unwrap()]
        .into_iter()
        .any(|date| matches!(zone.to_ambiguous_timestamp(date.to_datetime(time)).offset(), AmbiguousOffset::Gap { .. }))
}
