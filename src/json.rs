//! JSON from strangers.
//!
//! `serde_json` with raw values takes an object whose only name is one of its own for another text of JSON, and reads that with
//! a depth of its own: texts within texts are as deep as one likes, and exhaust the stack. Here nobody may say that name.

use std::fmt;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Error, Map, Number, Value};

/// What `serde_json` calls a raw value (`serde_json::raw::TOKEN`, which is private).
const RAW: &str = "$serde_json::private::RawValue";

/// A document in which everything is what it looks like, and nothing is deeper than 128.
#[derive(Debug)]
pub struct Foreign(pub Value);

/// Reads a document.
///
/// # Errors
/// It is not JSON, or too deep.
pub fn read(text: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(text).map(|Foreign(value)| value)
}

/// Whether an object may not have a field of this name.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name == RAW
}

impl<'de> Deserialize<'de> for Foreign {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Foreign(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if is_reserved(&name) {
                return Err(de::Error::custom(format!("there is no field {name}")));
            }
            let Foreign(value) = map.next_value()?;
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Texts of JSON in a text of JSON, each as deep as one may be.
    fn nested(texts: usize) -> String {
        let mut inner = "0".to_owned();
        for _ in 0..texts {
            let deep = format!("{}{inner}{}", "[".repeat(100), "]".repeat(100));
            inner = format!("{{{}:{}}}", Value::from(RAW), Value::from(deep));
        }
        inner
    }

    #[test]
    fn a_document_is_read_as_it_is_everywhere_else() {
        let text = r#"{"a": [null, true, -1, 18446744073709551615, 1.5, 1e3, "x\n\u2028", {}], "b": {"c": []}, "b": 2, "": ""}"#;
        assert_eq!(read(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        for wrong in ["", "{", "[1,]", "{\"a\":1}x", "1e999", "\"\u{1}\""] {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(deep(127).as_bytes()).is_ok() && read(deep(128).as_bytes()).is_err());
    }

    #[test]
    fn nobody_says_the_name_of_a_raw_value_however_it_is_spelt() {
        let smuggled = nested(1);
        assert!(serde_json::from_str::<Value>(&smuggled).unwrap().is_array(), "it is another text of JSON there");
        for text in [&smuggled, &nested(3), &smuggled.replace('$', "\\u0024"), &format!("{{\"limits\":[{smuggled}]}}")]
        {
            let refused = read(text.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains("there is no field"), "{refused}");
        }
    }
}
