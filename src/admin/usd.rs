//! US dollars on the wire: exact JSON numbers with up to nine decimals.

use serde::{Serialize, Serializer, ser};
use serde_json::value::RawValue;

use crate::money::Usd;

/// The decimal notation, without trailing zeros.
#[must_use]
pub fn decimal(nanos: i64) -> String {
    Usd::from_nanos(nanos).to_string()
}

/// For `#[serde(serialize_with)]`.
///
/// # Errors
/// What the serializer says.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
pub fn nanos<S: Serializer>(nanos: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    RawValue::from_string(decimal(*nanos)).map_err(ser::Error::custom)?.serialize(serializer)
}

/// The same of an amount that may not be there.
///
/// # Errors
/// What the serializer says.
#[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
pub fn nanos_or_null<S: Serializer>(amount: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    match amount {
        Some(amount) => nanos(amount, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn amounts_are_exact() {
        for (nanos, text) in [
            (0, "0"),
            (1, "0.000000001"),
            (1_500_000_000, "1.5"),
            (-1, "-0.000000001"),
            (100_000_000_000, "100"),
            (i64::MAX, "9223372036.854775807"),
            (i64::MIN, "-9223372036.854775808"),
        ] {
            assert_eq!(decimal(nanos), text);
        }
    }
}
