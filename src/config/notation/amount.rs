//! Amounts of money: US dollars with up to nine decimals.

use schemars::{Schema, json_schema};
use serde_json::Value;

use super::decimal::{read_scaled, write_scaled};
use super::{Notation, derive_from_notation};
use crate::money::Usd;

const DECIMALS: u32 = 9;

/// What the authority's integers can add up without losing a nano-dollar.
const LARGEST_USD: i64 = 9_000_000;

/// The notation of an amount of [`Usd`] above nothing.
pub struct AmountNotation;

derive_from_notation!(schema: AmountNotation);

impl Notation for AmountNotation {
    type Target = Usd;

    const NAME: &'static str = "Amount";

    fn definition() -> Schema {
        json_schema!({
            "description": "US dollars, more than 0, at most 9000000, with up to 9 decimals; kept exactly.",
            "type": ["number", "string"],
            "pattern": "^[0-9]+(\\.[0-9]+)?$",
            "exclusiveMinimum": 0,
            "maximum": LARGEST_USD,
            "examples": [100, 0.5, "12.000000001"],
        })
    }

    fn read(value: &Value) -> Result<Usd, String> {
        let nanos = read_scaled(value, DECIMALS)?;
        if nanos == 0 {
            return Err("is nothing: an amount is more than 0 (to set no limit, leave the setting out)".to_owned());
        }
        if nanos > LARGEST_USD * Usd::NANOS_PER_USD {
            return Err(format!(
                "is too large: budgets are exact up to {LARGEST_USD} USD (for no limit, leave it out)"
            ));
        }
        Ok(Usd::from_nanos(nanos))
    }

    fn write(target: &Usd) -> Value {
        write_scaled(target.nanos(), DECIMALS)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn an_amount_is_exact_to_the_nano_dollar() {
        for (value, nanos) in [
            (json!(100), 100_000_000_000),
            (json!(0.001), 1_000_000),
            (json!(1e-9), 1),
            (json!(0.1), 100_000_000),
            (json!(4_194_303.999_999_999), 4_194_303_999_999_999),
            (json!(9_000_000), 9_000_000_000_000_000),
            (json!(9_000_000.0), 9_000_000_000_000_000),
            (json!("8999999.999999999"), 8_999_999_999_999_999),
        ] {
            assert_eq!(AmountNotation::read(&value), Ok(Usd::from_nanos(nanos)), "{value}");
            let written = AmountNotation::write(&Usd::from_nanos(nanos));
            assert_eq!(AmountNotation::read(&written), Ok(Usd::from_nanos(nanos)), "{written}");
        }
    }

    #[test]
    fn an_amount_that_cannot_be_a_cap_is_refused_with_its_reason() {
        for (value, reason) in [
            (json!(0), "is nothing"),
            (json!(0.0), "is nothing"),
            (json!("0"), "is nothing"),
            (json!(-1), "is negative"),
            (json!(-1e-9), "is negative"),
            (json!(9_000_001), "is too large"),
            (json!("9000000.000000001"), "is too large"),
            (json!(u64::MAX), "is too large"),
            (json!(1e20), "is too large"),
            (json!(8_388_608.5), "cannot be kept exactly: put it in quotes"),
            (json!(1e-10), "is too fine"),
            (json!("ten"), "is not a number"),
        ] {
            let error = AmountNotation::read(&value).unwrap_err();
            assert!(error.starts_with(reason), "{value}: {error}");
        }
    }
}
