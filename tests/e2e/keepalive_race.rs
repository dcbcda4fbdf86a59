//! Clients that send their next request the instant they have an answer: none is lost. (Pingora's path for custom
//! connectors has a race here, which two yields and pipelining close; these runs are repeated for each new Pingora.)

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::support::gateway::MODEL;
use crate::support::provider::End;
use crate::support::wire::{Reply, request};
use crate::support::{Answer, Api, Gateway, Provider, Wire, scale, soon};

/// What Pingora logs when it takes the next request for rubbish behind the last one.
const SYMPTOM: &str = "Sent data after end of body";

#[tokio::test(flavor = "multi_thread")]
async fn soak_no_request_is_lost_over_busy_keep_alive_connections() {
    let provider = Provider::start().await;
    provider.always(Answer::json(200, &json!({"usage": {"prompt_tokens": 1, "completion_tokens": 1}})));
    let gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    let (connections, each) = (16, scale(400, 20_000));
    let key = format!("Bearer {}", gateway.key());
    let body = Api::Chat.request(MODEL, false).to_string();
    let bytes = request("POST", "/v1/chat/completions", &[("authorization", &key)], body.as_bytes());
    let (bytes, lost) = (Arc::new(bytes), Arc::new(AtomicUsize::new(0)));
    let clients = (0..connections).map(|_| {
        let (bytes, lost, address) = (Arc::clone(&bytes), Arc::clone(&lost), gateway.address());
        tokio::spawn(async move {
            let mut wire = Wire::connect(address).await;
            for _ in 0..each {
                let _ = wire.send(&*bytes).await;
                match wire.reply().await {
                    Ok(reply) => assert_eq!(reply.head.status, 200),
                    Err(_) => {
                        lost.fetch_add(1, Ordering::Relaxed);
                        wire = Wire::connect(address).await;
                    }
                }
            }
        })
    });
    for client in futures::future::join_all(clients).await {
        client.unwrap();
    }
    assert_eq!(lost.load(Ordering::Relaxed), 0, "requests that got no answer");
    assert_eq!(gateway.log().matches(SYMPTOM).count(), 0);
    assert_eq!(provider.requests().len(), connections * each);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_request_may_come_with_the_last_byte_of_a_stream() {
    let provider = Provider::start().await;
    provider.always(Api::Chat.stream());
    let gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    let mut wire = gateway.connect().await;
    for _ in 0..200 {
        wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, true)).await;
        assert_eq!(wire.head().await.unwrap().status, 200);
        assert_eq!(wire.body().await.unwrap(), Api::Chat.stream().body());
    }
    assert_eq!(gateway.log().matches(SYMPTOM).count(), 0);
}

/// Whether an answer says that its connection goes on.
fn goes_on(reply: &Reply) -> bool {
    reply.head.get("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_honestly_whether_its_connection_goes_on() {
    let provider = Provider::start().await;
    let gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    let mut wire = gateway.connect().await;
    let good = Api::Chat.request(MODEL, false);
    for round in 0..20 {
        let (key, body, status) = match round % 5 {
            0 => ("tg-nobody", good.clone(), 401),
            1 => (gateway.key(), json!({"model": 1}), 400),
            2 => (gateway.key(), json!({"model": "unpriced"}), 400),
            3 => (gateway.key(), good.clone(), 503),
            _ => (gateway.key(), good.clone(), 200),
        };
        if status == 503 {
            provider.then(Answer::silence(End::Close));
            // The connection may have been a pooled one: then it is tried again.
            provider.then(Answer::silence(End::Close));
        }
        wire.post("/v1/chat/completions", key, &body).await;
        let reply = wire.reply().await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(reply.head.status, status, "round {round}");
        if !goes_on(&reply) {
            assert!(wire.is_closed().await);
            wire = gateway.connect().await;
        }
        provider.clear();
        provider.always(Api::Chat.answer());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_sent_right_behind_a_refused_one_is_answered_or_its_connection_ends() {
    let provider = Provider::start().await;
    provider.always(Api::Chat.answer());
    let gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    let key = format!("Bearer {}", gateway.key());
    let body = Api::Chat.request(MODEL, false).to_string();
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let by_length = [("authorization", &*key)];
    let in_chunks = [("authorization", &*key), ("transfer-encoding", "chunked")];
    let stranger = [("authorization", "Bearer tg-nobody")];
    let path = "/v1/chat/completions";
    let good = request("POST", path, &by_length, body.as_bytes());
    for (what, bad) in [
        ("not JSON", request("POST", path, &by_length, b"hello")),
        ("not JSON, in chunks", request("POST", path, &in_chunks, b"5\r\nhello\r\n0\r\n\r\n")),
        ("nothing, in chunks", request("POST", path, &in_chunks, b"0\r\n\r\n")),
        ("a stranger", request("POST", path, &stranger, body.as_bytes())),
        ("a stranger, in chunks", request("POST", path, &[stranger[0], in_chunks[1]], chunks.as_bytes())),
        ("an unknown path", request("POST", "/v1/nowhere", &by_length, body.as_bytes())),
        ("a list", request("GET", "/v1/models", &by_length, b"")),
    ] {
        let mut wire = gateway.connect().await;
        wire.send([&*bad, &*good].concat()).await.unwrap();
        let first = soon(what, wire.reply()).await.unwrap();
        if goes_on(&first) {
            let second = soon(what, wire.reply()).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(second.head.status, 200, "{what}");
        } else {
            assert!(wire.is_closed().await, "{what}");
        }
    }
}
