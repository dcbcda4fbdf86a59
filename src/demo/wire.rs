//! What all dialects share on the wire: reading a JSON body, answering whole, answering chunk by chunk.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::Response,
};
use bytes::Bytes;
use rand::distr::{Alphanumeric, SampleString};
use serde_json::Value;

use crate::json;

/// Names longer than this are refused: an answer repeats the name in every chunk.
const MAX_MODEL_NAME: usize = 256;

/// Why a request is answered with 400, in words that each dialect puts into its own shape.
#[derive(Debug)]
pub(super) struct Invalid {
    pub message: String,
    /// The offending member, where one can be named.
    pub param: Option<&'static str>,
}

impl Invalid {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), param: None }
    }

    pub(super) fn param(param: &'static str, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param) }
    }
}

/// Part of a streamed answer.
pub(super) struct Frame {
    bytes: Bytes,
    /// Whether the model "thinks" before it.
    paced: bool,
}

impl Frame {
    /// Sent together with what came before.
    pub(super) fn prompt(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), paced: false }
    }

    /// Sent after a pause.
    pub(super) fn paced(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), paced: true }
    }
}

/// The body as a JSON object.
pub(super) fn parse(body: &[u8]) -> Result<Value, Invalid> {
    let value = json::read(body).map_err(|error| Invalid::new(format!("the body is not valid JSON: {error}")))?;
    if value.is_object() { Ok(value) } else { Err(Invalid::new("the body must be a JSON object")) }
}

/// The member `model`.
pub(super) fn model(request: &Value) -> Result<&str, Invalid> {
    match request.get("model").and_then(Value::as_str) {
        Some(name) if !name.is_empty() && name.len() <= MAX_MODEL_NAME => Ok(name),
        Some(_) => Err(Invalid::param("model", format!("model: must have 1 to {MAX_MODEL_NAME} bytes"))),
        None => Err(Invalid::param("model", "model: you must name a model")),
    }
}

/// A member that is a positive integer, or absent or null.
pub(super) fn positive(request: &Value, name: &'static str) -> Result<Option<u64>, Invalid> {
    match request.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(number) if number > 0 => Ok(Some(number)),
            _ => Err(Invalid::param(name, format!("{name}: must be an integer of at least 1"))),
        },
    }
}

/// A member that is a boolean; absent and null mean no.
pub(super) fn flag(request: &Value, name: &'static str) -> Result<bool, Invalid> {
    match request.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(Invalid::param(name, format!("{name}: must be true or false"))),
    }
}

/// A new identifier as providers make them: a prefix and random letters.
pub(super) fn id(prefix: &str) -> String {
    format!("{prefix}{}", Alphanumeric.sample_string(&mut rand::rng(), 24))
}

/// The time of creation that OpenAI's objects carry.
pub(super) fn unix_seconds() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A whole answer.
pub(super) fn json(status: StatusCode, body: &Value) -> Response {
    response(status, "application/json", Body::from(body.to_string()))
}

/// An answer that arrives frame by frame.
pub(super) fn stream(content_type: &'static str, frames: Vec<Frame>, pace: Duration) -> Response {
    let chunks = futures::stream::unfold(frames.into_iter(), move |mut frames| async move {
        let frame = frames.next()?;
        if frame.paced && !pace.is_zero() {
            tokio::time::sleep(pace).await;
        }
        Some((Ok::<_, Infallible>(frame.bytes), frames))
    });
    response(StatusCode::OK, content_type, Body::from_stream(chunks))
}

/// A server-sent event with a name.
pub(super) fn named_event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// A server-sent event without a name.
pub(super) fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

/// The content type of server-sent events.
pub(super) const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";

fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
