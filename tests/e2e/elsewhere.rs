//! More reasons to ask another provider, and what a client is told when that one has nothing to say.

use serde_json::{Value, json};

use crate::support::certs::Authority;
use crate::support::gateway::MODEL;
use crate::support::provider::refusing;
use crate::support::{Answer, Api, Gate, Gateway, Provider, eventually};

const DIALECTS: [&str; 5] = ["anthropic", "openai_chat", "openai_responses", "openai_embeddings", "gemini"];

/// A good provider that is asked after others.
fn behind(good: &Provider) -> Value {
    let mut entry = good.entry("good", &DIALECTS);
    entry["priority"] = json!(1);
    entry
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_authority_is_unknown_fails_over_and_is_told_nothing() {
    let good = Provider::start().await;
    for protocols in [&["http/1.1"][..], &["h2"]] {
        let stranger = Provider::start_tls(&Authority::new(), protocols).await;
        let gateway = Gateway::start([stranger.entry("stranger", &DIALECTS), behind(&good)]).await;
        good.then(Api::Chat.answer());
        let reply = gateway.ask(Api::Chat, false).await;
        assert_eq!(reply.head.status, 200, "{protocols:?}");
        assert_eq!(gateway.admin().reasons_of(reply.head.request_id()).await, ["tls_failed", "ok"], "{protocols:?}");
        assert!(stranger.connections() > 0, "{protocols:?}: it was tried");
        assert_eq!(stranger.requests().len(), 0, "{protocols:?}: neither request nor key");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_with_no_place_left_is_passed_over_until_there_is_one() {
    let (small, good) = (Provider::start().await, Provider::start().await);
    good.always(Api::Chat.answer());
    let mut first = small.entry("small", &DIALECTS);
    first["max_concurrent_requests"] = json!(1);
    let gateway = Gateway::start([first, behind(&good)]).await;
    let served_by = async |id: &str| gateway.admin().row_of(id).await["provider"].clone();
    let gate = Gate::new();
    small.then(Api::Chat.stream().gated_after(1, &gate));
    let mut held = gateway.connect().await;
    held.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, true)).await;
    let held_id = held.head().await.unwrap().request_id().to_owned();
    for _ in 0..3 {
        let reply = gateway.ask(Api::Chat, false).await;
        assert_eq!((reply.head.status, served_by(reply.head.request_id()).await), (200, json!("good")));
        let told = gateway.admin().reasons_of(reply.head.request_id()).await;
        assert_eq!(told, ["busy", "ok"], "it says why it was passed over");
    }
    assert_eq!(small.requests().len(), 1);
    gate.open_wide();
    held.body().await.unwrap();
    assert_eq!(served_by(&held_id).await, "small");
    small.always(Api::Chat.answer());
    eventually("the place is free", async || {
        let reply = gateway.ask(Api::Chat, false).await;
        (served_by(reply.head.request_id()).await == "small").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_answer_is_passed_on_byte_for_byte_however_it_was_framed() {
    let first = Provider::start().await;
    let (_port, mut refused) = refusing("refused", &DIALECTS);
    refused["priority"] = json!(1);
    let gateway = Gateway::start([first.entry("first", &DIALECTS), refused]).await;
    let body = "{ \"error\" : {\"message\":\"slow down, ☂\",\r\n \"of_the_future\": 1.50 } }\n";
    for api in Api::ALL {
        let whole = Answer::bytes(429, "application/json", body).header("retry-after", "17");
        for (framing, answer) in [("length", whole.clone()), ("chunks", whole.pieces(7).chunked())] {
            first.then(answer.header("x-ratelimit-reset-requests", "1s"));
            // It has said when to come back.
            gateway.admin().ok(reqwest::Method::POST, "/providers/first:resetCircuit", None).await;
            let reply = gateway.ask(api, false).await;
            assert_eq!((reply.head.status, &reply.body[..]), (429, body.as_bytes()), "{api:?}, {framing}");
            assert_eq!(reply.head.get("retry-after"), Some("17"), "{api:?}, {framing}");
            assert_eq!(reply.head.get("x-ratelimit-reset-requests"), Some("1s"), "{api:?}, {framing}");
            assert_eq!(reply.head.get("content-type"), Some("application/json"), "{api:?}, {framing}");
            // The row is the last attempt's, with the status that the client got.
            let row = gateway.admin().row_of(reply.head.request_id()).await;
            let facts = json!({"provider": "refused", "attempt": 2, "status": 429, "outcome": "upstream_failed",
                "estimated": false, "costUsd": 0});
            for (name, value) in facts.as_object().unwrap() {
                assert_eq!(&row[name], value, "{name} of {row}");
            }
            let told = gateway.admin().reasons_of(reply.head.request_id()).await;
            assert_eq!(told, ["upstream_status", "connect_failed"], "{api:?}, {framing}");
        }
    }
    assert_eq!(first.requests().len(), 2 * Api::ALL.len());
}
