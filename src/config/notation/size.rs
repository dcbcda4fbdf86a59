//! Sizes: a whole number of bytes, or one with a unit, such as `32MiB`.

use schemars::{Schema, json_schema};
use serde_json::Value;

use super::{Notation, derive_from_notation, kind};

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Fits every integer type that a size is compared with, on disk or in a database.
const LARGEST: u64 = i64::MAX as u64;

/// The notation of a number of bytes.
pub struct SizeNotation;

derive_from_notation!(schema: SizeNotation);

impl Notation for SizeNotation {
    type Target = u64;

    const NAME: &'static str = "Size";

    fn definition() -> Schema {
        json_schema!({
            "description": "A whole number of bytes, or one with a unit: B, KB, MB, GB, TB (powers of 1000), \
                            KiB, MiB, GiB, TiB (powers of 1024).",
            "type": ["string", "integer"],
            "pattern": "^[0-9]+(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?$",
            "minimum": 0,
            "examples": ["64KiB", "32MiB", "1GiB", "10MB", 65536],
        })
    }

    fn read(value: &Value) -> Result<u64, String> {
        match value {
            Value::String(text) => parse(text),
            Value::Number(number) => match number.as_u64() {
                Some(bytes) if bytes <= LARGEST => Ok(bytes),
                Some(_) => Err(too_large()),
                None if number.as_f64().is_some_and(|number| number < 0.0) => Err(negative()),
                None => Err(fraction()),
            },
            other => Err(format!("is {}, not a size: write one such as 64KiB, 32MiB or 1GiB", kind(other))),
        }
    }

    fn write(target: &u64) -> Value {
        let unit = UNITS.iter().find(|(name, size)| *name != "B" && *target > 0 && target.is_multiple_of(*size));
        match unit {
            Some((name, size)) => Value::String(format!("{}{name}", target / size)),
            None => Value::from(*target),
        }
    }
}

fn parse(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() && unit.starts_with('-') {
        return Err(negative());
    }
    if number.is_empty() {
        return Err("is not a size: write one such as 64KiB, 32MiB or 1GiB".to_owned());
    }
    if unit.starts_with('.') {
        return Err(fraction());
    }
    let size = if unit.is_empty() { Some(1) } else { find(unit) };
    let Some(size) = size else {
        return Err("has an unknown unit: the units are B, KB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB \
                    (powers of 1024)"
            .to_owned());
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(size))
        .filter(|bytes| *bytes <= LARGEST)
        .ok_or_else(too_large)
}

fn find(unit: &str) -> Option<u64> {
    UNITS.iter().find(|(name, _)| *name == unit).map(|(_, size)| *size)
}

fn too_large() -> String {
    format!("is too large: the largest size is {LARGEST} bytes")
}

fn negative() -> String {
    "is negative: a size is 0 or more".to_owned()
}

fn fraction() -> String {
    "is not a whole number: use a smaller unit, such as 1536KiB for 1.5MiB".to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (value, bytes) in [
            (json!("32MiB"), 33_554_432),
            (json!("64KiB"), 65_536),
            (json!("1GiB"), 1_073_741_824),
            (json!("2TiB"), 2_199_023_255_552),
            (json!("10MB"), 10_000_000),
            (json!("3KB"), 3_000),
            (json!("1GB"), 1_000_000_000),
            (json!("1TB"), 1_000_000_000_000),
            (json!("7B"), 7),
            (json!("7"), 7),
            (json!(7), 7),
            (json!(0), 0),
            (json!(i64::MAX), LARGEST),
            (json!("9223372036854775807"), LARGEST),
        ] {
            assert_eq!(SizeNotation::read(&value), Ok(bytes), "{value}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_its_reason() {
        for (value, reason) in [
            (json!(-1), "is negative"),
            (json!("-1"), "is negative"),
            (json!("-1MiB"), "is negative"),
            (json!(-1.5), "is negative"),
            (json!(1.5), "is not a whole number"),
            (json!("1.5MiB"), "is not a whole number"),
            (json!("32 MiB"), "has an unknown unit"),
            (json!("32mib"), "has an unknown unit"),
            (json!("32M"), "has an unknown unit"),
            (json!("0x10"), "has an unknown unit"),
            (json!("1_000"), "has an unknown unit"),
            (json!(""), "is not a size"),
            (json!("MiB"), "is not a size"),
            (json!(u64::MAX), "is too large"),
            (json!("18446744073709551616"), "is too large"),
            (json!("8388608TiB"), "is too large"),
            (json!("18446744073709551615TiB"), "is too large"),
            (json!("9".repeat(100_000)), "is too large"),
            (json!(null), "is empty"),
            (json!([]), "is a list"),
        ] {
            let error = SizeNotation::read(&value).unwrap_err();
            assert!(error.starts_with(reason), "{value}: {error}");
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_reads_well() {
        for value in [json!("32MiB"), json!("64KiB"), json!("1GiB"), json!("10MB"), json!(1_001), json!(0)] {
            let bytes = SizeNotation::read(&value).unwrap();
            assert_eq!(SizeNotation::write(&bytes), value);
        }
    }
}
