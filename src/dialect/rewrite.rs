//! The body that goes upstream: the client's bytes, but for the model's name and the request for usage.

use bytes::Bytes;

use super::Inspected;
use super::inspect::Edit;

/// Puts `served_model` into the body, and asks a chat stream for its usage. Every other byte stays as it was; a body
/// that needs no change is handed back without a copy. `body` must be the one that was inspected.
#[must_use]
pub fn rewrite(inspected: &Inspected, body: Bytes, served_model: &str) -> Bytes {
    debug_assert_eq!(body.len(), inspected.body_len, "this is not the body that was inspected");
    if inspected.model == served_model && inspected.usage_edit.is_none() {
        return body;
    }
    let mut edits: Vec<Edit> = inspected.usage_edit.iter().cloned().collect();
    if inspected.model != served_model {
        edits.extend(inspected.model_spans.iter().map(|span| {
            let prefix = if span.resource { "models/" } else { "" };
            let text = serde_json::Value::String(format!("{prefix}{served_model}")).to_string();
            Edit { range: span.range.clone(), text: text.into() }
        }));
    }
    if edits.is_empty() {
        return body;
    }
    edits.sort_by_key(|edit| edit.range.start);
    apply(&body, &edits)
}

/// Splices `edits`, which are in order and do not overlap, into `body`.
fn apply(body: &[u8], edits: &[Edit]) -> Bytes {
    let added: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let mut out = Vec::with_capacity(body.len() + added);
    let mut from = 0;
    for edit in edits {
        out.extend_from_slice(body.get(from..edit.range.start).unwrap_or_default());
        out.extend_from_slice(edit.text.as_bytes());
        from = edit.range.end;
    }
    out.extend_from_slice(body.get(from..).unwrap_or_default());
    Bytes::from(out)
}

#[cfg(test)]
mod tests;
