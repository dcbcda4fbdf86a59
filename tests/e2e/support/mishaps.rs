//! What providers send instead of an answer, in the words of each API.

use serde_json::{Value, json};

use super::{Answer, Api};

/// An error as a provider writes it as a whole answer.
pub fn error_document(api: Api) -> Value {
    match api {
        Api::Anthropic => json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
        Api::Gemini => json!({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}),
        _ => {
            json!({"error": {"message": "The server had an error", "type": "server_error", "param": null, "code": null}})
        }
    }
}

/// An error in the middle of a stream.
pub fn error_event(api: Api) -> String {
    match api {
        Api::Responses => {
            let error = json!({"type": "error", "code": "server_error", "message": "The server had an error",
                "param": null, "sequence_number": 99});
            event(api, &error)
        }
        _ => event(api, &error_document(api)),
    }
}

/// An error that the client has made, and would meet everywhere.
pub fn own_error(api: Api) -> Value {
    let message = "the prompt is longer than this model's context";
    match api {
        Api::Anthropic => json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}}),
        Api::Gemini => json!({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}),
        Api::Chat | Api::Responses | Api::Embeddings => json!({"error": {"message": message,
            "type": "invalid_request_error", "param": "input", "code": "context_length_exceeded"}}),
    }
}

/// The same, as an event.
pub fn own_error_event(api: Api) -> String {
    let mut error = own_error(api);
    if api == Api::Responses {
        error = json!({"type": "response.failed", "response": {"status": "failed", "output": [], "usage": null,
            "error": error["error"]}});
    }
    event(api, &error)
}

/// What a provider sends when it will not say anything to this prompt.
pub fn refusal(api: Api, stream: bool) -> Answer {
    let document = match api {
        Api::Anthropic if stream => json!({"type": "message_delta", "delta": {"stop_reason": "refusal"},
            "usage": {"output_tokens": 0}}),
        Api::Anthropic => json!({"type": "message", "content": [], "stop_reason": "refusal"}),
        Api::Chat if stream => json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]}),
        Api::Chat => {
            json!({"choices": [{"index": 0, "message": {"content": null}, "finish_reason": "content_filter"}]})
        }
        Api::Responses => {
            let response = json!({"object": "response", "status": "incomplete", "error": null, "output": [],
                "incomplete_details": {"reason": "content_filter"}});
            if stream { json!({"type": "response.incomplete", "response": response}) } else { response }
        }
        Api::Gemini => json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
        Api::Embeddings => own_error(api),
    };
    if !stream {
        return Answer::json(200, &document);
    }
    Answer::sse(prelude(api).into_iter().chain([event(api, &document)]))
}

/// The events that come before a stream's first word.
pub fn prelude(api: Api) -> Vec<String> {
    let mut events = match api {
        Api::Anthropic | Api::Chat | Api::Responses => api.events(&api.tokens()),
        Api::Gemini => vec![event(api, &json!({"candidates": [{"index": 0, "content": {"role": "model"}}]}))],
        Api::Embeddings => panic!("embeddings do not stream"),
    };
    events.truncate(match api {
        Api::Anthropic => 3,
        Api::Responses => 2,
        _ => 1,
    });
    events
}

/// The dialect's own end of a stream in which nothing has been said.
pub fn closing(api: Api) -> Vec<String> {
    match api {
        Api::Anthropic => vec![event(api, &json!({"type": "message_stop"}))],
        Api::Chat => vec![
            event(api, &json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})),
            "data: [DONE]\n\n".to_owned(),
        ],
        Api::Responses => vec![event(
            api,
            &json!({"type": "response.completed", "response": {"status": "completed", "error": null, "output": []}}),
        )],
        _ => vec![event(api, &json!({"candidates": [{"index": 0, "finishReason": "STOP"}]}))],
    }
}

/// What keeps a connection open and says nothing.
pub fn ping(api: Api) -> String {
    match api {
        Api::Anthropic => event(api, &json!({"type": "ping"})),
        _ => ": keep-alive\n\n".to_owned(),
    }
}

fn event(api: Api, document: &Value) -> String {
    let end = if api == Api::Gemini { "\r\n\r\n" } else { "\n\n" };
    match document["type"].as_str() {
        Some(name) if matches!(api, Api::Anthropic | Api::Responses) => format!("event: {name}\ndata: {document}{end}"),
        _ => format!("data: {document}{end}"),
    }
}
