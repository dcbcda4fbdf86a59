//! Clients that send their next request the instant they have an answer: none is lost. (Pingora's path for custom
//! connectors has a race here, which two yields and pipelining close; these runs are repeated for each new Pingora.)

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::support::gateway::MODEL;
use crate::support::wire::request;
use crate::support::{Answer, Api, Gateway, Provider, Wire, scale};

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

#[tokio::test(flavor = "multi_thread")]
async fn refusals_keep_the_connection() {
    let provider = Provider::start().await;
    provider.always(Answer::silence(crate::support::provider::End::Close));
    let gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    let mut wire = gateway.connect().await;
    for round in 0..20 {
        let (key, body, status) = match round % 3 {
            0 => ("tg-nobody", json!({"model": MODEL}), 401),
            1 => (gateway.key(), json!({"model": 1}), 400),
            _ => (gateway.key(), json!({"model": "unpriced"}), 400),
        };
        wire.post("/v1/chat/completions", key, &body).await;
        let reply = wire.reply().await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(reply.head.status, status, "round {round}");
    }
    // The answer after a failure upstream says honestly whether the connection goes on.
    wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, false)).await;
    let reply = wire.reply().await.unwrap();
    assert_eq!(reply.head.status, 503);
    if reply.head.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        assert!(wire.is_closed().await);
    } else {
        wire.post("/v1/chat/completions", "tg-nobody", &json!({"model": MODEL})).await;
        assert_eq!(wire.reply().await.unwrap().head.status, 401);
    }
}
