//! Values that have a notation of their own in the file: how each is read, written and described in the schema.

mod address;
mod amount;
mod decimal;
mod duration;
mod model;
mod name;
mod secret;
mod size;
mod time;
mod url;

pub use address::{AddressRange, ListenAddress};
pub use amount::AmountNotation;
pub use decimal::{Multiplier, Ratio};
pub use duration::DurationNotation;
pub use model::ModelGlob;
pub use name::ProviderName;
pub use secret::Secret;
pub use size::SizeNotation;
pub use time::{TimeOfDayNotation, TimeZoneNotation};
pub use url::{BaseUrlNotation, DatabaseUrl, RedisUrl};

use std::marker::PhantomData;

use schemars::Schema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// How a value is written in the file.
///
/// A reason why a value cannot be read is the rest of a sentence whose subject is the value (`has no unit: ...`)
/// and never repeats it, so that a secret in the wrong place is not printed.
pub trait Notation {
    /// What the rest of the program gets.
    type Target;

    /// The name of its definition in the schema.
    const NAME: &'static str;

    /// Whether the value must never be shown, not even where it is wrong.
    const SECRET: bool = false;

    /// Its definition in the schema.
    fn definition() -> Schema;

    /// Reads it, or says why not.
    ///
    /// # Errors
    /// The rest of a sentence that says what is wrong with the value and what to write instead.
    fn read(value: &Value) -> Result<Self::Target, String>;

    /// Writes it so that `read` gets the same, or masked when it is secret.
    fn write(target: &Self::Target) -> Value;
}

/// Lets serde use the notation `N` for a field: `#[serde(with = "As::<N>")]`.
pub struct As<N>(PhantomData<N>);

impl<N: Notation> As<N> {
    /// Reads the field.
    ///
    /// # Errors
    /// When the value is not in this notation.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<N::Target, D::Error> {
        let value = Value::deserialize(deserializer)?;
        N::read(&value).map_err(|reason| serde::de::Error::custom(format_args!("the value {reason}")))
    }

    /// Writes the field.
    ///
    /// # Errors
    /// When the serializer fails.
    pub fn serialize<S: Serializer>(target: &N::Target, serializer: S) -> Result<S::Ok, S::Error> {
        N::write(target).serialize(serializer)
    }
}

impl<N: Notation> Notation for Option<N> {
    type Target = Option<N::Target>;

    const NAME: &'static str = N::NAME;

    fn definition() -> Schema {
        N::definition()
    }

    fn read(value: &Value) -> Result<Self::Target, String> {
        if value.is_null() { Ok(None) } else { N::read(value).map(Some) }
    }

    fn write(target: &Self::Target) -> Value {
        target.as_ref().map_or(Value::Null, N::write)
    }
}

/// A reader that only says what is wrong.
pub type Check = fn(&Value) -> Result<(), String>;

/// One notation as the validation sees it.
pub struct Entry {
    /// The name of its definition in the schema.
    pub name: &'static str,
    /// Whether its values must never be shown.
    pub secret: bool,
    /// What is wrong with a value.
    pub check: Check,
}

const fn entry<N: Notation>() -> Entry {
    Entry { name: N::NAME, secret: N::SECRET, check: |value| N::read(value).map(drop) }
}

/// Every notation there is.
pub const ALL: &[Entry] = &[
    entry::<AddressRange>(),
    entry::<AmountNotation>(),
    entry::<BaseUrlNotation>(),
    entry::<DatabaseUrl>(),
    entry::<DurationNotation>(),
    entry::<ListenAddress>(),
    entry::<ModelGlob>(),
    entry::<Multiplier>(),
    entry::<ProviderName>(),
    entry::<Ratio>(),
    entry::<RedisUrl>(),
    entry::<Secret>(),
    entry::<SizeNotation>(),
    entry::<TimeOfDayNotation>(),
    entry::<TimeZoneNotation>(),
];

/// Derives the schema of a type from its notation, and serde too where the type is its own target.
macro_rules! derive_from_notation {
    (schema: $type:ty) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                <Self as $crate::config::notation::Notation>::NAME.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                <Self as $crate::config::notation::Notation>::definition()
            }
        }
    };
    (all: $type:ty) => {
        $crate::config::notation::derive_from_notation!(schema: $type);

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::config::notation::As::<Self>::deserialize(deserializer)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::config::notation::As::<Self>::serialize(self, serializer)
            }
        }
    };
}
use derive_from_notation;

/// The text of a value, or what it is instead.
fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("is {}, not text: put it in quotes", kind(value)))
}

/// What a value is, for people.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a group of settings",
    }
}
