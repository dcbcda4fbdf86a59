//! Every endpoint, whole and streamed: what the provider says reaches the client byte for byte, and its usage is
//! in the ledger to the token and the nano-dollar.

use serde_json::{Value, json};

use crate::support::dialects::cost_of_row;
use crate::support::gateway::{MODEL, Setup};
use crate::support::provider::{Received, UPSTREAM_KEY};
use crate::support::wire::{Reply, request};
use crate::support::{Answer, Api, Gateway, Provider, Tokens};

const EVERY: [&str; 5] = ["anthropic", "openai_chat", "openai_responses", "openai_embeddings", "gemini"];

async fn gateway() -> (Provider, Gateway) {
    let provider = Provider::start().await;
    let gateway = Gateway::start([provider.entry("upstream", &EVERY)]).await;
    (provider, gateway)
}

/// Checks the ledger row of a good answer.
async fn check_row(gateway: &Gateway, api: Api, reply: &Reply, stream: bool) {
    let row = gateway.admin().row_of(reply.head.request_id()).await;
    let tokens = api.tokens();
    assert_eq!(Tokens::of_row(&row), tokens, "{api:?}, stream: {stream}");
    assert_eq!(cost_of_row(&row), tokens.cost(), "{api:?}, stream: {stream}");
    let facts = json!({
        "attempt": 1, "userId": gateway.caller().user_id, "keyId": gateway.caller().key_id, "provider": "upstream",
        "dialect": api.dialect(), "requestedModel": MODEL, "servedModel": MODEL, "modelGroupId": null,
        "outcome": "completed", "estimated": false, "status": 200,
        "countedInUserGlobal": true, "countedInKeyGlobal": true,
    });
    for (name, value) in facts.as_object().unwrap() {
        assert_eq!(&row[name], value, "{name} in {row}");
    }
}

/// Checks that the provider got its own key, and nothing of the client's.
fn check_forwarded(gateway: &Gateway, api: Api, sent: &Received, stream: bool) {
    let (name, value) = api.key_header(UPSTREAM_KEY);
    assert_eq!(sent.header(name), Some(&*value), "{api:?}");
    assert!(!format!("{sent:?}").contains(gateway.key()), "the client's key is not forwarded: {sent:?}");
    assert_eq!((&*sent.method, &*sent.target), ("POST", &*api.path(MODEL, stream)));
    let asked = api.request(MODEL, stream).to_string();
    assert_eq!(sent.body, asked.as_bytes(), "{api:?}: a body that needs no change is not changed");
    assert_eq!(sent.header("content-length"), Some(&*asked.len().to_string()));
    assert_eq!(sent.header("content-type"), Some("application/json"));
    assert_ne!(sent.header("accept-encoding"), Some("gzip"), "usage cannot be read from a packed answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_answers_pass_byte_for_byte_and_are_charged_exactly() {
    let (provider, gateway) = gateway().await;
    for (index, api) in Api::ALL.into_iter().enumerate() {
        provider.then(api.answer().header("x-request-id", "upstream-7"));
        let reply = gateway.ask(api, false).await;
        assert_eq!((reply.head.status, &*reply.body), (200, api.whole(&api.tokens()).as_bytes()), "{api:?}");
        assert_eq!(reply.head.get("content-type"), Some("application/json"));
        check_forwarded(&gateway, api, &provider.request(index).await, false);
        check_row(&gateway, api, &reply, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_pass_byte_for_byte_and_are_charged_exactly() {
    let (provider, gateway) = gateway().await;
    for (index, api) in Api::STREAMING.into_iter().enumerate() {
        provider.then(api.stream());
        let reply = gateway.ask(api, true).await;
        assert_eq!((reply.head.status, &*reply.body), (200, api.events(&api.tokens()).concat().as_bytes()), "{api:?}");
        assert_eq!(reply.head.get("content-type"), Some("text/event-stream; charset=utf-8"));
        check_forwarded(&gateway, api, &provider.request(index).await, true);
        check_row(&gateway, api, &reply, true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_changes_the_model_and_nothing_else() {
    let provider = Provider::start().await;
    let mut entry = provider.entry("upstream", &EVERY);
    entry["redirects"] = json!({"alias": MODEL});
    let gateway = Gateway::start([entry]).await;
    let bodies = [
        (
            Api::Chat,
            r#"{ "messages":[{"role":"user","content":"\u00e9 \"model\":\"alias\""}] , "model"  :  "alias","x":1.0e1 }"#,
        ),
        (Api::Anthropic, r#"{"max_tokens":3,"metadata":{"model":"alias"},"model":"alias","messages":[]}"#),
        (Api::Responses, "{\"model\":\n\"alias\"\n,\"input\":\"alias\"}"),
        (Api::Embeddings, r#"{"input":["alias"],"model":"\u0061lias"}"#),
    ];
    for (index, (api, body)) in bodies.into_iter().enumerate() {
        provider.then(api.answer());
        let authorization = format!("Bearer {}", gateway.key());
        let mut wire = gateway.connect().await;
        let headers = [("authorization", &*authorization), ("content-type", "application/json")];
        wire.send(request("POST", &api.path("", false), &headers, body.as_bytes())).await.unwrap();
        let reply = wire.reply().await.unwrap();
        assert_eq!(reply.head.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        let written = if body.contains(r"\u0061") { r#""\u0061lias""# } else { r#""alias""# };
        let (before, after) = match api {
            // The model is the last of the equal strings here, the first there.
            Api::Responses => body.split_once(written).unwrap(),
            Api::Anthropic => body
                .split_once(r#"},"model":"alias""#)
                .map(|(_, after)| (&body[..body.len() - after.len() - written.len()], after))
                .unwrap(),
            _ => body.rsplit_once(written).unwrap(),
        };
        let sent = provider.request(index).await;
        assert_eq!(String::from_utf8_lossy(&sent.body), format!("{before}\"{MODEL}\"{after}"), "{api:?}");
        let row = gateway.admin().row_of(reply.head.request_id()).await;
        assert_eq!((&row["requestedModel"], &row["servedModel"]), (&json!("alias"), &json!(MODEL)));
        assert_eq!(cost_of_row(&row), api.tokens().cost(), "{api:?}: the served model is priced");
    }
    for stream in [false, true] {
        provider.then(if stream { Api::Gemini.stream() } else { Api::Gemini.answer() });
        let reply = gateway.ask_with(gateway.key(), Api::Gemini, "alias", stream).await;
        assert_eq!(reply.head.status, 200);
        assert_eq!(provider.requests().last().unwrap().target, Api::Gemini.path(MODEL, stream));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_usage_of_a_chat_stream_is_asked_for_and_kept_from_clients_that_did_not_ask() {
    let (provider, gateway) = gateway().await;
    let tokens = Api::Chat.tokens();
    let events = Api::Chat.events(&tokens);
    let shown: String = events.iter().filter(|event| !event.contains("prompt_tokens")).map(String::as_str).collect();
    for (index, options) in [Value::Null, json!({}), json!({"include_usage": false})].into_iter().enumerate() {
        let mut body = Api::Chat.request(MODEL, true);
        body.as_object_mut().unwrap().remove("stream_options");
        if options != Value::Null {
            body["stream_options"] = options;
        }
        provider.then(Api::Chat.stream());
        let mut wire = gateway.connect().await;
        wire.post("/v1/chat/completions", gateway.key(), &body).await;
        let reply = wire.reply().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&reply.body), shown, "{body}");
        let sent = provider.request(index).await.json();
        body["stream_options"] = json!({"include_usage": true});
        assert_eq!(sent, body, "only the option is added");
        let row = gateway.admin().row_of(reply.head.request_id()).await;
        assert_eq!((Tokens::of_row(&row), &row["estimated"]), (tokens, &json!(false)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counting_endpoints_are_free() {
    let (provider, gateway) = gateway().await;
    let counting = [
        ("/v1/messages/count_tokens".to_owned(), Api::Anthropic, json!({"input_tokens": 14})),
        (format!("/v1beta/models/{MODEL}:countTokens"), Api::Gemini, json!({"totalTokens": 14})),
    ];
    for (index, (path, api, answer)) in counting.into_iter().enumerate() {
        provider.then(Answer::json(200, &answer));
        let mut wire = gateway.connect().await;
        wire.post(&path, gateway.key(), &api.request(MODEL, false)).await;
        let reply = wire.reply().await.unwrap();
        assert_eq!((reply.head.status, reply.json()), (200, answer));
        assert_eq!(provider.request(index).await.target, path);
    }
    provider.then(Api::Chat.answer());
    gateway.ask(Api::Chat, false).await;
    gateway.admin().newest_of(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gemini_embeds() {
    let (provider, gateway) = gateway().await;
    let content = json!({"parts": [{"text": "rain"}]});
    let calls = [
        ("embedContent", json!({"content": content}), json!({"embedding": {"values": [0.5, -1.0]}})),
        (
            "batchEmbedContents",
            json!({"requests": [{"model": format!("models/{MODEL}"), "content": content}]}),
            json!({"embeddings": [{"values": [0.5, -1.0]}]}),
        ),
    ];
    for (index, (call, body, answer)) in calls.into_iter().enumerate() {
        provider.then(Answer::json(200, &answer));
        let path = format!("/v1beta/models/{MODEL}:{call}");
        let mut wire = gateway.connect().await;
        wire.post(&path, gateway.key(), &body).await;
        let reply = wire.reply().await.unwrap();
        assert_eq!((reply.head.status, reply.json()), (200, answer), "{call}");
        assert_eq!((provider.request(index).await.target, provider.request(index).await.json()), (path, body));
        let row = gateway.admin().row_of(reply.head.request_id()).await;
        assert_eq!(row["outcome"], "completed", "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gemini_stream_without_events_is_a_json_array() {
    let (provider, gateway) = gateway().await;
    let tokens = Api::Gemini.tokens();
    let objects =
        Api::Gemini.events(&tokens).into_iter().map(|event| event.trim_start_matches("data: ").trim_end().to_owned());
    let body = format!("[{}\r\n]\r\n", objects.collect::<Vec<_>>().join("\r\n,\r\n"));
    for size in [body.len(), 5] {
        provider.then(Answer::bytes(200, "application/json; charset=UTF-8", body.clone()).chunked().pieces(size));
        let mut wire = gateway.connect().await;
        let path = format!("/v1beta/models/{MODEL}:streamGenerateContent");
        wire.post(&path, gateway.key(), &Api::Gemini.request(MODEL, true)).await;
        let reply = wire.reply().await.unwrap();
        assert_eq!(reply.body, body.as_bytes());
        let row = gateway.admin().row_of(reply.head.request_id()).await;
        assert_eq!((Tokens::of_row(&row), cost_of_row(&row)), (tokens, tokens.cost()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_response_is_charged() {
    let (provider, gateway) = gateway().await;
    let tokens = Api::Responses.tokens();
    for end in ["response.incomplete", "response.failed"] {
        let mut events = Api::Responses.events(&tokens);
        let last = events.pop().unwrap().replace("response.completed", end);
        events.push(last);
        provider.then(Answer::sse(events.clone()));
        let reply = gateway.ask(Api::Responses, true).await;
        assert_eq!(reply.body, events.concat().as_bytes());
        let row = gateway.admin().row_of(reply.head.request_id()).await;
        assert_eq!((Tokens::of_row(&row), &row["estimated"]), (tokens, &json!(false)), "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_multiplier_of_a_provider_and_a_priority_tier_count() {
    let provider = Provider::start().await;
    let mut entry = provider.entry("upstream", &["openai_chat"]);
    entry["cost_multiplier"] = json!(1.5);
    let gateway = Gateway::start([entry]).await;
    let mut price = crate::support::gateway::price();
    price["serviceTiers"] = json!({"priority": {"inputUsdPerMillion": 6, "outputUsdPerMillion": 30}});
    gateway.admin().put(&format!("/prices/{MODEL}"), &price).await;
    let mut body: Value =
        serde_json::from_str(&Api::Chat.whole(&Tokens { input: 10, output: 1, ..Tokens::default() })).unwrap();
    for (tier, nanos) in [("default", 10 * 3_000 + 15_000), ("priority", 10 * 6_000 + 30_000)] {
        body["service_tier"] = json!(tier);
        provider.then(Answer::json(200, &body));
        let reply = gateway.ask(Api::Chat, false).await;
        let row = gateway.admin().row_of(reply.head.request_id()).await;
        assert_eq!(cost_of_row(&row), nanos * 3 / 2, "{tier}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_built_from_what_the_provider_needs() {
    let (provider, gateway) = gateway().await;
    provider.then(
        Api::Anthropic
            .answer()
            .header("anthropic-ratelimit-requests-remaining", "7")
            .header("set-cookie", "a=b")
            .header("keep-alive", "timeout=5"),
    );
    let key = gateway.key().to_owned();
    let headers = [
        ("x-api-key", &*key),
        ("content-type", "application/json"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "context-1m-2025-08-07"),
        ("cookie", "session=1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("connection", "keep-alive, x-secret"),
        ("x-secret", "hop"),
        ("te", "trailers"),
        ("proxy-authorization", "Basic abc"),
        ("accept-encoding", "gzip, br"),
        ("x-tollgate-request-id", "mine"),
    ];
    let body = Api::Anthropic.request(MODEL, false).to_string();
    let mut wire = gateway.connect().await;
    wire.send(request("POST", "/v1/messages", &headers, body.as_bytes())).await.unwrap();
    let reply = wire.reply().await.unwrap();
    let sent = provider.request(0).await;
    assert_eq!(sent.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(sent.header("anthropic-beta"), Some("context-1m-2025-08-07"));
    for name in ["cookie", "x-secret", "te", "proxy-authorization", "x-forwarded-for", "x-tollgate-request-id"] {
        assert_eq!(sent.header(name), None, "{name} is not for the provider");
    }
    assert!(sent.header("accept-encoding").is_none_or(|value| value == "identity"));
    assert_eq!(reply.head.get("anthropic-ratelimit-requests-remaining"), Some("7"), "the provider's own headers pass");
    assert_eq!(reply.head.get("keep-alive"), None, "what concerns one connection only does not pass");
    let id = uuid::Uuid::parse_str(reply.head.request_id()).expect("ours, not the client's");
    assert_eq!(id.get_version_num(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_request_bodies_are_unpacked_within_the_limit() {
    let provider = Provider::start().await;
    provider.always(Api::Chat.answer());
    let gateway =
        Setup::new([provider.entry("upstream", &EVERY)]).set("server.max_request_body", "64KiB").start().await;
    let body = Api::Chat.request(MODEL, false).to_string();
    let bomb = format!(r#"{{"model":"{MODEL}","pad":"{}"}}"#, " ".repeat(1 << 20));
    let mut served = 0;
    for coding in ["gzip", "zstd"] {
        let reply = send_packed(&gateway, Api::Chat, coding, &pack(coding, body.as_bytes())).await;
        assert_eq!(reply.head.status, 200, "{coding}: {}", String::from_utf8_lossy(&reply.body));
        let sent = provider.request(served).await;
        served += 1;
        assert_eq!((&*sent.body, sent.header("content-encoding")), (body.as_bytes(), None));
        for api in Api::ALL {
            let half = &pack(coding, body.as_bytes())[..20];
            for (what, sent, status, code) in [
                ("a bomb", &*pack(coding, bomb.as_bytes()), 413, "request_too_large"),
                ("half of it", half, 400, "invalid_request"),
                ("not packed at all", b"not packed at all", 400, "invalid_request"),
            ] {
                let reply = send_packed(&gateway, api, coding, sent).await;
                assert_eq!(reply.head.status, status, "{what}, {coding}, {api:?}");
                api.refuses(&reply, status, code);
            }
        }
    }
    for api in Api::ALL {
        for coding in ["br", "deflate", "gzip, gzip"] {
            api.refuses(&send_packed(&gateway, api, coding, b"x").await, 415, "unsupported_encoding");
        }
    }
    assert_eq!(provider.requests().len(), served);
}

async fn send_packed(gateway: &Gateway, api: Api, coding: &str, body: &[u8]) -> Reply {
    let authorization = format!("Bearer {}", gateway.key());
    let headers = [("authorization", &*authorization), ("content-encoding", coding)];
    let mut wire = gateway.connect().await;
    wire.send(request("POST", &api.path(MODEL, false), &headers, body)).await.unwrap();
    wire.reply().await.unwrap()
}

fn pack(coding: &str, body: &[u8]) -> Vec<u8> {
    use std::io::Write;
    if coding == "zstd" {
        return zstd::encode_all(body, 3).unwrap();
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}
