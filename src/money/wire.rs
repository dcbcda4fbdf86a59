//! [`Usd`] in JSON and YAML: a number with up to nine decimals.
//!
//! The number is exact both ways as long as an IEEE double can tell neighbouring nano-dollars apart, which is for
//! every amount below 2^23 USD (8 388 608). Beyond that the double that comes in is the double that goes out; a
//! client that reads JSON numbers as doubles, as nearly all do, could not see more.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};

use super::Usd;

const DESCRIPTION: &str = "US dollars, up to 9 decimals";

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.nanos() % Self::NANOS_PER_USD == 0 {
            serializer.serialize_i64(self.nanos() / Self::NANOS_PER_USD)
        } else {
            serializer.serialize_f64(self.to_f64_for_display())
        }
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UsdVisitor)
    }
}

struct UsdVisitor;

impl Visitor<'_> for UsdVisitor {
    type Value = Usd;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount of USD as a number with at most 9 decimals")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Usd, E> {
        value.to_string().parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Usd, E> {
        value.to_string().parse().map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Usd, E> {
        // The shortest text that reads back as this double: the decimal that its author wrote.
        format!("{value:?}").parse().map_err(E::custom)
    }
}

impl utoipa::PartialSchema for Usd {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::Number))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Double)))
            .description(Some(DESCRIPTION))
            .into()
    }
}

impl utoipa::ToSchema for Usd {}

impl schemars::JsonSchema for Usd {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Usd")
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "number", "description": DESCRIPTION })
    }
}
