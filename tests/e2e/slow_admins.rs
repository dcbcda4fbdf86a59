//! Clients of the admin address that are slow, or have not been told about the rules.

use serde_json::json;

use crate::support::gateway::{ADMIN_TOKEN, Setup};
use crate::support::wire::request;
use crate::support::{Gateway, Provider, Wire};

async fn gateway() -> (Provider, Gateway) {
    let provider = Provider::start().await;
    let setup = Setup::new([provider.entry("upstream", &["openai_chat"])]).set("server.timeouts.body", "1s");
    let gateway = setup.start().await;
    (provider, gateway)
}

async fn connect(gateway: &Gateway) -> Wire {
    Wire::connect(gateway.admin().base().trim_start_matches("http://").parse().unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_refused_and_its_connection_closed() {
    let (_provider, gateway) = gateway().await;
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    for framing in [("content-length", "100"), ("transfer-encoding", "chunked")] {
        let headers = [("authorization", &*bearer), ("content-type", "application/json"), framing];
        let mut wire = connect(&gateway).await;
        wire.send(request("POST", "/api/v1/users", &headers, b"")).await.unwrap();
        let reply = wire.reply().await.unwrap();
        assert_eq!(reply.head.status, 408, "{framing:?}");
        assert_eq!(reply.json()["code"], "request_timeout");
        assert!(wire.is_closed().await, "what comes next would be taken for a body, or for a request");
    }
    assert_eq!(gateway.admin().get("/users?name=x").await["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_refused_and_the_next_client_served() {
    let (_provider, gateway) = gateway().await;
    let bearer = format!("authorization: Bearer {ADMIN_TOKEN}");
    for text in [
        "GET /api/v1/users HTTP/1.1\r\nhost: a\r\nx: a\nb: c\rd\r\n\r\n".to_owned(),
        "GET /api/v1/us\u{0}ers HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        format!("GET /api/v1/users HTTP/1.1\r\nhost: a\r\n{bearer}\r\n {bearer}\r\n\r\n"),
        format!("GET /api/v1/users HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(1 << 20)),
        format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(1 << 20)),
        format!("POST /api/v1/users HTTP/1.1\r\nhost: a\r\n{bearer}\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"),
        "\u{16}\u{3}\u{1}\u{2}".repeat(100),
    ] {
        let mut wire = connect(&gateway).await;
        // It may be refused before it was read to its end.
        let _ = wire.send(&text).await;
        let _ = wire.send("\r\n\r\n").await;
        let answer = wire.until_closed().await;
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{:.60}: {}", text, String::from_utf8_lossy(&answer));
        assert!(!answer.starts_with(b"HTTP/1.1 5"), "{:.60}: {}", text, String::from_utf8_lossy(&answer));
    }
    gateway.admin().get("/users").await;
}
