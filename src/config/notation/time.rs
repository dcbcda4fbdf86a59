//! Times of day and time zones.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use schemars::{Schema, json_schema};
use serde_json::Value;

use super::{Notation, derive_from_notation, text};

/// The notation of a time of day, `HH:MM`.
pub struct TimeOfDayNotation;

derive_from_notation!(schema: TimeOfDayNotation);

impl Notation for TimeOfDayNotation {
    type Target = Time;

    const NAME: &'static str = "TimeOfDay";

    fn definition() -> Schema {
        json_schema!({
            "description": "A time of day, HH:MM.",
            "type": "string",
            "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$",
            "examples": ["00:00", "06:30"],
        })
    }

    fn read(value: &Value) -> Result<Time, String> {
        parse(text(value)?).ok_or_else(|| "is not a time of day: write it as \"HH:MM\", such as \"06:30\"".to_owned())
    }

    fn write(target: &Time) -> Value {
        Value::String(format!("{:02}:{:02}", target.hour(), target.minute()))
    }
}

fn parse(text: &str) -> Option<Time> {
    let number = |part: &str| part.bytes().all(|digit| digit.is_ascii_digit()).then(|| part.parse::<i8>().ok())?;
    let (hour, minute) = text.split_once(':')?;
    if hour.len() != 2 || minute.len() != 2 {
        return None;
    }
    Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}

/// The notation of an IANA time zone.
pub struct TimeZoneNotation;

derive_from_notation!(schema: TimeZoneNotation);

impl Notation for TimeZoneNotation {
    type Target = TimeZone;

    const NAME: &'static str = "TimeZone";

    fn definition() -> Schema {
        json_schema!({
            "description": "A name from the IANA time zone database.",
            "type": "string",
            "minLength": 1,
            "examples": ["UTC", "Europe/Berlin", "America/New_York"],
        })
    }

    fn read(value: &Value) -> Result<TimeZone, String> {
        let text = text(value)?;
        // Needs no time zone database.
        if text == "UTC" {
            return Ok(TimeZone::UTC);
        }
        TimeZone::get(text).map_err(|_| {
            "is not a known time zone: write a name of the IANA database, such as UTC or Europe/Berlin (if this is \
             one, the system lacks its tzdata package)"
                .to_owned()
        })
    }

    fn write(target: &TimeZone) -> Value {
        Value::from(target.iana_name().unwrap_or("UTC"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_of_day_is_hours_and_minutes() {
        assert_eq!(TimeOfDayNotation::read(&json!("06:30")), Ok(Time::constant(6, 30, 0, 0)));
        assert_eq!(TimeOfDayNotation::read(&json!("23:59")), Ok(Time::constant(23, 59, 0, 0)));
        assert_eq!(TimeOfDayNotation::write(&Time::constant(0, 5, 0, 0)), json!("00:05"));
        for value in [
            json!("24:00"),
            json!("12:60"),
            json!("6:30"),
            json!("06:30:00"),
            json!("+6:30"),
            json!(390),
            json!(""),
            json!("06"),
        ] {
            assert!(TimeOfDayNotation::read(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn a_time_zone_is_known_by_its_name() {
        assert_eq!(TimeZoneNotation::read(&json!("UTC")), Ok(TimeZone::UTC));
        let berlin = TimeZoneNotation::read(&json!("Europe/Berlin")).unwrap();
        assert_eq!(TimeZoneNotation::write(&berlin), json!("Europe/Berlin"));
        for value in [json!("Mars/Olympus"), json!(""), json!("+02:00"), json!("../etc/passwd"), json!(0)] {
            assert!(TimeZoneNotation::read(&value).is_err(), "{value}");
        }
    }
}
