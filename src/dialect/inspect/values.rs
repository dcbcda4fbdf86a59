//! Small JSON values, read leniently from their text: what is of the wrong type is as if it were absent.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A JSON string.
pub(super) fn as_string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(text).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// `true`, or `false` also for null and for nothing; none for every other value.
pub(super) fn as_bool(raw: Option<&RawValue>) -> Option<bool> {
    match raw.map_or("null", RawValue::get) {
        "true" => Some(true),
        "false" | "null" => Some(false),
        _ => None,
    }
}

/// A number that is not negative, possibly spelled as a float; a fraction counts as a whole.
pub(super) fn as_u64(raw: &RawValue) -> Option<u64> {
    let text = raw.get();
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be finite and not negative; the cast saturates"
        )]
        (number.is_finite() && number >= 0.0).then_some(number.ceil() as u64)
    })
}

/// A number as [`as_u64`] reads it, also one in a string, as lenient parsers take it. What is larger than any number
/// is the largest.
pub(super) fn as_count(raw: &RawValue) -> Option<u64> {
    let text = as_string(raw);
    let text = text.as_deref().map_or(raw.get(), str::trim);
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked not to be negative; the cast saturates"
        )]
        (number >= 0.0).then_some(number.ceil() as u64)
    })
}

/// Whether it asks for nothing: `null`, `false`, an empty list.
pub(super) fn is_nothing(raw: &RawValue) -> bool {
    let text = raw.get();
    let list = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    matches!(text, "null" | "false") || list.is_some_and(|items| items.trim_ascii().is_empty())
}

/// Whether it is `null`.
pub(super) fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

/// Deserializes a member that is there as `Some`, also when it is `null` (which `Option` alone takes for absent).
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}
