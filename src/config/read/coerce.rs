//! A variable's value is text; where the schema wants something else, it becomes that.

use serde_json::Value;

use super::expand::Expanded;
use crate::config::error::{Path, Segment};
use crate::config::schema::Place;

/// Turns the texts that had a variable in them into the numbers, switches or nothing that the schema wants there.
pub(super) fn coerce(value: &mut Value, expanded: &Expanded, schema: &Value) {
    for path in expanded.keys() {
        if let Some(place) = find_mut(value, path)
            && let Some(better) = place.as_str().and_then(|text| coerced(text, &Place::at(schema, path)))
        {
            *place = better;
        }
    }
}

fn coerced(text: &str, place: &Place<'_>) -> Option<Value> {
    let types = place.types();
    if types.contains("null") && text.is_empty() {
        return Some(Value::Null);
    }
    if types.contains("string") {
        return None;
    }
    if types.contains("boolean") {
        return match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        };
    }
    if types.contains("integer") {
        return text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from)).ok();
    }
    None
}

fn find_mut<'a>(root: &'a mut Value, path: &Path) -> Option<&'a mut Value> {
    path.segments().iter().try_fold(root, |value, segment| match segment {
        Segment::Key(key) => value.get_mut(key),
        Segment::Index(index) => value.get_mut(index),
    })
}
