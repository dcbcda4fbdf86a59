//! Instants on the wire: RFC 3339 in any offset in, UTC out; Unix milliseconds inside.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

const WHAT: &str = "must be an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z or 2026-01-31T13:00:00+01:00";

/// An instant in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub i64);

impl Instant {
    /// Reads RFC 3339; a fraction finer than a millisecond is rounded up, so that `from` and `to` of a half-open
    /// range never take in an instant before the one that was named.
    ///
    /// # Errors
    /// A sentence about what would be right.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if !is_rfc3339(text.as_bytes()) {
            return Err(WHAT);
        }
        let at: Timestamp = text.parse().map_err(|_| WHAT)?;
        Ok(Self(
            i64::try_from(at.as_nanosecond().div_euclid(1_000_000)).map_err(|_| WHAT)?
                + i64::from(at.as_nanosecond().rem_euclid(1_000_000) != 0),
        ))
    }
}

/// The exact shape, because the parser below also reads forms that RFC 3339 does not have.
fn is_rfc3339(text: &[u8]) -> bool {
    const SHAPE: &[u8; 19] = b"dddd-dd-ddTdd:dd:dd";
    let matches = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(c, s)| match s {
                b'd' => c.is_ascii_digit(),
                s => c.eq_ignore_ascii_case(s),
            })
    };
    let Some((head, mut rest)) = text.split_at_checked(SHAPE.len()) else { return false };
    if !matches(head, SHAPE) {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|c| c.is_ascii_digit()).count();
        if digits == 0 || digits > 9 {
            return false;
        }
        rest = &fraction[digits..];
    }
    matches(rest, b"z") || matches(rest, b"+dd:dd") || matches(rest, b"-dd:dd")
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // What lies outside of the calendar can only come from a damaged row; its nearest end is shown.
        let at =
            Timestamp::from_millisecond(self.0).unwrap_or(if self.0 < 0 { Timestamp::MIN } else { Timestamp::MAX });
        // Always with three decimals, so that times are in order as text too.
        serializer.collect_str(&format_args!("{at:.3}"))
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl PartialSchema for Instant {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

impl ToSchema for Instant {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::Instant;

    #[test]
    fn every_offset_names_the_same_instant() {
        for text in [
            "2026-01-31T12:00:00Z",
            "2026-01-31t12:00:00.000z",
            "2026-01-31T13:30:00+01:30",
            "2026-01-30T22:00:00-14:00",
        ] {
            assert_eq!(Instant::parse(text), Ok(Instant(1_769_860_800_000)), "{text}");
        }
    }

    #[test]
    fn what_is_not_rfc_3339_is_refused() {
        for text in [
            "",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-01-31 12:00:00Z",
            "2026-01-31T12:00:00+01",
            "2026-02-30T12:00:00Z",
            "2026-01-31T12:00:00Z[Europe/Berlin]",
            "1769860800",
            "2026-01-31T25:00:00Z",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00:00.0000000001Z",
            "+02026-01-31T12:00:00Z",
            "２026-01-31T12:00:00Z",
        ] {
            assert!(Instant::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_fraction_of_a_millisecond_is_rounded_up() {
        assert_eq!(Instant::parse("1970-01-01T00:00:00.0000001Z"), Ok(Instant(1)));
        assert_eq!(Instant::parse("1969-12-31T23:59:59.9990001Z"), Ok(Instant(0)));
    }

    #[test]
    fn it_is_written_in_utc() {
        assert_eq!(serde_json::to_string(&Instant(1_769_860_800_123)).unwrap(), "\"2026-01-31T12:00:00.123Z\"");
        assert_eq!(serde_json::to_string(&Instant(0)).unwrap(), "\"1970-01-01T00:00:00.000Z\"");
        assert_eq!(serde_json::to_string(&Instant(i64::MAX)).unwrap(), "\"9999-12-30T22:00:00.999Z\"");
    }
}
