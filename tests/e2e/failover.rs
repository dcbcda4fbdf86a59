//! What a provider may do before its first byte, and who answers instead.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::gateway::{MODEL, Setup};
use crate::support::provider::{End, refusing};
use crate::support::{Answer, Api, Gateway, Provider, eventually};

/// Two providers, the second of which is good.
async fn pair(first: &Provider) -> (Provider, Gateway) {
    let second = Provider::start().await;
    second.always(Api::Chat.answer());
    let mut preferred = first.entry("first", &["openai_chat"]);
    preferred["timeouts"] = json!({"connect": "5s", "first_byte": "300ms", "idle": "30s"});
    let mut other = second.entry("second", &["openai_chat"]);
    other["priority"] = json!(1);
    let gateway = Gateway::start([preferred, other]).await;
    (second, gateway)
}

fn error(status: u16) -> Answer {
    Answer::json(status, &json!({"error": {"message": format!("the provider says {status}"), "type": "x"}}))
}

async fn attempts(gateway: &Gateway, id: &str) -> Vec<Value> {
    let path = format!("/requests/{id}");
    eventually("the request's detail", async || {
        let (status, detail) = gateway.admin().call(reqwest::Method::GET, &path, None).await;
        (status == 200).then(|| detail["detail"]["attempts"].as_array().expect("attempts").clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_before_the_first_byte_the_next_provider_answers() {
    let first = Provider::start().await;
    let (second, gateway) = pair(&first).await;
    let hang = Answer::silence(End::Hang);
    let faults = [
        ("closes without a word", Answer::silence(End::Close), None, "broken"),
        ("resets", Answer::silence(End::Reset), None, "broken"),
        ("closes in mid-header", Api::Chat.answer().cut(30, End::Close), None, "broken"),
        ("resets in mid-header", Api::Chat.answer().cut(30, End::Reset), None, "broken"),
        ("never answers", hang.clone(), None, "first_byte_timeout"),
        ("stops in mid-header", Api::Chat.answer().cut(30, End::Hang), None, "first_byte_timeout"),
        ("talks nonsense", Answer::json(200, &json!({})).header("bad header", "x"), None, "broken"),
        ("408", error(408), Some(408), "upstream_status"),
        ("429", error(429), Some(429), "upstream_status"),
        ("500", error(500), Some(500), "upstream_status"),
        ("502", error(502), Some(502), "upstream_status"),
        ("503", error(503), Some(503), "upstream_status"),
        ("529", error(529), Some(529), "upstream_status"),
    ];
    for (index, (fault, answer, status, reason)) in faults.into_iter().enumerate() {
        first.then(answer);
        let reply = gateway.ask(Api::Chat, false).await;
        assert_eq!(reply.head.status, 200, "{fault}: {}", String::from_utf8_lossy(&reply.body));
        assert_eq!(reply.body, Api::Chat.whole(&Api::Chat.tokens()).as_bytes(), "{fault}");
        assert_eq!(second.requests().len(), index + 1, "{fault}");
        assert_eq!(first.requests().len(), index + 1, "{fault}: tried once");
        let row = gateway.admin().row_of(reply.head.request_id()).await;
        assert_eq!((&row["provider"], &row["attempt"]), (&json!("second"), &json!(2)), "{fault}");
        let attempts = attempts(&gateway, reply.head.request_id()).await;
        let [failed, served] = attempts.as_slice() else { panic!("{fault}: two attempts, not {attempts:#?}") };
        assert_eq!((&failed["provider"], &failed["reason"]), (&json!("first"), &json!(reason)), "{fault}: {failed}");
        assert_eq!(failed["status"], status.map_or(Value::Null, |status: u16| json!(status)), "{fault}: {failed}");
        assert_eq!((&served["provider"], &served["reason"]), (&json!("second"), &json!("ok")), "{fault}: {served}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_fails_over() {
    let good = Provider::start().await;
    good.then(Api::Chat.answer());
    let (_port, refused) = refusing("refused", &["openai_chat"]);
    let mut other = good.entry("good", &["openai_chat"]);
    other["priority"] = json!(1);
    let gateway = Gateway::start([refused, other]).await;
    let reply = gateway.ask(Api::Chat, false).await;
    assert_eq!(reply.head.status, 200);
    let attempts = attempts(&gateway, reply.head.request_id()).await;
    assert_eq!((&attempts[0]["reason"], &attempts[1]["reason"]), (&json!("connect_failed"), &json!("ok")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_resolve_fails_over() {
    let good = Provider::start().await;
    good.then(Api::Chat.answer());
    let nowhere = crate::support::provider::entry("nowhere", &["openai_chat"], "http://nowhere.invalid:1");
    let mut other = good.entry("good", &["openai_chat"]);
    other["priority"] = json!(1);
    let gateway = Gateway::start([nowhere, other]).await;
    assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_answers_pass_as_they_are() {
    let first = Provider::start().await;
    let (second, gateway) = pair(&first).await;
    for status in [400, 401, 403, 404, 409, 413, 422, 451] {
        first.then(error(status).header("x-request-id", "up-1"));
        let reply = gateway.ask(Api::Chat, false).await;
        assert_eq!((reply.head.status, &reply.body), (status, &error(status).body()));
    }
    assert_eq!(second.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_fail_the_last_answer_of_a_provider_is_passed_on() {
    let first = Provider::start().await;
    let (second, gateway) = pair(&first).await;
    first.then(error(503));
    second.then(error(429).header("retry-after", "17"));
    let reply = gateway.ask(Api::Chat, false).await;
    assert_eq!((reply.head.status, &reply.body), (429, &error(429).body()));
    assert_eq!(reply.head.get("retry-after"), Some("17"));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nobody_answers_the_client_is_told_so_in_its_dialect() {
    let silent = Provider::start().await;
    silent.always(Answer::silence(End::Reset));
    let dialects = ["anthropic", "openai_chat", "openai_responses", "openai_embeddings", "gemini"];
    let (_port, refused) = refusing("refused", &dialects);
    let mut other = silent.entry("silent", &dialects);
    other["priority"] = json!(1);
    let gateway = Gateway::start([refused, other]).await;
    for api in Api::ALL {
        api.refuses(&gateway.ask(api, false).await, 503, "no_provider_available");
    }
    assert_eq!(gateway.admin().usage().await.len(), 0, "nothing was sent: nothing is paid");
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_on_one_provider_are_counted() {
    let provider = Provider::start().await;
    let mut entry = provider.entry("upstream", &["openai_chat"]);
    entry["attempts"] = json!(2);
    let gateway = Gateway::start([entry]).await;
    provider.then(error(500));
    provider.then(Api::Chat.answer());
    assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200);
    provider.then(error(500));
    provider.then(error(502));
    assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 502);
    assert_eq!(provider.requests().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_refusal_of_a_big_body_does_not_wait_for_the_body() {
    let first = Provider::start().await;
    let (second, gateway) = pair(&first).await;
    first.then(error(429).early());
    let mut body = Api::Chat.request(MODEL, false);
    body["pad"] = json!("x".repeat(5 << 20));
    let started = Instant::now();
    let mut wire = gateway.connect().await;
    wire.post("/v1/chat/completions", gateway.key(), &body).await;
    assert_eq!(wire.reply().await.unwrap().head.status, 200);
    assert!(second.request(0).await.body == body.to_string().as_bytes());
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_connection_is_tried_again_once_and_not_counted() {
    let provider = Provider::start().await;
    let gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    for end in [End::Close, End::Reset] {
        // Asked too soon, before the pool has the connection back, the gateway opens another one.
        let (reply, requests) = eventually("the connection was used again", async || {
            let before = provider.requests().len();
            provider.then(Api::Chat.answer());
            assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200);
            // The provider hangs up at the very moment at which the pooled connection is used again.
            provider.then(Answer::silence(end));
            provider.then(Api::Chat.answer());
            let reply = gateway.ask(Api::Chat, false).await;
            let requests = provider.requests().split_off(before);
            if requests[0].connection == requests[1].connection {
                return Some((reply, requests));
            }
            // On a fresh connection nothing is tried again.
            assert_eq!((reply.head.status, requests.len()), (503, 2), "{end:?}");
            assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200);
            None
        })
        .await;
        assert_eq!(reply.head.status, 200, "{end:?}");
        assert_eq!(requests.len(), 3, "{end:?}");
        assert_ne!(requests[1].connection, requests[2].connection, "{end:?}: a fresh connection");
        assert_eq!(gateway.admin().row_of(reply.head.request_id()).await["attempt"], 1, "{end:?}");
    }
    // On a fresh connection it is the provider's fault: nothing is tried again.
    let fresh = Provider::start().await;
    let gateway = Gateway::start([fresh.entry("upstream", &["openai_chat"])]).await;
    fresh.then(Answer::silence(End::Close));
    assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 503);
    assert_eq!(fresh.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_closed_while_idle_is_not_used() {
    let provider = Provider::start().await;
    let gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    for _ in 0..5 {
        provider.then(Api::Chat.answer().end(End::Close));
        assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200);
    }
    assert_eq!(provider.connections(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_bytes_after_the_answer_is_not_used_again() {
    let provider = Provider::start().await;
    let gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    provider.then(Api::Chat.answer().garbage("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"));
    assert_eq!(gateway.ask(Api::Chat, false).await.body, Api::Chat.answer().body());
    provider.then(Answer::json(200, &json!({"second": true})));
    assert_eq!(gateway.ask(Api::Chat, false).await.json(), json!({"second": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_first_byte_nobody_else_is_asked() {
    let first = Provider::start().await;
    let (second, gateway) = pair(&first).await;
    first.then(Api::Chat.stream().only(2, End::Close));
    let mut wire = gateway.connect().await;
    wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, true)).await;
    assert_eq!(wire.head().await.unwrap().status, 200);
    wire.body().await.expect_err("the client sees that the answer is cut off");
    assert_eq!(second.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_is_cut_off_and_a_slow_first_byte_is_not() {
    let provider = Provider::start().await;
    let mut entry = provider.entry("upstream", &["openai_chat"]);
    entry["timeouts"] = json!({"connect": "5s", "first_byte": "30s", "idle": "400ms"});
    let gateway = Setup::new([entry]).start().await;
    provider.then(Api::Chat.stream().after(Duration::from_millis(900)));
    let reply = gateway.ask(Api::Chat, true).await;
    assert_eq!((reply.head.status, reply.body), (200, Api::Chat.stream().body()), "the idle time begins later");
    provider.then(Api::Chat.stream().only(3, End::Hang));
    let mut wire = gateway.connect().await;
    wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, true)).await;
    let head = wire.head().await.unwrap();
    wire.body().await.expect_err("the client sees that the answer is cut off");
    let row = gateway.admin().row_of(head.request_id()).await;
    assert_eq!((&row["outcome"], &row["estimated"]), (&json!("upstream_failed"), &json!(true)), "{row}");
    assert_eq!(attempts(&gateway, head.request_id()).await[0]["reason"], "idle_timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_total_time_limit_ends_a_stream_that_never_does() {
    let provider = Provider::start().await;
    let mut entry = provider.entry("upstream", &["openai_chat"]);
    entry["timeouts"] = json!({"connect": "5s", "first_byte": "30s", "idle": "30s", "total": "700ms"});
    let gateway = Setup::new([entry]).start().await;
    let events = Api::Chat.events(&Api::Chat.tokens());
    let endless = std::iter::repeat_n(events[1].clone(), 1_000);
    provider.then(Answer::sse(endless).paced(Duration::from_millis(50)));
    let mut wire = gateway.connect().await;
    wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, true)).await;
    assert_eq!(wire.head().await.unwrap().status, 200);
    wire.body().await.expect_err("cut off");
}
