//! Checks a value against the schema, and says what is wrong in words that name no secret.

use std::sync::LazyLock;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::LocationSegment;
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::expand::Expanded;
use super::{SCHEMA, find};
use crate::config::error::{Path, Problems, Segment, shortened};
use crate::config::notation::kind;
use crate::config::schema::Place;

/// A value is shown up to here.
const LONGEST_VALUE: usize = 60;

/// How like a known name an unknown one must be to be taken for it: 0 to 1.
const LIKENESS: f64 = 0.75;

static VALIDATOR: LazyLock<Result<Validator, String>> =
    LazyLock::new(|| Validator::new(&SCHEMA).map_err(|error| error.to_string()));

/// Everything that the schema, and the notations that it names, find wrong with the value.
pub(super) fn check(value: &Value, expanded: &Expanded) -> Problems {
    let mut check = Check { root: value, expanded, problems: Problems::default() };
    check.notations(value, &Place::root(&SCHEMA), &mut Path::default());

    let mut later = Check { root: value, expanded, problems: Problems::default() };
    match &*VALIDATOR {
        Ok(validator) => validator.iter_errors(value).for_each(|error| later.report(&error)),
        Err(error) => {
            later.problems.add(Path::default(), format!("cannot be checked (this is a bug in Tollgate): {error}"))
        }
    }
    // What a notation refused, it explained better than the schema can.
    check.problems.add_later(later.problems);
    check.problems
}

struct Check<'a> {
    root: &'a Value,
    expanded: &'a Expanded,
    problems: Problems,
}

impl Check<'_> {
    /// Reads every value that has a notation.
    fn notations(&mut self, value: &Value, place: &Place<'_>, path: &mut Path) {
        if let Some(notation) = place.notation() {
            let absent = value.is_null() && place.types().contains("null");
            if !absent && let Err(reason) = (notation.check)(value) {
                let subject = self.subject(path, value);
                self.problems.add(path.clone(), format!("{subject} {reason}"));
            }
            return;
        }
        match value {
            Value::Array(list) => {
                for (index, element) in list.iter().enumerate() {
                    self.step(Segment::Index(index), element, place, path);
                }
            }
            Value::Object(group) => {
                for (key, element) in group {
                    self.step(Segment::Key(key.clone()), element, place, path);
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, segment: Segment, value: &Value, place: &Place<'_>, path: &mut Path) {
        let child = place.child(&segment);
        path.push(segment);
        self.notations(value, &child, path);
        path.pop();
    }

    /// Adds what the schema found, in our words: the library's own repeat the value.
    fn report(&mut self, error: &ValidationError<'_>) {
        let path = path_of(error);
        let place = Place::at(&SCHEMA, &path);
        let Some(value) = find(self.root, &path) else {
            return;
        };
        let subject = self.subject(&path, value);
        let message = match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                for key in unexpected {
                    self.problems.add(path.key(key), unknown(key, &place.keys()));
                }
                return;
            }
            ValidationErrorKind::Required { property } => {
                let property = property.as_str().unwrap_or_default();
                let path = path.key(property);
                let description = Place::at(&SCHEMA, &path).description().unwrap_or_default();
                self.problems.add(path, format!("is missing: {}", lower_first(description)));
                return;
            }
            ValidationErrorKind::AnyOf { context } => {
                // The branches that fit the type are the ones that the author meant.
                let meant: Vec<_> = context.iter().filter(|errors| !errors.iter().any(|e| is_type(e, &path))).collect();
                if meant.is_empty() {
                    self.problems.add(path, wrong_type(value, &place));
                } else {
                    meant.into_iter().flatten().for_each(|error| self.report(error));
                }
                return;
            }
            ValidationErrorKind::Type { .. } => wrong_type(value, &place),
            ValidationErrorKind::Enum { .. } | ValidationErrorKind::OneOfNotValid { .. } => {
                let choices = place.choices();
                let hint = suggestion(value.as_str().unwrap_or_default(), &choices);
                let verb = if value.is_null() { "is empty: write".to_owned() } else { format!("{subject} is not") };
                format!("{verb} one of {}{hint}", choices.join(", "))
            }
            ValidationErrorKind::Minimum { limit } => format!("{subject} is too small: the least is {limit}"),
            ValidationErrorKind::Maximum { limit } => format!("{subject} is too large: the most is {limit}"),
            ValidationErrorKind::MinItems { .. } => "is empty: write at least one".to_owned(),
            ValidationErrorKind::MinLength { .. } => "is empty: write some text".to_owned(),
            ValidationErrorKind::MaxLength { limit } => format!("is longer than {limit} characters"),
            other => format!("does not satisfy the schema's `{}`", other.keyword()),
        };
        self.problems.add(path, message);
    }

    /// How a sentence about the value begins. What a variable became is never shown, nor what may be a secret.
    fn subject(&self, path: &Path, value: &Value) -> String {
        let secret = Place::at(&SCHEMA, path).notation().is_some_and(|notation| notation.secret);
        match (self.expanded.get(path), value) {
            (Some(text), _) if !secret => format!("`{}`", shortened(text, LONGEST_VALUE)),
            (None, Value::String(text)) if !secret => format!("`{}`", shortened(text, LONGEST_VALUE)),
            (None, Value::Number(number)) if !secret => format!("`{number}`"),
            _ => "the value".to_owned(),
        }
    }
}

fn path_of(error: &ValidationError<'_>) -> Path {
    let mut path = Path::default();
    for segment in error.instance_path() {
        path.push(match segment {
            LocationSegment::Property(key) => Segment::Key(key.into_owned()),
            LocationSegment::Index(index) => Segment::Index(index),
        });
    }
    path
}

/// Whether the error says that the value at the path has another type than this alternative.
fn is_type(error: &ValidationError<'_>, path: &Path) -> bool {
    matches!(error.kind(), ValidationErrorKind::Type { kind: TypeKind::Single(_) | TypeKind::Multiple(_) })
        && path_of(error) == *path
}

fn wrong_type(value: &Value, place: &Place<'_>) -> String {
    let types: Vec<_> = place.types().into_iter().filter(|name| *name != "null").map(type_name).collect();
    let expected = types.join(" or ");
    if value.is_null() {
        return format!("is empty: write {expected}, or remove the key to get the default");
    }
    let hint = if types == ["text"] { ": put it in quotes" } else { "" };
    format!("is {}, but must be {expected}{hint}", kind(value))
}

fn type_name(name: &str) -> &str {
    match name {
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "text",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a group of settings (`key: value` lines)",
        other => other,
    }
}

fn unknown(key: &str, known: &[&str]) -> String {
    let hint = suggestion(key, known);
    if hint.is_empty() {
        return format!("is not a setting; the settings here are {}", known.join(", "));
    }
    format!("is not a setting{hint}")
}

fn suggestion(name: &str, known: &[&str]) -> String {
    // The likeness of long texts costs their product.
    let name: String = name.chars().take(LONGEST_VALUE).collect::<String>().to_ascii_lowercase().replace('-', "_");
    let likeness = |known: &&str| strsim::jaro_winkler(&name, known);
    let like =
        known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))).filter(|best| likeness(best) >= LIKENESS);
    // Short names are unlike each other by one slip already.
    let best = like.or_else(|| known.iter().find(|known| strsim::osa_distance(&name, known) == 1));
    best.map_or_else(String::new, |best| format!("; did you mean `{best}`?"))
}

fn lower_first(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
