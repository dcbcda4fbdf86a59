//! The rules of the fields that people write, and the same rules as schemas of the API's documentation.

use std::collections::BTreeSet;

use globset::Glob;
use serde::{Deserialize, Deserializer};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};

use super::names;
use super::params::MAX_ID;
use super::problem::{InvalidParam, Problem};

/// Characters of a name.
pub const MAX_NAME: usize = 128;
const MAX_NOTE: usize = 2000;
const MAX_COUNT: i64 = 1_000_000;
const MAX_LIST: usize = 100;
const MAX_GLOB: usize = 256;
const MAX_MEMBERS: usize = 1000;

/// No control character anywhere, and something that is not white space.
pub const LINE_PATTERN: &str = concat!(
    r"^[^\u0000-\u001f\u007f-\u009f]*",
    r"[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]",
    r"[^\u0000-\u001f\u007f-\u009f]*$"
);
/// Line breaks and tabs are the only control characters.
const NOTE_PATTERN: &str = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$";

/// Collects everything that is wrong with an object.
#[derive(Debug, Default)]
pub struct Check(Vec<InvalidParam>);

impl Check {
    /// A name: trimmed, not empty, without characters that nobody sees.
    pub fn name(&mut self, path: &str, name: &str) -> String {
        if name.chars().any(names::is_unseen) {
            let message = "must not have control or format characters, nor line separators: nobody sees them";
            self.wrong(path, "invalid", message.to_owned());
            return name.trim().to_owned();
        }
        self.line(path, if names::is_blank(name) { "" } else { name }, MAX_NAME)
    }

    /// Free text.
    pub fn note(&mut self, path: &str, note: Option<String>) -> Option<String> {
        let note = note?;
        if note.chars().count() > MAX_NOTE {
            self.wrong(path, "too_long", format!("must have at most {MAX_NOTE} characters"));
        }
        if note.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            self.wrong(path, "invalid", "must not have control characters other than line breaks and tabs".to_owned());
        }
        Some(note)
    }

    /// A positive number of requests.
    pub fn count(&mut self, path: &str, count: Option<i64>) -> Option<i32> {
        let count = count?;
        if !(1..=MAX_COUNT).contains(&count) {
            self.wrong(path, "out_of_range", format!("must be an integer from 1 to {MAX_COUNT}, or null for no limit"));
        }
        i32::try_from(count).ok()
    }

    /// Globs as they are kept: a JSON array, or nothing for "all".
    pub fn globs(&mut self, path: &str, globs: Option<Vec<String>>) -> Option<String> {
        self.list(path, globs, MAX_GLOB, |glob| match Glob::new(glob) {
            Ok(_) => None,
            Err(error) => Some(format!("is not a glob: {}", error.kind())),
        })
    }

    /// Names of provider groups as they are kept: a JSON array, or nothing for "all".
    pub fn groups(&mut self, path: &str, groups: Option<Vec<String>>) -> Option<String> {
        self.list(path, groups, MAX_NAME, |_| None)
    }

    /// Done.
    ///
    /// # Errors
    /// Everything that was wrong.
    pub fn finish(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(Problem::validation(self.0)) }
    }

    fn list(
        &mut self,
        path: &str,
        items: Option<Vec<String>>,
        max: usize,
        wrong: impl Fn(&str) -> Option<String>,
    ) -> Option<String> {
        let items = items.filter(|items| !items.is_empty())?;
        let kept = self.several(path, &items, MAX_LIST, max, wrong)?;
        serde_json::to_string(&kept).ok()
    }

    /// Exact names of models, each once.
    pub fn models(&mut self, path: &str, models: &[String]) -> Vec<String> {
        self.several(path, models, MAX_MEMBERS, MAX_GLOB, |_| None).unwrap_or_default()
    }

    /// Exact name of a model.
    pub fn model(&mut self, path: &str, model: &str) -> String {
        self.line(path, model, MAX_GLOB)
    }

    /// Ids of other objects, each once.
    pub fn ids(&mut self, path: &str, ids: Option<Vec<i64>>) -> BTreeSet<i64> {
        let ids = ids.unwrap_or_default();
        if ids.len() > MAX_MEMBERS {
            self.wrong(path, "too_long", format!("must have at most {MAX_MEMBERS} entries"));
            return BTreeSet::new();
        }
        for (index, id) in ids.iter().enumerate() {
            if !(1..=MAX_ID).contains(id) {
                let message = format!("must be an integer from 1 to {MAX_ID}");
                self.wrong(&format!("{path}[{index}]"), "out_of_range", message);
            }
        }
        ids.into_iter().collect()
    }

    fn several(
        &mut self,
        path: &str,
        items: &[String],
        most: usize,
        max: usize,
        wrong: impl Fn(&str) -> Option<String>,
    ) -> Option<Vec<String>> {
        if items.len() > most {
            self.wrong(path, "too_long", format!("must have at most {most} entries"));
            return None;
        }
        let mut kept: Vec<String> = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let item = self.line(&path, item, max);
            if let Some(message) = wrong(&item) {
                self.wrong(&path, "invalid", message);
            }
            if !kept.contains(&item) {
                kept.push(item);
            }
        }
        Some(kept)
    }

    fn line(&mut self, path: &str, text: &str, max: usize) -> String {
        let trimmed = text.trim();
        if text.chars().count() > max {
            self.wrong(path, "too_long", format!("must have at most {max} characters"));
        } else if trimmed.is_empty() {
            self.wrong(path, "invalid", "must not be empty".to_owned());
        } else if text.chars().any(char::is_control) {
            self.wrong(path, "invalid", "must not have control characters".to_owned());
        }
        trimmed.to_owned()
    }

    /// Notes something wrong that the caller found.
    pub fn wrong(&mut self, path: &str, code: &'static str, message: String) {
        self.0.push(InvalidParam::new(path, code, message));
    }
}

/// Reads a kept list back.
///
/// # Errors
/// The row is damaged.
pub fn shown(list: Option<&str>) -> Result<Vec<String>, Problem> {
    list.map_or(Ok(Vec::new()), |text| serde_json::from_str(text).map_err(|error| Problem::internal(&error)))
}

/// For `#[serde(default)]`.
#[must_use]
pub const fn yes() -> bool {
    true
}

/// An integer that may be written `60.0`: to JSON Schema that is an integer too.
///
/// # Errors
/// Not an integer.
pub fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be an integer or null")]
    enum Number {
        Integer(i64),
        Float(f64),
    }
    match Option::<Number>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Number::Integer(number)) => Ok(Some(number)),
        #[allow(clippy::cast_possible_truncation, reason = "a cast saturates, and the range is checked afterwards")]
        Some(Number::Float(number)) if number.fract() == 0.0 => Ok(Some(number as i64)),
        Some(Number::Float(_)) => Err(serde::de::Error::custom("must be an integer or null")),
    }
}

/// Schema of a name.
#[must_use]
pub fn name_schema() -> Schema {
    name(SchemaType::new(Type::String))
}

/// Schema of a name that may be left out.
#[must_use]
pub fn optional_name_schema() -> Schema {
    name(nullable(Type::String))
}

/// Schema of free text or null.
#[must_use]
pub fn note_schema() -> Schema {
    ObjectBuilder::new()
        .schema_type(nullable(Type::String))
        .max_length(Some(MAX_NOTE))
        .pattern(Some(NOTE_PATTERN))
        .description(Some("Free text for the administrator."))
        .into()
}

/// Schema of a number of requests or null.
#[must_use]
pub fn count_schema() -> Schema {
    ObjectBuilder::new()
        .schema_type(nullable(Type::Integer))
        .minimum(Some(1))
        .maximum(Some(MAX_COUNT))
        .description(Some("Null: no limit."))
        .into()
}

/// Schema of a list of globs or null.
#[must_use]
pub fn globs_schema() -> Schema {
    list(MAX_GLOB, "Globs on the requested model; null or empty: all.")
}

/// Schema of a list of provider groups or null.
#[must_use]
pub fn groups_schema() -> Schema {
    list(MAX_NAME, "Names of provider groups; null or empty: all.")
}

/// Schema of a list of exact names of models.
#[must_use]
pub fn models_schema() -> Schema {
    ArrayBuilder::new()
        .schema_type(nullable(Type::Array))
        .items(line(MAX_GLOB, SchemaType::new(Type::String)))
        .max_items(Some(MAX_MEMBERS))
        .description(Some("Exact names of models, as they are sent upstream."))
        .into()
}

/// Schema of a list of ids or null.
#[must_use]
pub fn ids_schema() -> Schema {
    let id = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(MAX_ID));
    ArrayBuilder::new()
        .schema_type(nullable(Type::Array))
        .items(id)
        .max_items(Some(MAX_MEMBERS))
        .description(Some("Ids; null: none."))
        .into()
}

fn name(kind: SchemaType) -> Schema {
    line(MAX_NAME, kind)
        .pattern(Some(names::pattern()))
        .description(Some("Without control and format characters (Unicode Cc and Cf) and line separators."))
        .into()
}

fn line(max: usize, kind: SchemaType) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind).min_length(Some(1)).max_length(Some(max)).pattern(Some(LINE_PATTERN))
}

fn list(max: usize, description: &str) -> Schema {
    ArrayBuilder::new()
        .schema_type(nullable(Type::Array))
        .items(line(max, SchemaType::new(Type::String)))
        .max_items(Some(MAX_LIST))
        .description(Some(description))
        .into()
}

fn nullable(kind: Type) -> SchemaType {
    SchemaType::from_iter([kind, Type::Null])
}
