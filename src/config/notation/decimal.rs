//! Decimals that must be exact: read into an integer number of small units, never kept as a float.

use schemars::{Schema, json_schema};
use serde_json::Value;

use super::{Notation, derive_from_notation, kind};

const PPM_DECIMALS: u32 = 6;
const PPM: u32 = 1_000_000;
const LARGEST_MULTIPLIER: u32 = 1_000;

/// Up to here a float tells decimals of 1e-9 apart, so the shortest text of it is what the file said.
const EXACT_FLOAT: f64 = 4_194_304.0;

/// What a cost is multiplied by, in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Multiplier(u32);

impl Multiplier {
    /// The multiplier of this many parts per million.
    #[must_use]
    pub const fn from_ppm(ppm: u32) -> Self {
        Self(ppm)
    }

    /// The multiplier in parts per million: 1 000 000 changes nothing.
    #[must_use]
    pub const fn ppm(self) -> u32 {
        self.0
    }
}

impl Default for Multiplier {
    fn default() -> Self {
        Self(PPM)
    }
}

derive_from_notation!(all: Multiplier);

impl Notation for Multiplier {
    type Target = Self;

    const NAME: &'static str = "Multiplier";

    fn definition() -> Schema {
        json_schema!({
            "description": "A decimal with up to 6 decimals; kept exactly.",
            "type": ["number", "string"],
            "pattern": "^[0-9]+(\\.[0-9]+)?$",
            "minimum": 0,
            "maximum": LARGEST_MULTIPLIER,
            "examples": [1.0, 0.8, 1.25],
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        read_ppm(value, LARGEST_MULTIPLIER).map(Self)
    }

    fn write(target: &Self) -> Value {
        write_scaled(i64::from(target.0), PPM_DECIMALS)
    }
}

/// A share between nothing and all, in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio(u32);

impl Ratio {
    /// The ratio of this many parts per million; more than all is all.
    #[must_use]
    pub const fn from_ppm(ppm: u32) -> Self {
        Self(if ppm > PPM { PPM } else { ppm })
    }

    /// The ratio in parts per million: 1 000 000 is all.
    #[must_use]
    pub const fn ppm(self) -> u32 {
        self.0
    }
}

derive_from_notation!(all: Ratio);

impl Notation for Ratio {
    type Target = Self;

    const NAME: &'static str = "Ratio";

    fn definition() -> Schema {
        json_schema!({
            "description": "A share from 0 (nothing) to 1 (all) with up to 6 decimals; kept exactly.",
            "type": ["number", "string"],
            "pattern": "^[0-9]+(\\.[0-9]+)?$",
            "minimum": 0,
            "maximum": 1,
            "examples": [0.05, 0.2, 0.5],
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        read_ppm(value, 1).map(Self)
    }

    fn write(target: &Self) -> Value {
        write_scaled(i64::from(target.0), PPM_DECIMALS)
    }
}

fn read_ppm(value: &Value, largest: u32) -> Result<u32, String> {
    let ppm = read_scaled(value, PPM_DECIMALS)?;
    u32::try_from(ppm)
        .ok()
        .filter(|ppm| u64::from(*ppm) <= u64::from(largest) * u64::from(PPM))
        .ok_or_else(|| format!("is too large: write a number from 0 to {largest}"))
}

/// Reads a decimal as an integer of `10^-decimals`, exactly or not at all.
pub(super) fn read_scaled(value: &Value, decimals: u32) -> Result<i64, String> {
    match value {
        Value::String(text) => parse_scaled(text, decimals),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() != 0.0 && float.abs() >= EXACT_FLOAT => {
                Err("cannot be kept exactly: put it in quotes".to_owned())
            }
            // The standard library prints the shortest decimal that is this float, without an exponent.
            Some(float) if number.is_f64() => parse_scaled(&float.to_string(), decimals),
            _ => parse_scaled(&number.to_string(), decimals),
        },
        other => Err(format!("is {}, not a number", kind(other))),
    }
}

/// Writes an integer of `10^-decimals` as the decimal that it is.
pub(super) fn write_scaled(scaled: i64, decimals: u32) -> Value {
    let unit = 10_i64.pow(decimals);
    if scaled % unit == 0 {
        return Value::from(scaled / unit);
    }
    let width = decimals as usize;
    let text = format!("{}.{:0width$}", scaled / unit, scaled % unit);
    let text = text.trim_end_matches('0');
    let number = text.parse().ok().filter(|float: &f64| *float < EXACT_FLOAT).and_then(serde_json::Number::from_f64);
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

fn parse_scaled(text: &str, decimals: u32) -> Result<i64, String> {
    if text.starts_with('-') {
        return Err("is negative: write 0 or more".to_owned());
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return Err("is not a number: write one such as 1.25".to_owned());
    }
    let fraction = fraction.trim_end_matches('0');
    let missing = u32::try_from(fraction.len()).ok().and_then(|length| decimals.checked_sub(length));
    let Some(missing) = missing else {
        return Err(format!("is too fine: write at most {decimals} decimals"));
    };
    let whole = whole.parse::<i64>().ok().and_then(|whole| whole.checked_mul(10_i64.pow(decimals)));
    let fraction = if fraction.is_empty() { Some(0) } else { fraction.parse::<i64>().ok() };
    let fraction = fraction.and_then(|fraction| fraction.checked_mul(10_i64.pow(missing)));
    whole
        .zip(fraction)
        .and_then(|(whole, fraction)| whole.checked_add(fraction))
        .ok_or_else(|| "is too large".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_multiplier_is_exact() {
        for (value, ppm) in [
            (json!(1.0), 1_000_000),
            (json!(1), 1_000_000),
            (json!(1.1), 1_100_000),
            (json!(0.1), 100_000),
            (json!(0.000001), 1),
            (json!(1e-6), 1),
            (json!(0.7), 700_000),
            (json!(999.999999), 999_999_999),
            (json!(1000), 1_000_000_000),
            (json!("1.10"), 1_100_000),
            (json!("1.1000000000000"), 1_100_000),
            (json!(0), 0),
            (json!(-0.0), 0),
        ] {
            if value == json!(-0.0) {
                assert!(Multiplier::read(&value).unwrap_err().starts_with("is negative"));
                continue;
            }
            assert_eq!(Multiplier::read(&value), Ok(Multiplier(ppm)), "{value}");
        }
    }

    #[test]
    fn a_multiplier_that_cannot_be_kept_is_refused_with_its_reason() {
        for (value, reason) in [
            (json!(-1), "is negative"),
            (json!(-0.1), "is negative"),
            (json!("-1"), "is negative"),
            (json!(1000.000001), "is too large"),
            (json!(1001), "is too large"),
            (json!(u64::MAX), "is too large"),
            (json!(1e300), "is too large"),
            (json!("9".repeat(100_000)), "is too large"),
            (json!(0.0000001), "is too fine"),
            (json!(1.0000001), "is too fine"),
            (json!(f64::MIN_POSITIVE), "is too fine"),
            (json!("0.".to_owned() + &"1".repeat(100_000)), "is too fine"),
            (json!("1,5"), "is not a number"),
            (json!("1e3"), "is not a number"),
            (json!(".5"), "is not a number"),
            (json!("5."), "is not a number"),
            (json!(""), "is not a number"),
            (json!("1.-5"), "is not a number"),
            (json!("+1"), "is not a number"),
            (json!(null), "is empty"),
            (json!(true), "is true or false"),
        ] {
            let error = Multiplier::read(&value).unwrap_err();
            assert!(error.starts_with(reason), "{value}: {error}");
        }
    }

    #[test]
    fn a_ratio_is_at_most_all() {
        assert_eq!(Ratio::read(&json!(0.05)), Ok(Ratio(50_000)));
        assert_eq!(Ratio::read(&json!(1)), Ok(Ratio(1_000_000)));
        assert_eq!(Ratio::read(&json!(1.000001)).unwrap_err(), "is too large: write a number from 0 to 1");
        assert_eq!(Ratio::from_ppm(2_000_000).ppm(), 1_000_000);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for ppm in [0, 1, 50_000, 999_999, 1_000_000, 1_250_000, 1_000_000_000] {
            let multiplier = Multiplier(ppm);
            assert_eq!(Multiplier::read(&Multiplier::write(&multiplier)), Ok(multiplier), "{ppm}");
        }
    }
}
