//! Anthropic Messages, whole and streamed, and the count of a prompt's tokens.

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode},
    response::Response,
};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    prompt::Prompt,
    reply::Reply,
    wire::{self, Frame, Invalid},
};

pub(super) async fn messages(State(pace): State<Duration>, body: Bytes) -> Response {
    answer(&body, pace).unwrap_or_else(|invalid| refuse(&invalid))
}

pub(super) async fn count_tokens(body: Bytes) -> Response {
    match wire::parse(&body).and_then(|request| Ok(prompt(&request)?.tokens)) {
        Ok(tokens) => with_request_id(wire::json(StatusCode::OK, &json!({"input_tokens": tokens}))),
        Err(invalid) => refuse(&invalid),
    }
}

fn answer(body: &[u8], pace: Duration) -> Result<Response, Invalid> {
    let request = wire::parse(body)?;
    let prompt = prompt(&request)?;
    let model = wire::model(&request)?;
    let max_tokens = wire::positive(&request, "max_tokens")?
        .ok_or_else(|| Invalid::param("max_tokens", "max_tokens: Field required"))?;
    let reply = Reply::new(model, &prompt.question, Some(max_tokens));
    let stop_reason = if reply.cut { "max_tokens" } else { "end_turn" };
    let response = if wire::flag(&request, "stream")? {
        wire::stream(wire::EVENT_STREAM, frames(model, prompt.tokens, &reply, stop_reason), pace)
    } else {
        let mut message = message(model, prompt.tokens, reply.tokens);
        message["content"] = json!([{"type": "text", "text": reply.text()}]);
        message["stop_reason"] = json!(stop_reason);
        wire::json(StatusCode::OK, &message)
    };
    Ok(with_request_id(response))
}

fn prompt(request: &Value) -> Result<Prompt, Invalid> {
    wire::model(request)?;
    match request.get("messages") {
        Some(Value::Array(messages)) if !messages.is_empty() => {
            Ok(Prompt::read(request.get("system"), &request["messages"]))
        }
        Some(Value::Array(_)) => Err(Invalid::param("messages", "messages: at least one message is required")),
        Some(_) => Err(Invalid::param("messages", "messages: Input should be a valid list")),
        None => Err(Invalid::param("messages", "messages: Field required")),
    }
}

fn message(model: &str, input_tokens: u64, output_tokens: u64) -> Value {
    json!({
        "id": wire::id("msg_01"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": {
            "input_tokens": input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": output_tokens,
            "service_tier": "standard",
        },
    })
}

fn frames(model: &str, input_tokens: u64, reply: &Reply, stop_reason: &str) -> Vec<Frame> {
    // A stream starts with a first count of the output, and corrects it in `message_delta`.
    let start = message(model, input_tokens, 1);
    let mut frames = vec![
        Frame::paced(event(&json!({"type": "message_start", "message": start}))),
        Frame::prompt(event(
            &json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        )),
        Frame::prompt(event(&json!({"type": "ping"}))),
    ];
    frames.extend(reply.pieces.iter().map(|piece| {
        Frame::paced(event(
            &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}),
        ))
    }));
    frames.push(Frame::prompt(event(&json!({"type": "content_block_stop", "index": 0}))));
    frames.push(Frame::prompt(event(&json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason, "stop_sequence": null},
        "usage": {
            "input_tokens": input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": reply.tokens,
        },
    }))));
    frames.push(Frame::prompt(event(&json!({"type": "message_stop"}))));
    frames
}

fn event(data: &Value) -> String {
    wire::named_event(data["type"].as_str().unwrap_or_default(), data)
}

fn refuse(invalid: &Invalid) -> Response {
    let body = json!({
        "type": "error",
        "error": {"type": "invalid_request_error", "message": invalid.message},
        "request_id": wire::id("req_"),
    });
    wire::json(StatusCode::BAD_REQUEST, &body)
}

fn with_request_id(mut response: Response) -> Response {
    if let Ok(value) = HeaderValue::try_from(wire::id("req_")) {
        response.headers_mut().insert("request-id", value);
    }
    response
}
