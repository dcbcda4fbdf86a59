//! Gemini: generateContent whole and streamed, countTokens, and embeddings.

use std::time::Duration;

use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
    response::Response,
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    embeddings,
    prompt::{self, Prompt},
    reply::Reply,
    wire::{self, Frame, Invalid},
};

/// The dimensions of Gemini's embedding models.
const DIMENSIONS: u64 = 3072;
/// Gemini's own maximum of requests in one batch.
const MAX_BATCH: usize = 100;

/// How a stream is to be framed.
#[derive(Deserialize)]
pub(super) struct Framing {
    alt: Option<String>,
}

/// `{model}:{method}`: the path holds both.
pub(super) async fn call(
    State(pace): State<Duration>,
    Path(call): Path<String>,
    Query(framing): Query<Framing>,
    body: Bytes,
) -> Response {
    let Some((model, method)) = call.rsplit_once(':') else {
        return not_found(&call);
    };
    let answer = wire::parse(&body).and_then(|request| match method {
        "generateContent" => Ok(Some(wire::json(StatusCode::OK, &Generation::new(model, &request)?.whole()))),
        "streamGenerateContent" => {
            Ok(Some(Generation::new(model, &request)?.stream(framing.alt.as_deref() == Some("sse"), pace)))
        }
        "countTokens" => count_tokens(&request).map(Some),
        "embedContent" => {
            embed(&request).map(|embedding| Some(wire::json(StatusCode::OK, &json!({"embedding": embedding}))))
        }
        "batchEmbedContents" => batch_embed(&request).map(Some),
        _ => Ok(None),
    });
    match answer {
        Ok(Some(response)) => response,
        Ok(None) => not_found(&call),
        Err(invalid) => error(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", &invalid.message),
    }
}

/// A member by its camelCase or its proto name: Google takes both.
fn member<'a>(value: &'a Value, camel: &str, snake: &str) -> Option<&'a Value> {
    value.get(camel).or_else(|| value.get(snake)).filter(|found| !found.is_null())
}

fn read_prompt(request: &Value) -> Result<Prompt, Invalid> {
    match request.get("contents") {
        Some(contents @ Value::Array(turns)) if !turns.is_empty() => {
            Ok(Prompt::read(member(request, "systemInstruction", "system_instruction"), contents))
        }
        Some(contents @ Value::Object(_)) => Ok(Prompt::read(None, contents)),
        Some(Value::Array(_)) | None => {
            Err(Invalid::new("* GenerateContentRequest.contents: contents is not specified"))
        }
        Some(_) => Err(Invalid::new("Invalid value at 'contents': must be a list of contents")),
    }
}

struct Generation {
    model: String,
    response_id: String,
    prompt_tokens: u64,
    reply: Reply,
}

impl Generation {
    fn new(model: &str, request: &Value) -> Result<Self, Invalid> {
        let prompt = read_prompt(request)?;
        let none = json!({});
        let config = member(request, "generationConfig", "generation_config").unwrap_or(&none);
        let max_tokens = match wire::positive(config, "maxOutputTokens")? {
            Some(max) => Some(max),
            None => wire::positive(config, "max_output_tokens")?,
        };
        if member(config, "candidateCount", "candidate_count").is_some_and(|count| count.as_u64() != Some(1)) {
            return Err(Invalid::new("Multiple candidates is not enabled for this model"));
        }
        let reply = Reply::new(model, &prompt.question, max_tokens);
        Ok(Self { model: model.to_owned(), response_id: wire::id(""), prompt_tokens: prompt.tokens, reply })
    }

    fn whole(&self) -> Value {
        self.response(&self.reply.text(), self.reply.tokens, Some(self.finish_reason()))
    }

    fn finish_reason(&self) -> &'static str {
        if self.reply.cut { "MAX_TOKENS" } else { "STOP" }
    }

    fn response(&self, text: &str, tokens: u64, finish_reason: Option<&str>) -> Value {
        let mut candidate = json!({"content": {"parts": [{"text": text}], "role": "model"}, "index": 0});
        if let Some(reason) = finish_reason {
            candidate["finishReason"] = json!(reason);
        }
        json!({
            "candidates": [candidate],
            "usageMetadata": {
                "promptTokenCount": self.prompt_tokens,
                "candidatesTokenCount": tokens,
                "totalTokenCount": self.prompt_tokens + tokens,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": self.prompt_tokens}],
            },
            "modelVersion": self.model,
            "responseId": self.response_id,
        })
    }

    /// As server-sent events, or as one JSON array that grows.
    fn stream(&self, sse: bool, pace: Duration) -> Response {
        let last = self.reply.pieces.len().saturating_sub(1);
        let mut said = 0;
        let chunks = self.reply.pieces.iter().enumerate().map(|(index, piece)| {
            said += piece.len();
            // Every chunk carries the usage so far, as Google's do.
            let tokens = if index == last { self.reply.tokens } else { (said / 4) as u64 };
            let chunk = self.response(piece, tokens, (index == last).then(|| self.finish_reason()));
            Frame::paced(match (sse, index) {
                (true, _) => format!("data: {chunk}\r\n\r\n"),
                (false, 0) => format!("[{chunk}"),
                (false, _) => format!(",\r\n{chunk}"),
            })
        });
        let mut frames: Vec<Frame> = chunks.collect();
        if !sse {
            frames.push(Frame::prompt("]"));
        }
        wire::stream(if sse { "text/event-stream" } else { "application/json; charset=UTF-8" }, frames, pace)
    }
}

fn count_tokens(request: &Value) -> Result<Response, Invalid> {
    let inner = member(request, "generateContentRequest", "generate_content_request").unwrap_or(request);
    let tokens = read_prompt(inner)?.tokens;
    let details = json!([{"modality": "TEXT", "tokenCount": tokens}]);
    Ok(wire::json(StatusCode::OK, &json!({"totalTokens": tokens, "promptTokensDetails": details})))
}

fn embed(request: &Value) -> Result<Value, Invalid> {
    let text = request.get("content").map(prompt::texts).unwrap_or_default().join("\n");
    if text.is_empty() {
        return Err(Invalid::new("* EmbedContentRequest.content: content is empty"));
    }
    let name =
        if request.get("output_dimensionality").is_some() { "output_dimensionality" } else { "outputDimensionality" };
    let dimensions = embeddings::dimensions(request, name, DIMENSIONS)?;
    Ok(json!({"values": embeddings::vector(text.as_bytes(), dimensions)}))
}

fn batch_embed(request: &Value) -> Result<Response, Invalid> {
    let requests = request.get("requests").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if requests.is_empty() || requests.len() > MAX_BATCH {
        return Err(Invalid::new(format!(
            "* BatchEmbedContentsRequest.requests: 1 to {MAX_BATCH} requests must be in one batch"
        )));
    }
    let embeddings: Vec<Value> = requests.iter().map(embed).collect::<Result<_, _>>()?;
    Ok(wire::json(StatusCode::OK, &json!({"embeddings": embeddings})))
}

fn not_found(call: &str) -> Response {
    error(StatusCode::NOT_FOUND, "NOT_FOUND", &format!("the pretend provider has no models/{call}"))
}

fn error(code: StatusCode, status: &str, message: &str) -> Response {
    wire::json(code, &json!({"error": {"code": code.as_u16(), "message": message, "status": status}}))
}
