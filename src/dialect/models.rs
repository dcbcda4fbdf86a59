//! Lists of models, in the shape that each official SDK parses.

use bytes::Bytes;
use serde_json::{Value, json};

use super::Shape;

/// What a Gemini client may call on a model of ours.
const GEMINI_METHODS: [&str; 5] =
    ["generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"];

/// One model that a client may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelEntry {
    /// The name to ask for.
    pub id: String,
    /// When it was made known, Unix seconds.
    pub created: i64,
    /// Who serves it.
    pub owned_by: String,
    /// The most input tokens.
    pub max_input: Option<u64>,
    /// The most output tokens.
    pub max_output: Option<u64>,
}

/// The body of a list of models.
#[must_use]
pub fn model_list(shape: Shape, entries: &[ModelEntry]) -> Bytes {
    let items: Vec<Value> = entries.iter().map(|entry| item(shape, entry)).collect();
    let body = match shape {
        Shape::Anthropic => json!({
            "data": items,
            "has_more": false,
            "first_id": entries.first().map(|entry| &entry.id),
            "last_id": entries.last().map(|entry| &entry.id),
        }),
        Shape::Openai => json!({"object": "list", "data": items}),
        Shape::Gemini => json!({"models": items}),
    };
    Bytes::from(body.to_string())
}

/// The body of one model.
#[must_use]
pub fn model(shape: Shape, entry: &ModelEntry) -> Bytes {
    Bytes::from(item(shape, entry).to_string())
}

fn item(shape: Shape, entry: &ModelEntry) -> Value {
    match shape {
        Shape::Anthropic => json!({
            "type": "model",
            "id": entry.id,
            "display_name": entry.id,
            "created_at": jiff::Timestamp::from_second(entry.created).unwrap_or_default().to_string(),
            "max_input_tokens": entry.max_input,
            "max_tokens": entry.max_output,
        }),
        Shape::Openai => json!({
            "id": entry.id,
            "object": "model",
            "created": entry.created,
            "owned_by": entry.owned_by,
        }),
        Shape::Gemini => {
            let mut model = json!({
                "name": format!("models/{}", entry.id),
                "displayName": entry.id,
                "supportedGenerationMethods": GEMINI_METHODS,
            });
            // proto3 leaves unknown limits out; a null would not parse as a number everywhere.
            if let Some(limit) = entry.max_input {
                model["inputTokenLimit"] = json!(limit);
            }
            if let Some(limit) = entry.max_output {
                model["outputTokenLimit"] = json!(limit);
            }
            model
        }
    }
}

#[cfg(test)]
mod tests;
