//! OpenAI Responses, whole and streamed with the full sequence of events.

use std::time::Duration;

use axum::{extract::State, http::StatusCode, response::Response};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    chat,
    prompt::Prompt,
    reply::Reply,
    wire::{self, Frame, Invalid},
};

pub(super) async fn create(State(pace): State<Duration>, body: Bytes) -> Response {
    answer(&body, pace).unwrap_or_else(|invalid| chat::refuse(&invalid))
}

fn answer(body: &[u8], pace: Duration) -> Result<Response, Invalid> {
    let request = wire::parse(body)?;
    let model = wire::model(&request)?;
    let input = match request.get("input") {
        Some(input @ Value::String(_)) => input,
        Some(list @ Value::Array(items)) if !items.is_empty() => list,
        Some(_) => {
            return Err(Invalid::param("input", "input: must be a string or an array of at least one item"));
        }
        None => {
            return Err(Invalid::param("input", "Missing required parameter: 'input'."));
        }
    };
    let prompt = Prompt::read(request.get("instructions"), input);
    let reply = Reply::new(model, &prompt.question, wire::positive(&request, "max_output_tokens")?);
    let stream = wire::flag(&request, "stream")?;
    let run = Run { object: object(&request, model), message_id: wire::id("msg_"), reply, input_tokens: prompt.tokens };
    Ok(if stream {
        wire::stream(wire::EVENT_STREAM, run.frames(), pace)
    } else {
        wire::json(StatusCode::OK, &run.finished())
    })
}

/// The response as it is when it begins: nothing put out, usage unknown.
fn object(request: &Value, model: &str) -> Value {
    json!({
        "id": wire::id("resp_"),
        "object": "response",
        "created_at": wire::unix_seconds(),
        "status": "in_progress",
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "max_tool_calls": null,
        "metadata": {},
        "model": model,
        "output": [],
        "parallel_tool_calls": true,
        "previous_response_id": null,
        "reasoning": {"effort": null, "summary": null},
        "service_tier": "default",
        "store": false,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": null,
        "user": null,
    })
}

struct Run {
    object: Value,
    message_id: String,
    reply: Reply,
    input_tokens: u64,
}

impl Run {
    fn status(&self) -> &'static str {
        if self.reply.cut { "incomplete" } else { "completed" }
    }

    fn part(text: &str) -> Value {
        json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text})
    }

    fn item(&self, status: &str, content: &Value) -> Value {
        json!({"id": self.message_id, "type": "message", "status": status, "role": "assistant", "content": content})
    }

    fn finished(&self) -> Value {
        let mut object = self.object.clone();
        object["status"] = json!(self.status());
        if self.reply.cut {
            object["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        object["output"] = json!([self.item(self.status(), &json!([Self::part(&self.reply.text())]))]);
        object["usage"] = json!({
            "input_tokens": self.input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": self.reply.tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.input_tokens + self.reply.tokens,
        });
        object
    }

    fn frames(&self) -> Vec<Frame> {
        let text = self.reply.text();
        let at = json!({"item_id": self.message_id, "output_index": 0, "content_index": 0});
        let mut events = Events::default();
        events.push("response.created", json!({"response": self.object}));
        events.push("response.in_progress", json!({"response": self.object}));
        events.push(
            "response.output_item.added",
            json!({"output_index": 0, "item": self.item("in_progress", &json!([]))}),
        );
        events.push("response.content_part.added", with(&at, &json!({"part": Self::part("")})));
        for piece in &self.reply.pieces {
            events.push("response.output_text.delta", with(&at, &json!({"delta": piece, "logprobs": []})));
        }
        events.push("response.output_text.done", with(&at, &json!({"text": text, "logprobs": []})));
        events.push("response.content_part.done", with(&at, &json!({"part": Self::part(&text)})));
        let item = self.item(self.status(), &json!([Self::part(&text)]));
        events.push("response.output_item.done", json!({"output_index": 0, "item": item}));
        events.push(
            if self.reply.cut { "response.incomplete" } else { "response.completed" },
            json!({"response": self.finished()}),
        );
        events.frames
    }
}

/// Events, numbered as they are pushed.
#[derive(Default)]
struct Events {
    frames: Vec<Frame>,
}

impl Events {
    fn push(&mut self, name: &str, mut data: Value) {
        data["type"] = json!(name);
        data["sequence_number"] = json!(self.frames.len());
        let event = wire::named_event(name, &data);
        let waits = matches!(name, "response.created" | "response.output_text.delta");
        self.frames.push(if waits { Frame::paced(event) } else { Frame::prompt(event) });
    }
}

fn with(base: &Value, more: &Value) -> Value {
    let mut merged = base.clone();
    if let (Some(merged), Some(more)) = (merged.as_object_mut(), more.as_object()) {
        merged.extend(more.clone());
    }
    merged
}
