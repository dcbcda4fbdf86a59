//! What is asked and what is answered: the bodies that generator and upstream agree on.

use std::fmt::Write as _;

use bytes::Bytes;
use clap::ValueEnum;
use serde_json::json;

/// Events of a streamed answer, its end not counted.
pub const EVENTS: usize = 100;
/// Events of a held stream that are sent before it waits.
pub const EVENTS_BEFORE_HOLD: usize = 10;
/// The user's text that makes the upstream hold a stream open until it is told to end it.
pub const HOLD: &str = "hold";
/// Ends every held stream.
pub const RELEASE_PATH: &str = "/release";
pub const CHAT_PATH: &str = "/v1/chat/completions";
pub const MODEL: &str = "gpt-4o-mini";

const DONE: &str = "data: [DONE]\n\n";
const WHOLE_ANSWER_BYTES: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// A request of 1 KiB, an answer of 1 KiB.
    Small,
    /// A request of 100 KiB, an answer of 1 KiB.
    Large,
    /// A request of 1 KiB, an answer of 100 events.
    Stream,
    /// A stream that stays open.
    Held,
}

impl Scenario {
    pub const MEASURED: [Self; 3] = [Self::Small, Self::Large, Self::Stream];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Small => "1 KiB request, 1 KiB answer",
            Self::Large => "100 KiB request, 1 KiB answer",
            Self::Stream => "stream of 100 events",
            Self::Held => "stream held open",
        }
    }

    pub const fn streams(self) -> bool {
        matches!(self, Self::Stream | Self::Held)
    }

    /// The request body. Clients seldom ask for usage in a stream: the gateway then has the more to do.
    pub fn request(self) -> Bytes {
        let text = match self {
            Self::Small | Self::Stream => "toll ".repeat(180),
            Self::Large => "toll ".repeat(20_440),
            Self::Held => HOLD.to_owned(),
        };
        let messages = json!([{"role": "user", "content": text}]);
        json!({"model": MODEL, "messages": messages, "stream": self.streams()}).to_string().into()
    }

    /// What a client gets that did not ask for usage in its stream, to the byte.
    pub fn answer_length(self) -> u64 {
        let events = match self {
            Self::Small | Self::Large => return whole_answer().len() as u64,
            Self::Stream => EVENTS,
            Self::Held => EVENTS_BEFORE_HOLD,
        };
        (events * event().len() + ending(false).len()) as u64
    }
}

/// A whole answer of about 1 KiB.
pub fn whole_answer() -> Bytes {
    let answer = |content: &str| {
        json!({
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": MODEL,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": content},
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": {"prompt_tokens": 250, "completion_tokens": 170, "total_tokens": 420},
        })
        .to_string()
    };
    let content = "x".repeat(WHOLE_ANSWER_BYTES.saturating_sub(answer("").len()));
    answer(&content).into()
}

/// One event of a streamed answer.
pub fn event() -> Bytes {
    chunk(&json!([{"index": 0, "delta": {"content": "Stand and deliver! "}, "finish_reason": null}])).into()
}

/// What comes after the last event.
pub fn ending(with_usage: bool) -> Bytes {
    let mut text = chunk(&json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]));
    if with_usage {
        let usage = json!({"prompt_tokens": 250, "completion_tokens": 500, "total_tokens": 750});
        let last = json!({"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_700_000_000,
                          "model": MODEL, "choices": [], "usage": usage});
        // Writing to a String cannot fail.
        let _ = write!(text, "data: {last}\n\n");
    }
    text.push_str(DONE);
    text.into()
}

fn chunk(choices: &serde_json::Value) -> String {
    let body = json!({"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_700_000_000,
                      "model": MODEL, "choices": choices});
    format!("data: {body}\n\n")
}
