//! OpenAI Chat Completions, whole and streamed.

use std::time::Duration;

use axum::{extract::State, http::StatusCode, response::Response};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    prompt::Prompt,
    reply::Reply,
    wire::{self, Frame, Invalid},
};

/// OpenAI's own maximum of `n`.
const MAX_CHOICES: u64 = 128;

pub(super) async fn completions(State(pace): State<Duration>, body: Bytes) -> Response {
    answer(&body, pace).unwrap_or_else(|invalid| refuse(&invalid))
}

/// OpenAI's shape of a 400, for all of its endpoints.
pub(super) fn refuse(invalid: &Invalid) -> Response {
    let body = json!({"error": {"message": invalid.message, "type": "invalid_request_error", "param": invalid.param, "code": null}});
    wire::json(StatusCode::BAD_REQUEST, &body)
}

fn answer(body: &[u8], pace: Duration) -> Result<Response, Invalid> {
    let request = wire::parse(body)?;
    let model = wire::model(&request)?;
    let messages = match request.get("messages") {
        Some(list @ Value::Array(messages)) if !messages.is_empty() => list,
        Some(Value::Array(_)) => {
            return Err(Invalid::param("messages", "messages: at least one message is required"));
        }
        Some(_) => {
            return Err(Invalid::param("messages", "messages: must be an array of messages"));
        }
        None => {
            return Err(Invalid::param("messages", "Missing required parameter: 'messages'."));
        }
    };
    let max_tokens = match wire::positive(&request, "max_completion_tokens")? {
        Some(max) => Some(max),
        None => wire::positive(&request, "max_tokens")?,
    };
    let choices = wire::positive(&request, "n")?.unwrap_or(1);
    if choices > MAX_CHOICES {
        return Err(Invalid::param("n", format!("n: must be at most {MAX_CHOICES}")));
    }
    let stream = wire::flag(&request, "stream")?;
    let include_usage = match request.get("stream_options") {
        None | Some(Value::Null) => false,
        Some(options) if stream => wire::flag(options, "include_usage")?,
        Some(_) => {
            return Err(Invalid::param("stream_options", "stream_options: only allowed when 'stream' is true"));
        }
    };

    let prompt = Prompt::read(None, messages);
    let reply = Reply::new(model, &prompt.question, max_tokens);
    let completion = Completion { head: Head::new(model), choices, reply, prompt_tokens: prompt.tokens };
    Ok(if stream {
        wire::stream(wire::EVENT_STREAM, completion.frames(include_usage), pace)
    } else {
        wire::json(StatusCode::OK, &completion.whole())
    })
}

/// What every chunk of one answer repeats.
struct Head {
    id: String,
    created: i64,
    model: String,
}

impl Head {
    fn new(model: &str) -> Self {
        Self { id: wire::id("chatcmpl-"), created: wire::unix_seconds(), model: model.to_owned() }
    }

    fn object(&self, object: &str, choices: &Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "choices": choices,
            "service_tier": "default",
            "system_fingerprint": "fp_pretend",
        })
    }
}

struct Completion {
    head: Head,
    choices: u64,
    reply: Reply,
    prompt_tokens: u64,
}

impl Completion {
    fn finish_reason(&self) -> &'static str {
        if self.reply.cut { "length" } else { "stop" }
    }

    fn usage(&self) -> Value {
        let completion_tokens = self.reply.tokens * self.choices;
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        })
    }

    fn whole(&self) -> Value {
        let message = json!({"role": "assistant", "content": self.reply.text(), "refusal": null, "annotations": []});
        let choices = (0..self.choices)
            .map(|index| json!({"index": index, "message": message, "logprobs": null, "finish_reason": self.finish_reason()}))
            .collect();
        let mut body = self.head.object("chat.completion", &Value::Array(choices));
        body["usage"] = self.usage();
        body
    }

    fn frames(&self, include_usage: bool) -> Vec<Frame> {
        let chunk = |choices: &Value, usage: Value| {
            let mut chunk = self.head.object("chat.completion.chunk", choices);
            // The member is only there for those who asked, null in all chunks but the last.
            if include_usage {
                chunk["usage"] = usage;
            }
            wire::event(&chunk)
        };
        let delta = |index: u64, delta: Value, finish_reason: Option<&str>| {
            chunk(
                &json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]),
                Value::Null,
            )
        };

        let mut frames = Vec::new();
        let mut round = |of: &dyn Fn(u64) -> String| {
            // The choices of one step come together; only the first of them is waited for.
            frames.push(Frame::paced(of(0)));
            frames.extend((1..self.choices).map(|index| Frame::prompt(of(index))));
        };
        round(&|index| delta(index, json!({"role": "assistant", "content": "", "refusal": null}), None));
        for piece in &self.reply.pieces {
            round(&|index| delta(index, json!({"content": piece}), None));
        }
        round(&|index| delta(index, json!({}), Some(self.finish_reason())));
        if include_usage {
            frames.push(Frame::prompt(chunk(&json!([]), self.usage())));
        }
        frames.push(Frame::prompt("data: [DONE]\n\n"));
        frames
    }
}
