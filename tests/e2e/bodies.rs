//! A request's body arrives whole at whoever serves it, however the client sends it and however often it fails over.

use std::fmt::Write;

use serde_json::json;

use crate::support::gateway::MODEL;
use crate::support::h2client::H2Client;
use crate::support::provider::refusing;
use crate::support::wire::{Reply, Wire, request};
use crate::support::{Answer, Api, Gateway, Provider};

const SIZES: [usize; 5] = [10, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 5 << 20];

/// How a client frames its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Length,
    Chunked,
    Expect,
    H2,
    H2WithoutLength,
}

/// A body of exactly this size. The smallest has no room for a model: it is Gemini's, whose model is in the path.
fn body_of(size: usize) -> (Api, String) {
    let start = format!(r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"ünï"}}],"pad":""#);
    let end = r#""}"#;
    let Some(room) = size.checked_sub(start.len() + end.len()) else {
        return (Api::Gemini, format!(r#"{{"a":"{}"}}"#, "b".repeat(size - 8)));
    };
    let mut body = start;
    // Not all the same: a piece that is lost or doubled shows.
    while body.len() < size - end.len() {
        write!(body, "{:08x}", body.len()).unwrap();
    }
    body.truncate(size - end.len());
    assert!(room > 0);
    (Api::Chat, body + end)
}

async fn send_h1(wire: &mut Wire, path: &str, key: &str, way: Way, body: &str) -> Reply {
    let authorization = format!("Bearer {key}");
    let length = body.len().to_string();
    let mut headers = vec![("authorization", &*authorization), ("content-type", "application/json")];
    match way {
        Way::Chunked => headers.push(("transfer-encoding", "chunked")),
        _ => headers.push(("content-length", &*length)),
    }
    if way == Way::Expect {
        headers.push(("expect", "100-continue"));
    }
    wire.send(request("POST", path, &headers, b"")).await.unwrap();
    if way == Way::Expect {
        assert_eq!(wire.head().await.unwrap().status, 100, "the client is told to go on");
    }
    if way == Way::Chunked {
        // Chunks that fit no buffer.
        for chunk in body.as_bytes().chunks(40_961) {
            let framed = [format!("{:X};x=y\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
            wire.send(framed).await.unwrap();
        }
        wire.send("0\r\n\r\n").await.unwrap();
    } else {
        wire.send(body).await.unwrap();
    }
    wire.reply().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_every_size_and_framing_arrive_intact_over_one_connection() {
    let provider = Provider::start().await;
    let gateway = Gateway::start([provider.entry("upstream", &["openai_chat", "gemini"])]).await;
    let mut wire = gateway.connect().await;
    let mut h2 = H2Client::connect(gateway.address()).await;
    let mut served = 0;
    for size in SIZES {
        for way in [Way::Length, Way::Chunked, Way::Expect, Way::H2, Way::H2WithoutLength] {
            let (api, body) = body_of(size);
            assert_eq!(body.len(), size);
            provider.then(api.answer());
            let path = api.path(MODEL, false);
            let reply = match way {
                Way::H2 => h2.post(&path, gateway.key(), Some(size), body.as_bytes()).await,
                Way::H2WithoutLength => h2.post(&path, gateway.key(), None, body.as_bytes()).await,
                _ => send_h1(&mut wire, &path, gateway.key(), way, &body).await,
            };
            let text = String::from_utf8_lossy(&reply.body);
            assert_eq!((reply.head.status, &*text), (200, &*api.whole(&api.tokens())), "{size} bytes, {way:?}");
            let sent = provider.request(served).await;
            served += 1;
            assert!(sent.body == body.as_bytes(), "{size} bytes, {way:?}: the body is intact");
            assert_eq!(sent.header("content-length"), Some(&*size.to_string()), "{way:?}");
            assert_eq!((sent.header("transfer-encoding"), sent.header("expect")), (None, None), "{way:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_survives_two_failovers_with_a_rewritten_model() {
    let (limited, good) = (Provider::start().await, Provider::start().await);
    limited.always(Answer::json(429, &json!({"error": {"message": "slow down"}})));
    let dialects = ["openai_chat", "gemini"];
    let (_port, mut refusing) = refusing("refusing", &dialects);
    let (mut first, mut third) = (limited.entry("limited", &dialects), good.entry("good", &dialects));
    first["priority"] = json!(0);
    refusing["priority"] = json!(1);
    third["priority"] = json!(2);
    third["redirects"] = json!({MODEL: "the-name-that-this-provider-has-for-it"});
    first["redirects"] = json!({MODEL: "other"});
    let gateway = Gateway::start([first, refusing, third]).await;
    let mut wire = gateway.connect().await;
    let mut h2 = H2Client::connect(gateway.address()).await;
    let mut served = 0;
    for size in SIZES {
        for way in [Way::Length, Way::Chunked, Way::Expect, Way::H2, Way::H2WithoutLength] {
            let (api, body) = body_of(size);
            good.then(api.answer());
            let path = api.path(MODEL, false);
            let reply = match way {
                Way::H2 => h2.post(&path, gateway.key(), Some(size), body.as_bytes()).await,
                Way::H2WithoutLength => h2.post(&path, gateway.key(), None, body.as_bytes()).await,
                _ => send_h1(&mut wire, &path, gateway.key(), way, &body).await,
            };
            assert_eq!(reply.head.status, 200, "{size} bytes, {way:?}: {}", String::from_utf8_lossy(&reply.body));
            assert_eq!(reply.body, api.whole(&api.tokens()).as_bytes());
            let (refused, sent) = (limited.request(served).await, good.request(served).await);
            served += 1;
            if api == Api::Gemini {
                assert_eq!(sent.target, api.path("the-name-that-this-provider-has-for-it", false));
                assert!(refused.body == body.as_bytes() && sent.body == body.as_bytes(), "{size} bytes, {way:?}");
            } else {
                let rewritten = |name: &str| body.replacen(MODEL, name, 1);
                assert!(refused.body == rewritten("other").as_bytes(), "{size} bytes, {way:?}: first");
                let expected = rewritten("the-name-that-this-provider-has-for-it");
                assert!(sent.body == expected.as_bytes(), "{size} bytes, {way:?}: last");
                assert_eq!(sent.header("content-length"), Some(&*expected.len().to_string()));
            }
        }
    }
    assert_eq!(limited.requests().len(), served);
    let row = gateway.admin().usage().await.into_iter().next().unwrap();
    assert_eq!((&row["provider"], &row["attempt"]), (&json!("good"), &json!(3)), "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_sent_byte_by_byte_arrives_intact() {
    let provider = Provider::start().await;
    provider.always(Api::Chat.answer());
    let gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    let authorization = format!("Bearer {}", gateway.key());
    let body = Api::Chat.request(MODEL, false).to_string();
    let headers = [("authorization", &*authorization), ("content-type", "application/json")];
    let mut wire = gateway.connect().await;
    for byte in request("POST", "/v1/chat/completions", &headers, body.as_bytes()) {
        wire.send([byte]).await.unwrap();
    }
    assert_eq!(wire.reply().await.unwrap().head.status, 200);
    assert_eq!(provider.request(0).await.body, body.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_sent_without_waiting_are_answered_in_order() {
    let provider = Provider::start().await;
    let gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    let authorization = format!("Bearer {}", gateway.key());
    let body = Api::Chat.request(MODEL, false).to_string();
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let by_length = [("authorization", &*authorization)];
    let in_chunks = [("authorization", &*authorization), ("transfer-encoding", "chunked")];
    let by_length = request("POST", "/v1/chat/completions", &by_length, body.as_bytes());
    let in_chunks = request("POST", "/v1/chat/completions", &in_chunks, chunks.as_bytes());
    for (way, one) in [("by length", by_length), ("in chunks", in_chunks)] {
        for number in 0..3 {
            provider.then(Answer::json(200, &json!({"number": number})));
        }
        let mut wire = gateway.connect().await;
        wire.send(one.repeat(3)).await.unwrap();
        for number in 0..3 {
            assert_eq!(wire.reply().await.unwrap().json(), json!({"number": number}), "{way}");
        }
    }
}
