//! The outermost layer of a price list: names and entries, from JSON or YAML.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

use super::ImportError;
use crate::json::{Foreign, is_reserved};

/// Open brackets in YAML, wherever they stand. The parser of YAML reads a whole document before it looks at its depth, and
/// takes time that grows with the square of it.
const MAX_BRACKETS: usize = 100;

/// Entries in their order. Names may repeat: that is reported, not resolved by chance.
struct Entries<T>(Vec<(String, T)>);

/// The entries of a list; none at all is an error.
pub fn entries(text: &str) -> Result<Vec<(String, Value)>, ImportError> {
    let text = text.trim_start_matches('\u{feff}');
    let entries: Vec<_> = if text.trim_start().starts_with('{') {
        let entries = serde_json::from_str::<Entries<Foreign>>(text).map_err(|error| malformed(&error))?.0;
        entries.into_iter().map(|(name, Foreign(entry))| (name, entry)).collect()
    } else {
        if brackets(text) > MAX_BRACKETS {
            return Err(malformed(&format!("more than {MAX_BRACKETS} brackets are open at once")));
        }
        let entries = serde_yaml::from_str::<Entries<serde_yaml::Value>>(text).map_err(|error| malformed(&error))?.0;
        entries.into_iter().map(|(name, entry)| Ok((name, json(entry)?))).collect::<Result<_, ImportError>>()?
    };
    if entries.is_empty() { Err(ImportError::NoModels) } else { Ok(entries) }
}

/// The most brackets that are open at once.
fn brackets(text: &str) -> usize {
    let open = text.bytes().scan(0_usize, |open, byte| {
        match byte {
            b'[' | b'{' => *open += 1,
            b']' | b'}' => *open = open.saturating_sub(1),
            _ => {}
        }
        Some(*open)
    });
    open.max().unwrap_or(0)
}

fn malformed(error: &impl ToString) -> ImportError {
    ImportError::Malformed(error.to_string())
}

/// YAML as JSON. What JSON does not have is refused: serde would turn `.nan` into `null`, which is a price left out.
fn json(value: serde_yaml::Value) -> Result<Value, ImportError> {
    use serde_yaml::Value as Yaml;
    Ok(match value {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => Value::Bool(value),
        Yaml::String(text) => Value::String(text),
        Yaml::Number(number) => Value::Number(finite(&number)?),
        Yaml::Sequence(items) => Value::Array(items.into_iter().map(json).collect::<Result<_, _>>()?),
        Yaml::Mapping(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| match name {
                    Yaml::String(name) if is_reserved(&name) => Err(malformed(&format!("there is no field {name}"))),
                    Yaml::String(name) => Ok((name, json(value)?)),
                    _ => Err(malformed(&"a field whose name is not text: put it in quotes")),
                })
                .collect::<Result<Map<_, _>, _>>()?,
        ),
        Yaml::Tagged(tagged) => return Err(malformed(&format!("the tag {} means nothing here", tagged.tag))),
    })
}

fn finite(number: &serde_yaml::Number) -> Result<Number, ImportError> {
    let whole = number.as_u64().map(Number::from).or_else(|| number.as_i64().map(Number::from));
    whole
        .or_else(|| number.as_f64().and_then(Number::from_f64))
        .ok_or_else(|| malformed(&format!("{number} is not a number that can be a price")))
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(std::marker::PhantomData))
    }
}

struct EntriesVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping from model names to prices")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}
