//! Every API that the gateway speaks: how a client asks, and how a provider answers with usage that is known.

use serde_json::{Value, json};

use super::Answer;
use super::gateway::MODEL;
use super::wire::Reply;

/// An API of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    Anthropic,
    Chat,
    Responses,
    Embeddings,
    Gemini,
}

/// What an answer says it used; every token in one field, as the ledger counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    pub input: i64,
    pub output: i64,
    pub cache_read: i64,
    pub cache_write_5m: i64,
    pub cache_write_1h: i64,
    pub reasoning: i64,
}

/// The words of the answer, one per event.
const WORDS: [&str; 4] = ["Rain", " is", " likely", ", says ☂."];

impl Api {
    pub const ALL: [Self; 5] = [Self::Anthropic, Self::Chat, Self::Responses, Self::Embeddings, Self::Gemini];

    /// Those that stream.
    pub const STREAMING: [Self; 4] = [Self::Anthropic, Self::Chat, Self::Responses, Self::Gemini];

    /// Every API, whole and, where it can, streamed.
    pub fn every_way() -> impl Iterator<Item = (Self, bool)> {
        Self::ALL.into_iter().map(|api| (api, false)).chain(Self::STREAMING.map(|api| (api, true)))
    }

    /// Whole, and streamed if it can be.
    pub fn ways(self) -> impl Iterator<Item = bool> {
        [false, true].into_iter().filter(move |stream| !stream || Self::STREAMING.contains(&self))
    }

    /// The name in the configuration and the ledger.
    pub fn dialect(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Chat => "openai_chat",
            Self::Responses => "openai_responses",
            Self::Embeddings => "openai_embeddings",
            Self::Gemini => "gemini",
        }
    }

    /// Where a client posts.
    pub fn path(self, model: &str, stream: bool) -> String {
        match self {
            Self::Anthropic => "/v1/messages".to_owned(),
            Self::Chat => "/v1/chat/completions".to_owned(),
            Self::Responses => "/v1/responses".to_owned(),
            Self::Embeddings => "/v1/embeddings".to_owned(),
            Self::Gemini if stream => format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            Self::Gemini => format!("/v1beta/models/{model}:generateContent"),
        }
    }

    /// What a client posts. A chat client asks for the usage of its stream.
    pub fn request(self, model: &str, stream: bool) -> Value {
        let question = "Will it rain in Zürich?";
        let mut body = match self {
            Self::Anthropic => json!({"model": model, "max_tokens": 1000,
                "messages": [{"role": "user", "content": question}]}),
            Self::Chat => json!({"model": model, "messages": [{"role": "user", "content": question}]}),
            Self::Responses => json!({"model": model, "input": question}),
            Self::Embeddings => return json!({"model": model, "input": [question]}),
            Self::Gemini => return json!({"contents": [{"role": "user", "parts": [{"text": question}]}]}),
        };
        if stream {
            body["stream"] = json!(true);
            if self == Self::Chat {
                body["stream_options"] = json!({"include_usage": true});
            }
        }
        body
    }

    /// The header in which the provider expects its key.
    pub fn key_header(self, key: &str) -> (&'static str, String) {
        match self {
            Self::Anthropic => ("x-api-key", key.to_owned()),
            Self::Gemini => ("x-goog-api-key", key.to_owned()),
            Self::Chat | Self::Responses | Self::Embeddings => ("authorization", format!("Bearer {key}")),
        }
    }

    /// A provider's whole answer with this API's [`tokens`](Self::tokens).
    pub fn answer(self) -> Answer {
        Answer::bytes(200, "application/json", self.whole(&self.tokens()))
    }

    /// The same, streamed.
    pub fn stream(self) -> Answer {
        Answer::sse(self.events(&self.tokens()))
    }

    /// A provider's answer to either kind of request.
    pub fn answer_to(self, stream: bool) -> Answer {
        if stream { self.stream() } else { self.answer() }
    }

    /// The code of a refusal in this API's shape; checks the shape.
    pub fn code(self, reply: &Reply) -> String {
        let (body, status) = (reply.json(), reply.head.status);
        assert_eq!(reply.head.get("content-type").map(|value| value.starts_with("application/json")), Some(true));
        let error = &body["error"];
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "a message in {body}");
        let code = match self {
            Self::Anthropic => {
                assert_eq!(body["type"], "error", "{body}");
                assert_eq!(body["request_id"], reply.head.request_id(), "{body}");
                assert!(error["type"].is_string(), "{body}");
                &error["code"]
            }
            Self::Gemini => {
                assert_eq!(error["code"], status, "{body}");
                assert!(error["status"].is_string(), "{body}");
                assert_eq!(error["details"][0]["@type"], "type.googleapis.com/google.rpc.ErrorInfo", "{body}");
                assert_eq!(error["details"][0]["domain"], "tollgate", "{body}");
                &error["details"][0]["reason"]
            }
            Self::Chat | Self::Responses | Self::Embeddings => {
                assert!(error["type"].is_string(), "{body}");
                assert!(error.get("param").is_some(), "{body}");
                &error["code"]
            }
        };
        code.as_str().unwrap_or_else(|| panic!("a code in {body}")).to_owned()
    }

    /// The error type that this API has for a status.
    pub fn error_type(self, status: u16) -> &'static str {
        match self {
            Self::Anthropic => match status {
                401 => "authentication_error",
                402 => "billing_error",
                403 => "permission_error",
                404 => "not_found_error",
                413 => "request_too_large",
                429 => "rate_limit_error",
                500 => "api_error",
                503 => "overloaded_error",
                _ => "invalid_request_error",
            },
            Self::Gemini => match status {
                401 => "UNAUTHENTICATED",
                402 | 429 => "RESOURCE_EXHAUSTED",
                403 => "PERMISSION_DENIED",
                404 => "NOT_FOUND",
                405 => "UNIMPLEMENTED",
                408 => "DEADLINE_EXCEEDED",
                500 => "INTERNAL",
                503 => "UNAVAILABLE",
                _ => "INVALID_ARGUMENT",
            },
            Self::Chat | Self::Responses | Self::Embeddings => match status {
                402 => "insufficient_quota",
                429 => "rate_limit_error",
                500.. => "server_error",
                _ => "invalid_request_error",
            },
        }
    }

    /// Checks that a reply refuses with this status and code, in this API's shape and with its type.
    pub fn refuses(self, reply: &Reply, status: u16, code: &str) {
        assert_eq!(reply.head.status, status, "{}", String::from_utf8_lossy(&reply.body));
        assert_eq!(self.code(reply), code, "{}", reply.json());
        let kind = if self == Self::Gemini { "status" } else { "type" };
        assert_eq!(reply.json()["error"][kind], self.error_type(status), "{}", reply.json());
    }

    /// A usage in which every number that this API can say is different.
    pub fn tokens(self) -> Tokens {
        let base = Tokens { input: 1200, output: 250, ..Tokens::default() };
        match self {
            Self::Anthropic => Tokens { cache_read: 310, cache_write_5m: 40, cache_write_1h: 7, ..base },
            Self::Chat | Self::Responses | Self::Gemini => Tokens { cache_read: 310, reasoning: 55, ..base },
            Self::Embeddings => Tokens { output: 0, ..base },
        }
    }

    /// The usage as the provider writes it.
    pub fn usage(self, tokens: &Tokens) -> Value {
        let Tokens { input, output, cache_read, cache_write_5m, cache_write_1h, reasoning } = *tokens;
        let (prompt, answer) = (input + cache_read, output + reasoning);
        match self {
            Self::Anthropic => json!({
                "input_tokens": input, "output_tokens": output, "cache_read_input_tokens": cache_read,
                "cache_creation_input_tokens": cache_write_5m + cache_write_1h,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": cache_write_5m, "ephemeral_1h_input_tokens": cache_write_1h,
                },
                "service_tier": "standard",
            }),
            Self::Chat => json!({
                "prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer,
                "prompt_tokens_details": {"cached_tokens": cache_read, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": 0},
            }),
            Self::Responses => json!({
                "input_tokens": prompt, "output_tokens": answer, "total_tokens": prompt + answer,
                "input_tokens_details": {"cached_tokens": cache_read},
                "output_tokens_details": {"reasoning_tokens": reasoning},
            }),
            Self::Embeddings => json!({"prompt_tokens": prompt, "total_tokens": prompt}),
            Self::Gemini => json!({
                "promptTokenCount": prompt, "candidatesTokenCount": output, "totalTokenCount": prompt + answer,
                "cachedContentTokenCount": cache_read, "thoughtsTokenCount": reasoning,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
            }),
        }
    }

    /// A whole answer, with odd spacing and an unknown field, so that a rewritten one is noticed.
    pub fn whole(self, tokens: &Tokens) -> String {
        let usage = self.usage(tokens);
        let text = WORDS.concat();
        let body = match self {
            Self::Anthropic => json!({
                "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "stop_sequence": null,
                "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": usage,
            }),
            Self::Chat => json!({
                "id": "chatcmpl-1", "object": "chat.completion", "created": 1_750_000_000, "model": MODEL,
                "choices": [{
                    "index": 0, "finish_reason": "stop", "logprobs": null,
                    "message": {"role": "assistant", "content": text, "refusal": null},
                }],
                "usage": usage,
            }),
            Self::Responses => response("completed", &text, Some(&usage)),
            Self::Embeddings => json!({
                "object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 1.0]}],
                "model": MODEL, "usage": usage,
            }),
            Self::Gemini => gemini(&text, Some("STOP"), &usage),
        };
        let body = serde_json::to_string_pretty(&body).unwrap();
        format!("{},\n  \"of_the_future\" : [ 1.50, 1e2 ]\n}}\n", body.strip_suffix("\n}").unwrap())
    }

    /// A streamed answer, event by event.
    pub fn events(self, tokens: &Tokens) -> Vec<String> {
        match self {
            Self::Anthropic => self.anthropic_events(tokens),
            Self::Chat => self.chat_events(tokens),
            Self::Responses => self.responses_events(tokens),
            Self::Embeddings => panic!("embeddings do not stream"),
            Self::Gemini => self.gemini_events(tokens),
        }
    }

    fn anthropic_events(self, tokens: &Tokens) -> Vec<String> {
        // The first event knows the input; the output that it says is only a beginning.
        let start = self.usage(&Tokens { output: 1, ..*tokens });
        let mut events = vec![
            named(&json!({"type": "message_start", "message": {
                "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": [],
                "stop_reason": null, "stop_sequence": null, "usage": start,
            }})),
            named(&json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})),
            named(&json!({"type": "ping"})),
        ];
        events.extend(WORDS.map(|word| {
            named(&json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}))
        }));
        events.push(named(&json!({"type": "content_block_stop", "index": 0})));
        events.push(named(&json!({
            "type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": tokens.output},
        })));
        events.push(named(&json!({"type": "message_stop"})));
        events
    }

    fn chat_events(self, tokens: &Tokens) -> Vec<String> {
        let chunk = |choices: Value, usage: Value| {
            data(&json!({
                "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_750_000_000, "model": MODEL,
                "choices": choices, "usage": usage,
            }))
        };
        let choice = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        let mut events = vec![chunk(choice(json!({"role": "assistant", "content": ""}), Value::Null), Value::Null)];
        events.extend(WORDS.map(|word| chunk(choice(json!({"content": word}), Value::Null), Value::Null)));
        events.push(chunk(choice(json!({}), json!("stop")), Value::Null));
        events.push(chunk(json!([]), self.usage(tokens)));
        events.push("data: [DONE]\n\n".to_owned());
        events
    }

    fn responses_events(self, tokens: &Tokens) -> Vec<String> {
        let mut number = 0;
        let mut event = |mut body: Value| {
            body["sequence_number"] = json!(number);
            number += 1;
            named(&body)
        };
        let part = json!({"type": "output_text", "text": "", "annotations": []});
        let mut events = vec![
            event(json!({"type": "response.created", "response": response("in_progress", "", None)})),
            event(json!({"type": "response.in_progress", "response": response("in_progress", "", None)})),
            event(json!({"type": "response.output_item.added", "output_index": 0, "item": {
                "id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": [],
            }})),
            event(json!({"type": "response.content_part.added", "item_id": "msg_1", "output_index": 0,
                "content_index": 0, "part": part})),
        ];
        events.extend(WORDS.map(|word| {
            event(json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0,
                "content_index": 0, "delta": word, "logprobs": []}))
        }));
        let text = WORDS.concat();
        events.push(event(json!({"type": "response.output_text.done", "item_id": "msg_1", "output_index": 0,
            "content_index": 0, "text": text, "logprobs": []})));
        let whole = response("completed", &text, Some(&self.usage(tokens)));
        events.push(event(json!({"type": "response.completed", "response": whole})));
        events
    }

    fn gemini_events(self, tokens: &Tokens) -> Vec<String> {
        // Google ends lines with CR LF, and says running numbers in every chunk: only the last ones count.
        let last = WORDS.len() - 1;
        let chunk = |(at, word): (usize, &&str)| {
            let tokens = if at == last { *tokens } else { Tokens { output: at as i64 + 1, reasoning: 3, ..*tokens } };
            let finish = (at == last).then_some("STOP");
            format!("data: {}\r\n\r\n", gemini(word, finish, &self.usage(&tokens)))
        };
        WORDS.iter().enumerate().map(chunk).collect()
    }
}

impl Tokens {
    /// What they cost at [`price`](super::gateway::price), in nano-dollars.
    pub fn cost(&self) -> i64 {
        self.input * 3_000
            + self.output * 15_000
            + self.cache_read * 300
            + self.cache_write_5m * 3_750
            + self.cache_write_1h * 6_000
            + self.reasoning * 17_000
    }

    /// How many there are.
    pub fn sum(&self) -> i64 {
        self.input + self.output + self.cache_read + self.cache_write_5m + self.cache_write_1h + self.reasoning
    }

    /// What a ledger row says.
    pub fn of_row(row: &Value) -> Self {
        let field = |name: &str| row["tokens"][name].as_i64().unwrap_or_else(|| panic!("tokens.{name} of {row}"));
        Self {
            input: field("input"),
            output: field("output"),
            cache_read: field("cacheRead"),
            cache_write_5m: field("cacheWrite5m"),
            cache_write_1h: field("cacheWrite1h"),
            reasoning: field("reasoning"),
        }
    }
}

/// The cost that a ledger row says, in nano-dollars.
pub fn cost_of_row(row: &Value) -> i64 {
    let usd = row["costUsd"].as_f64().unwrap_or_else(|| panic!("costUsd of {row}"));
    (usd * 1e9).round() as i64
}

/// An event whose name is its type, as Anthropic and the Responses API write them.
fn named(body: &Value) -> String {
    format!("event: {}\ndata: {body}\n\n", body["type"].as_str().unwrap())
}

fn data(body: &Value) -> String {
    format!("data: {body}\n\n")
}

fn response(status: &str, text: &str, usage: Option<&Value>) -> Value {
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "status": status,
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    });
    json!({
        "id": "resp_1", "object": "response", "created_at": 1_750_000_000, "status": status, "error": null,
        "incomplete_details": null, "instructions": null, "metadata": {}, "model": MODEL,
        "output": if usage.is_some() { json!([message]) } else { json!([]) },
        "parallel_tool_calls": true, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
        "usage": usage,
    })
}

fn gemini(text: &str, finish: Option<&str>, usage: &Value) -> Value {
    let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": [{"text": text}]}});
    if let Some(finish) = finish {
        candidate["finishReason"] = json!(finish);
    }
    json!({"candidates": [candidate], "modelVersion": MODEL, "responseId": "r-1", "usageMetadata": usage})
}
