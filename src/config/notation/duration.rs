//! Durations: a whole number and a unit, such as `50ms`.

use std::time::Duration;

use schemars::{Schema, json_schema};
use serde_json::Value;

use super::{Notation, derive_from_notation, kind};

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", SECOND), ("m", 60 * SECOND), ("h", 3_600 * SECOND), ("d", DAY)];
const SECOND: u64 = 1_000;
const DAY: u64 = 86_400 * SECOND;

/// Far beyond any use, and small enough that adding it to an instant cannot overflow.
const LONGEST_DAYS: u64 = 36_500;

/// The notation of a [`Duration`].
pub struct DurationNotation;

derive_from_notation!(schema: DurationNotation);

impl Notation for DurationNotation {
    type Target = Duration;

    const NAME: &'static str = "Duration";

    fn definition() -> Schema {
        json_schema!({
            "description": "A whole number and a unit: ms, s, m, h or d. 0 needs no unit.",
            "type": ["string", "integer"],
            "pattern": "^(0|[0-9]+(ms|s|m|h|d))$",
            "minimum": 0,
            "maximum": 0,
            "examples": ["50ms", "5s", "10m", "1h", "30d", "0s"],
        })
    }

    fn read(value: &Value) -> Result<Duration, String> {
        match value {
            Value::String(text) => parse(text),
            Value::Number(number) if number.as_u64() == Some(0) => Ok(Duration::ZERO),
            Value::Number(number) if number.as_f64().is_some_and(|number| number < 0.0) => Err(negative()),
            Value::Number(_) => Err(no_unit()),
            other => Err(format!("is {}, not a duration: write one such as 500ms, 5s, 10m, 1h or 30d", kind(other))),
        }
    }

    fn write(target: &Duration) -> Value {
        let millis = u64::try_from(target.as_millis()).unwrap_or(u64::MAX);
        // Minutes only from five on, hours only from two on: `90s` and `120s` are how people write them.
        let (unit, size) = match millis {
            millis if millis % DAY == 0 && millis >= 2 * DAY => ("d", DAY),
            millis if millis % (3_600 * SECOND) == 0 && millis > 0 => ("h", 3_600 * SECOND),
            millis if millis % (60 * SECOND) == 0 && millis >= 300 * SECOND => ("m", 60 * SECOND),
            millis if millis % SECOND == 0 => ("s", SECOND),
            _ => ("ms", 1),
        };
        Value::String(format!("{}{unit}", millis / size))
    }
}

fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() && unit.starts_with('-') {
        return Err(negative());
    }
    if number.is_empty() {
        return Err("is not a duration: write one such as 500ms, 5s, 10m, 1h or 30d".to_owned());
    }
    if unit.starts_with('.') {
        return Err("is not a whole number: use a smaller unit, such as 1500ms for 1.5s".to_owned());
    }
    if unit.is_empty() {
        return if number.bytes().all(|digit| digit == b'0') { Ok(Duration::ZERO) } else { Err(no_unit()) };
    }
    let Some((_, millis)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err("has an unknown unit: the units are ms, s, m, h and d, and one value has one unit".to_owned());
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*millis))
        .filter(|millis| *millis <= LONGEST_DAYS * DAY)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("is too long: the longest duration is {LONGEST_DAYS}d"))
}

fn no_unit() -> String {
    "has no unit: write one behind the number, such as 500ms, 5s, 10m, 1h or 30d".to_owned()
}

fn negative() -> String {
    "is negative: a duration is 0 or more".to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<Duration, String> {
        DurationNotation::read(value)
    }

    #[test]
    fn every_unit_is_read() {
        for (text, millis) in [
            ("50ms", 50),
            ("5s", 5_000),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("30d", 2_592_000_000),
            ("0s", 0),
            ("0", 0),
            ("007s", 7_000),
            ("36500d", 3_153_600_000_000),
        ] {
            assert_eq!(read(&json!(text)), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(read(&json!(0)), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_no_duration_is_refused_with_its_reason() {
        for (value, reason) in [
            (json!(30), "has no unit"),
            (json!("30"), "has no unit"),
            (json!(1.5), "has no unit"),
            (json!(u64::MAX), "has no unit"),
            (json!(-5), "is negative"),
            (json!(-0.5), "is negative"),
            (json!("-5s"), "is negative"),
            (json!("1.5s"), "is not a whole number"),
            (json!("5 s"), "has an unknown unit"),
            (json!("5S"), "has an unknown unit"),
            (json!("5us"), "has an unknown unit"),
            (json!("1h30m"), "has an unknown unit"),
            (json!("5s "), "has an unknown unit"),
            (json!(""), "is not a duration"),
            (json!("s"), "is not a duration"),
            (json!("+5s"), "is not a duration"),
            (json!("٥s"), "is not a duration"),
            (json!("36501d"), "is too long"),
            (json!("18446744073709551615d"), "is too long"),
            (json!("18446744073709551616ms"), "is too long"),
            (json!("9".repeat(100_000) + "s"), "is too long"),
            (json!(null), "is empty"),
            (json!(true), "is true or false"),
            (json!(["5s"]), "is a list"),
            (json!({"s": 5}), "is a group"),
        ] {
            let error = read(&value).unwrap_err();
            assert!(error.starts_with(reason), "{value}: {error}");
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_reads_well() {
        for text in ["0s", "50ms", "5s", "60s", "90s", "120s", "10m", "1h", "24h", "30d", "1500ms"] {
            let duration = read(&json!(text)).unwrap();
            assert_eq!(DurationNotation::write(&duration), json!(text));
        }
    }
}
