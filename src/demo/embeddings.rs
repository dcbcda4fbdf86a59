//! OpenAI Embeddings, as numbers and as base64, and the vectors that Gemini's embedding calls share.

use axum::{http::StatusCode, response::Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    chat, reply,
    wire::{self, Invalid},
};

/// OpenAI's own maximum of inputs in one request.
const MAX_INPUTS: usize = 2048;
const MAX_DIMENSIONS: u64 = 3072;
const DIMENSIONS: u64 = 1536;

pub(super) async fn create(body: Bytes) -> Response {
    answer(&body).unwrap_or_else(|invalid| chat::refuse(&invalid))
}

/// A vector of length 1 that depends on nothing but the text: the same text is embedded the same way.
pub(super) fn vector(text: &[u8], dimensions: usize) -> Vec<f32> {
    let mut numbers = StdRng::from_seed(Sha256::digest(text).into());
    let raw: Vec<f32> = (0..dimensions).map(|_| numbers.random_range(-1.0..1.0)).collect();
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
    raw.into_iter().map(|x| x / length).collect()
}

/// A wanted number of dimensions, within what providers offer.
pub(super) fn dimensions(request: &Value, name: &'static str, default: u64) -> Result<usize, Invalid> {
    let wanted = wire::positive(request, name)?.unwrap_or(default);
    match usize::try_from(wanted) {
        Ok(dimensions) if wanted <= MAX_DIMENSIONS => Ok(dimensions),
        _ => Err(Invalid::param(name, format!("{name}: must be at most {MAX_DIMENSIONS}"))),
    }
}

fn answer(body: &[u8]) -> Result<Response, Invalid> {
    let request = wire::parse(body)?;
    let model = wire::model(&request)?;
    let inputs = inputs(request.get("input"))?;
    let dimensions = dimensions(&request, "dimensions", DIMENSIONS)?;
    let base64 = match request.get("encoding_format").and_then(Value::as_str) {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            return Err(Invalid::param(
                "encoding_format",
                format!("encoding_format: '{other}' is neither 'float' nor 'base64'"),
            ));
        }
    };
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let vector = vector(&input.bytes, dimensions);
            let embedding = if base64 { json!(encode(&vector)) } else { json!(vector) };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let tokens: u64 = inputs.iter().map(|input| input.tokens).sum();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(wire::json(StatusCode::OK, &json!({"object": "list", "data": data, "model": model, "usage": usage})))
}

/// Little-endian 32-bit floats in base64, which the official SDKs ask for.
fn encode(vector: &[f32]) -> String {
    STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
}

struct Input {
    bytes: Vec<u8>,
    tokens: u64,
}

/// A text, a list of tokens, or a list of either.
fn inputs(value: Option<&Value>) -> Result<Vec<Input>, Invalid> {
    let value = value.ok_or_else(|| Invalid::param("input", "Missing required parameter: 'input'."))?;
    let inputs = match value {
        Value::Array(items) if !items.iter().all(Value::is_u64) => items.iter().map(input).collect::<Option<Vec<_>>>(),
        _ => input(value).map(|one| vec![one]),
    };
    match inputs {
        Some(inputs) if inputs.len() <= MAX_INPUTS => Ok(inputs),
        Some(_) => Err(Invalid::param("input", format!("input: at most {MAX_INPUTS} inputs in one request"))),
        None => {
            Err(Invalid::param("input", "input: must be a text or a list of tokens, or a list of these, and not empty"))
        }
    }
}

fn input(value: &Value) -> Option<Input> {
    match value {
        Value::String(text) if !text.is_empty() => {
            Some(Input { bytes: text.clone().into_bytes(), tokens: reply::tokens(text) })
        }
        Value::Array(tokens) if !tokens.is_empty() && tokens.iter().all(Value::is_u64) => {
            let bytes = tokens.iter().filter_map(Value::as_u64).flat_map(u64::to_le_bytes).collect();
            Some(Input { bytes, tokens: tokens.len() as u64 })
        }
        _ => None,
    }
}
