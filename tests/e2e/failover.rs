//! What a provider may do before its first byte, and who answers instead.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::support::gateway::{MODEL, Setup};
use crate::support::leaving::DIALECTS;
use crate::support::pairs::{Fault, Pair};
use crate::support::provider::{End, entry, refusing};
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

/// What a provider may do instead of answering.
fn faults(api: Api, stream: bool) -> Vec<Fault> {
    let good = api.answer_to(stream);
    // Each fault meets a fresh connection: a pooled one that breaks is tried again.
    let status =
        |status| (error(status).header("connection", "close").end(End::Close), Some(status), "upstream_status");
    let broken = |answer| (answer, None, "broken");
    let late = |answer| (answer, None, "first_byte_timeout");
    let faults = [
        ("closes without a word", broken(Answer::silence(End::Close))),
        ("resets", broken(Answer::silence(End::Reset))),
        ("closes in mid-header", broken(good.clone().cut(30, End::Close))),
        ("resets in mid-header", broken(good.clone().cut(30, End::Reset))),
        ("never answers", late(Answer::silence(End::Hang))),
        ("stops in mid-header", late(good.clone().cut(30, End::Hang))),
        ("has a header without a name", broken(good.header("bad header", "x"))),
        ("is no HTTP server", broken(Answer::raw("220 mail.example ESMTP\r\n", End::Hang))),
        ("is no text", broken(Answer::raw("\0\u{1}\u{2}\u{7f}\r\n\r\n", End::Hang))),
        ("switches protocols", broken(Answer::raw("HTTP/1.1 101 \r\nupgrade: x\r\n\r\n", End::Hang))),
        ("408", status(408)),
        ("429", status(429)),
        ("500", status(500)),
        ("502", status(502)),
        ("503", status(503)),
        ("529", status(529)),
    ];
    faults.into_iter().map(|(what, (answer, status, reason))| Fault { what, answer, status, reason }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_before_the_first_byte_the_next_provider_answers() {
    let (pairs, gateway) = Pair::all().await;
    futures::future::join_all(pairs.iter().map(async |pair| {
        for stream in pair.api.ways() {
            pair.fails_over(&gateway, stream, faults(pair.api, stream)).await;
        }
    }))
    .await;
}

/// A provider that cannot be reached is passed over, for this reason.
async fn is_passed_over(unreachable: Value, reason: &str) {
    let good = Provider::start().await;
    let mut other = good.entry("good", &DIALECTS);
    other["priority"] = json!(1);
    let gateway = Gateway::start([unreachable, other]).await;
    for (api, stream) in Api::every_way() {
        good.then(api.answer_to(stream));
        let reply = gateway.ask(api, stream).await;
        assert_eq!((reply.head.status, reply.body), (200, api.answer_to(stream).body()), "{api:?}, streamed: {stream}");
        let reasons = gateway.admin().reasons_of(reply.head.request_id()).await;
        assert_eq!(reasons, [reason, "ok"], "{api:?}, streamed: {stream}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_fails_over() {
    let (_port, refused) = refusing("refused", &DIALECTS);
    is_passed_over(refused, "connect_failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_resolve_fails_over() {
    is_passed_over(entry("nowhere", &DIALECTS, "http://nowhere.invalid:1"), "resolve_failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_takes_too_long_fails_over() {
    let (_socket, _waiting, address) = tokio::task::spawn_blocking(deaf).await.unwrap();
    let mut deaf = entry("deaf", &DIALECTS, &format!("http://{address}"));
    deaf["timeouts"]["connect"] = json!("300ms");
    is_passed_over(deaf, "connect_timeout").await;
}

/// An address at which nobody accepts and whose queue is full: the system does not answer those who knock.
fn deaf() -> (Socket, Vec<TcpStream>, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the queue is never full");
    }
    (socket, waiting, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn other_answers_pass_as_they_are() {
    let (pairs, gateway) = Pair::all().await;
    for Pair { api, first, second } in &pairs {
        for status in [400, 401, 403, 404, 409, 413, 422, 451] {
            first.then(error(status).header("x-request-id", "up-1"));
            let reply = gateway.ask(*api, false).await;
            assert_eq!((reply.head.status, &reply.body), (status, &error(status).body()), "{api:?}");
            assert_eq!(reply.head.get("x-request-id"), Some("up-1"), "{api:?}");
        }
        assert_eq!(second.requests().len(), 0, "{api:?}");
    }
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
async fn interim_answers_of_a_provider_are_skipped() {
    let provider = Provider::start().await;
    let gateway = Gateway::start([provider.entry("upstream", &DIALECTS)]).await;
    for (api, stream) in Api::every_way() {
        for interim in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 \r\nlink: </x>\r\n\r\nHTTP/1.1 103 \r\n\r\n"] {
            let answer = api.answer_to(stream);
            provider.then(answer.clone().after_bytes(interim));
            let mut wire = gateway.connect().await;
            wire.post(&api.path(MODEL, stream), gateway.key(), &api.request(MODEL, stream)).await;
            assert_eq!(wire.head().await.unwrap().status, 200, "{api:?}, streamed: {stream}: {interim}");
            assert_eq!(wire.body().await.unwrap(), answer.body(), "{api:?}, streamed: {stream}: {interim}");
        }
    }
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
async fn the_idle_time_of_a_stream_begins_with_its_first_byte() {
    let provider = Provider::start().await;
    let mut entry = provider.entry("upstream", &["openai_chat"]);
    entry["timeouts"] = json!({"connect": "5s", "first_byte": "30s", "idle": "400ms"});
    let gateway = Setup::new([entry]).start().await;
    provider.then(Api::Chat.stream().after(Duration::from_millis(900)));
    let reply = gateway.ask(Api::Chat, true).await;
    assert_eq!((reply.head.status, reply.body), (200, Api::Chat.stream().body()), "not cut off");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_being_too_late_is_told_by_its_own_name() {
    let (silent, mute) = (Provider::start().await, Provider::start().await);
    let (_listener, _full, address) = deaf();
    let mut entries = [
        entry("unheard", &DIALECTS, &format!("http://{address}")),
        silent.entry("silent", &DIALECTS),
        mute.entry("mute", &DIALECTS),
        silent.entry("slow", &DIALECTS),
    ];
    for (at, entry) in entries.iter_mut().enumerate() {
        entry["priority"] = json!(at);
        entry["attempts"] = json!(1);
        entry["timeouts"] = json!({"connect": "300ms", "first_byte": "300ms", "idle": "300ms"});
    }
    entries[3]["timeouts"] = json!({"first_byte": "10s", "total": "300ms"});
    silent.always(Answer::silence(End::Hang));
    let gateway = Gateway::start(entries).await;
    let expected = [
        ("unheard", "connect_timeout"),
        ("silent", "first_byte_timeout"),
        ("mute", "idle_timeout"),
        ("slow", "total_timeout"),
    ];
    for api in [Api::Chat, Api::Anthropic, Api::Gemini] {
        mute.always(api.answer().cut(200, End::Hang));
        let reply = gateway.ask(api, false).await;
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!(reply.head.status, 503, "{api:?}: {body}");
        let words: Vec<_> = expected.iter().map(|(provider, reason)| format!("{provider}: {reason}")).collect();
        assert!(body.contains(&words.join(", ")), "{api:?}: {body}");
        let attempts: Vec<_> = expected.iter().map(|(p, reason)| json!({"provider": p, "reason": reason})).collect();
        let error: Value = serde_json::from_slice(&reply.body).unwrap();
        if api != Api::Gemini {
            assert_eq!(error["error"]["details"]["attempts"], json!(attempts), "{api:?}");
        }
    }
}
