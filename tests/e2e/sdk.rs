//! The official SDKs work unchanged: only their base URL and key are the gateway's. Errors are their own types.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use serde_json::{Value, json};

use crate::support::gateway::{MODEL, Setup};
use crate::support::provider::{End, Received};
use crate::support::{Answer, Api, Gateway, Provider, program};

const DIALECTS: [&str; 5] = ["anthropic", "openai_chat", "openai_responses", "openai_embeddings", "gemini"];
const TEXT: &str = "Rain is likely, says ☂.";

/// What the pretend provider says to the SDKs' programs; they can order a fault in a field that names the user.
fn provider_says(request: &Received) -> Answer {
    let body = request.json();
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let api = match path {
        "/v1/messages" => Api::Anthropic,
        "/v1/chat/completions" => Api::Chat,
        "/v1/responses" => Api::Responses,
        "/v1/embeddings" => return embedding(&body),
        "/v1/messages/count_tokens" => return Answer::json(200, &json!({"input_tokens": 14})),
        _ if path.ends_with(":countTokens") => return Answer::json(200, &json!({"totalTokens": 14})),
        _ if path.ends_with(":embedContent") => {
            return Answer::json(200, &json!({"embedding": {"values": [0.25, -0.5]}}));
        }
        _ if path.ends_with(":batchEmbedContents") => {
            return Answer::json(200, &json!({"embeddings": [{"values": [0.25, -0.5]}]}));
        }
        _ => Api::Gemini,
    };
    let order = [&body["user"], &body["metadata"]["user_id"], &body["contents"][0]["parts"][0]["text"]]
        .into_iter()
        .find_map(Value::as_str)
        .unwrap_or_default();
    if let Some(status) = order.strip_prefix("status-") {
        return fault(api, status.parse().unwrap());
    }
    let stream = body["stream"] == true || query.contains("alt=sse");
    match order {
        "hang-up" => Answer::silence(End::Close),
        "break-off" => api.stream().only(2, End::Reset),
        _ if stream => api.stream(),
        _ => api.answer(),
    }
}

/// An error in the provider's own words.
fn fault(api: Api, status: u16) -> Answer {
    let message = format!("the provider says {status}");
    let kind = api.error_type(status);
    let body = match api {
        Api::Anthropic => json!({"type": "error", "error": {"type": kind, "message": message}}),
        Api::Gemini => json!({"error": {"code": status, "message": message, "status": kind}}),
        _ => json!({"error": {"message": message, "type": kind, "param": null, "code": null}}),
    };
    Answer::json(status, &body)
}

fn embedding(request: &Value) -> Answer {
    let vector = [0.25_f32, -0.5, 0.75];
    let embedding = if request["encoding_format"] == "base64" {
        let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
        json!(base64::engine::general_purpose::STANDARD.encode(bytes))
    } else {
        json!(vector)
    };
    Answer::json(
        200,
        &json!({
            "object": "list", "model": MODEL, "usage": Api::Embeddings.usage(&Api::Embeddings.tokens()),
            "data": [{"object": "embedding", "index": 0, "embedding": embedding}],
        }),
    )
}

/// Runs a program of `tests/sdk` and gives back what it reported, by scenario.
async fn run(gateway: &Gateway, program: &str) -> BTreeMap<String, Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (interpreter, file): (PathBuf, PathBuf) = if program.ends_with(".py") {
        (root.join(".venv/bin/python"), root.join("tests/sdk/python").join(program))
    } else {
        ("node".into(), root.join("tests/sdk/node").join(program))
    };
    let confined = gateway.admin().caller(json!({}), json!({"allowedModels": ["another-model"]})).await;
    let slow = gateway.admin().caller(json!({}), json!({"rpm": 1})).await;
    let broke = gateway.admin().caller(json!({}), json!({"limits": {"total": {"usd": 0.000_001}}})).await;
    assert_eq!(gateway.ask_with(&broke.secret, Api::Chat, MODEL, false).await.head.status, 200);
    let keys = json!({
        "good": gateway.key(), "confined": confined.secret, "slow": slow.secret, "broke": broke.secret, "wrong": format!("tg-{}", "x".repeat(43)),
    });
    let mut command = Command::new(&interpreter);
    command.arg(&file).env("TOLLGATE_URL", gateway.url()).env("TOLLGATE_MODEL", MODEL);
    command.env("TOLLGATE_KEYS", keys.to_string());
    for name in ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "GEMINI_API_KEY", "GOOGLE_API_KEY"] {
        command.env_remove(name);
    }
    let reports = program::reports(command, "scenario").await;
    // A refusal that asking again does not change is not asked again.
    gateway.metric_is("refusals_total{axis=\"key\",code=\"budget_exceeded\"", 1.0).await;
    reports
}

/// A report must say at least this.
fn says(reports: &BTreeMap<String, Value>, scenario: &str, facts: &Value) {
    let report = reports.get(scenario).unwrap_or_else(|| panic!("no report of {scenario} in {reports:#?}"));
    for (name, value) in facts.as_object().unwrap() {
        assert_eq!(&report[name], value, "{name} of {scenario}: {report}");
    }
}

async fn gateway() -> (Provider, Gateway) {
    let provider = Provider::start().await;
    provider.decide(provider_says);
    let setup = Setup::new([provider.entry("upstream", &DIALECTS)]).set("server.max_request_body", "256KiB");
    (provider, setup.start().await)
}

fn openai_facts(reports: &BTreeMap<String, Value>) {
    let (prompt, answer) = (1510, 305);
    says(reports, "chat", &json!({"text": TEXT, "usage": [prompt, answer, 310, 55]}));
    says(reports, "chat_stream", &json!({"text": TEXT, "usage": []}));
    says(reports, "chat_stream_with_usage", &json!({"text": TEXT, "usage": [[prompt, answer]]}));
    says(reports, "responses", &json!({"text": TEXT, "usage": [prompt, answer]}));
    says(reports, "responses_stream", &json!({"text": TEXT, "usage": [prompt, answer], "last": "response.completed"}));
    says(reports, "embeddings_float", &json!({"vector": [0.25, -0.5, 0.75], "usage": 1200}));
    says(reports, "embeddings_default", &json!({"vector": [0.25, -0.5, 0.75], "usage": 1200}));
    says(reports, "models", &json!({"has_model": true, "one": MODEL}));
    let bad = "invalid_request_error";
    for (scenario, error, status, code, kind) in [
        ("wrong_key", "AuthenticationError", 401, Some("invalid_api_key"), bad),
        ("forbidden", "PermissionDeniedError", 403, Some("model_not_allowed"), bad),
        ("unpriced", "BadRequestError", 400, Some("model_not_priced"), bad),
        ("missing_model", "NotFoundError", 404, Some("not_found"), bad),
        ("too_many", "RateLimitError", 429, Some("rate_limit_exceeded"), "rate_limit_error"),
        ("upstream_400", "BadRequestError", 400, None, bad),
        ("upstream_404", "NotFoundError", 404, None, bad),
        ("upstream_422", "UnprocessableEntityError", 422, None, bad),
        ("upstream_429", "RateLimitError", 429, None, "rate_limit_error"),
        ("upstream_500", "InternalServerError", 500, None, "server_error"),
        ("upstream_503", "InternalServerError", 503, None, "server_error"),
        ("nobody_answers", "InternalServerError", 503, Some("no_provider_available"), "server_error"),
    ] {
        says(reports, scenario, &json!({"error": error, "status": status, "code": code, "type": kind}));
    }
    says(reports, "too_large", &json!({"status": 413, "code": "request_too_large", "type": bad}));
    says(reports, "over_budget", &json!({"status": 402, "code": "budget_exceeded", "type": "insufficient_quota"}));
    assert!(reports["broken_stream"]["error"].is_string(), "a stream that breaks off is an error, not an end");
}

fn anthropic_facts(reports: &BTreeMap<String, Value>) {
    let usage = json!([1200, 250, 310, 47]);
    says(reports, "messages", &json!({"text": TEXT, "usage": usage, "stop": "end_turn"}));
    says(reports, "stream", &json!({"text": TEXT, "usage": usage, "stop": "end_turn"}));
    says(reports, "raw_stream", &json!({"first": "message_start", "last": "message_stop"}));
    says(reports, "count_tokens", &json!({"tokens": 14}));
    says(reports, "models", &json!({"has_model": true, "one": MODEL}));
    for (scenario, error, status, code, kind) in [
        ("wrong_key", "AuthenticationError", 401, Some("invalid_api_key"), "authentication_error"),
        ("forbidden", "PermissionDeniedError", 403, Some("model_not_allowed"), "permission_error"),
        ("unpriced", "BadRequestError", 400, Some("model_not_priced"), "invalid_request_error"),
        ("missing_model", "NotFoundError", 404, Some("not_found"), "not_found_error"),
        ("too_many", "RateLimitError", 429, Some("rate_limit_exceeded"), "rate_limit_error"),
        ("upstream_400", "BadRequestError", 400, None, "invalid_request_error"),
        ("upstream_404", "NotFoundError", 404, None, "not_found_error"),
        ("upstream_422", "UnprocessableEntityError", 422, None, "invalid_request_error"),
        ("upstream_429", "RateLimitError", 429, None, "rate_limit_error"),
        ("upstream_500", "InternalServerError", 500, None, "api_error"),
    ] {
        says(reports, scenario, &json!({"error": error, "status": status, "code": code, "type": kind}));
    }
    says(reports, "too_large", &json!({"status": 413, "code": "request_too_large", "type": "request_too_large"}));
    says(reports, "over_budget", &json!({"status": 402, "code": "budget_exceeded", "type": "billing_error"}));
    says(reports, "upstream_529", &json!({"status": 529}));
    says(
        reports,
        "nobody_answers",
        &json!({"status": 503, "code": "no_provider_available", "type": "overloaded_error"}),
    );
    assert!(reports["broken_stream"]["error"].is_string(), "a stream that breaks off is an error, not an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn h27_the_openai_sdk_for_python_works_unchanged() {
    let (_provider, gateway) = gateway().await;
    openai_facts(&run(&gateway, "openai_sdk.py").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn h27_the_openai_sdk_for_node_works_unchanged() {
    let (_provider, gateway) = gateway().await;
    openai_facts(&run(&gateway, "openai_sdk.mjs").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn h27_the_anthropic_sdk_for_python_works_unchanged() {
    let (_provider, gateway) = gateway().await;
    let reports = run(&gateway, "anthropic_sdk.py").await;
    anthropic_facts(&reports);
    says(&reports, "messages_by_token", &json!({"text": TEXT}));
}

#[tokio::test(flavor = "multi_thread")]
async fn h27_the_anthropic_sdk_for_node_works_unchanged() {
    let (_provider, gateway) = gateway().await;
    anthropic_facts(&run(&gateway, "anthropic_sdk.mjs").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn h27_the_google_sdk_for_python_works_unchanged() {
    let (_provider, gateway) = gateway().await;
    let reports = run(&gateway, "gemini_sdk.py").await;
    let usage = json!([1510, 250, 310, 55]);
    says(&reports, "generate", &json!({"text": TEXT, "usage": usage}));
    says(&reports, "stream", &json!({"text": TEXT, "usage": usage}));
    says(&reports, "count_tokens", &json!({"tokens": 14}));
    says(&reports, "embeddings", &json!({"vector": [0.25, -0.5]}));
    says(&reports, "models", &json!({"has_model": true, "one": format!("models/{MODEL}")}));
    for (scenario, error, status, code, kind) in [
        ("wrong_key", "ClientError", 401, Some("invalid_api_key"), "UNAUTHENTICATED"),
        ("forbidden", "ClientError", 403, Some("model_not_allowed"), "PERMISSION_DENIED"),
        ("unpriced", "ClientError", 400, Some("model_not_priced"), "INVALID_ARGUMENT"),
        ("missing_model", "ClientError", 404, Some("not_found"), "NOT_FOUND"),
        ("too_many", "ClientError", 429, Some("rate_limit_exceeded"), "RESOURCE_EXHAUSTED"),
        ("over_budget", "ClientError", 402, Some("budget_exceeded"), "RESOURCE_EXHAUSTED"),
        ("too_large", "ClientError", 413, Some("request_too_large"), "INVALID_ARGUMENT"),
        ("upstream_400", "ClientError", 400, None, "INVALID_ARGUMENT"),
        ("upstream_404", "ClientError", 404, None, "NOT_FOUND"),
        ("upstream_429", "ClientError", 429, None, "RESOURCE_EXHAUSTED"),
        ("upstream_500", "ServerError", 500, None, "INTERNAL"),
        ("upstream_503", "ServerError", 503, None, "UNAVAILABLE"),
        ("nobody_answers", "ServerError", 503, Some("no_provider_available"), "UNAVAILABLE"),
    ] {
        says(&reports, scenario, &json!({"error": error, "status": status, "code": code, "type": kind}));
    }
    assert!(reports["broken_stream"]["error"].is_string(), "a stream that breaks off is an error, not an end");
}
