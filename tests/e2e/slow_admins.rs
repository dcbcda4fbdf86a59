//! Clients of the admin address that are slow, or have not been told about the rules.

use std::time::Duration;

use sea_orm::{ConnectionTrait, Database, TransactionTrait};
use serde_json::json;

use crate::support::gateway::{ADMIN_TOKEN, MODEL, Setup};
use crate::support::wire::request;
use crate::support::{Api, Gateway, Provider, Wire, eventually};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_carried_out_to_its_end_though_nobody_waits_for_its_answer() {
    let (provider, gateway) = gateway().await;
    provider.always(Api::Chat.answer());
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    let mut callers = Vec::new();
    for _ in 0..5 {
        let caller = gateway.admin().caller(json!({}), json!({})).await;
        // From now on this node remembers him.
        assert_eq!(gateway.ask_with(&caller.secret, Api::Chat, MODEL, false).await.head.status, 200);
        callers.push(caller);
    }
    let db = Box::pin(Database::connect(gateway.database_url())).await.unwrap();
    let lock = db.begin().await.unwrap();
    lock.execute_unprepared("UPDATE users SET note = 'locked'").await.unwrap();
    let mut waiting = Vec::new();
    for caller in &callers {
        let mut wire = connect(&gateway).await;
        let path = format!("/api/v1/users/{}", caller.user_id);
        wire.send(request("PATCH", &path, &headers, br#"{"enabled": false}"#)).await.unwrap();
        waiting.push(wire);
    }
    for wire in &mut waiting {
        assert!(wire.is_silent_for(Duration::from_millis(100)).await, "nobody can write");
    }
    drop(waiting);
    // Enough for the node to see that they are gone.
    tokio::time::sleep(Duration::from_millis(200)).await;
    lock.rollback().await.unwrap();
    for caller in &callers {
        eventually("he is refused", async || {
            let reply = gateway.ask_with(&caller.secret, Api::Chat, MODEL, false).await;
            (reply.head.status == 401).then_some(())
        })
        .await;
        assert_eq!(gateway.admin().get(&format!("/users/{}", caller.user_id)).await["enabled"], json!(false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_asks_for_nothing_is_let_go_and_keeps_no_request_waiting() {
    let (provider, gateway) = gateway().await;
    provider.always(Api::Chat.answer());
    let files = || std::fs::read_dir(format!("/proc/{}/fd", gateway.process_id())).unwrap().count();
    let (before, mut crowd) = (files(), Vec::new());
    for n in 0..400 {
        let mut wire = connect(&gateway).await;
        if n % 2 == 0 {
            wire.send("GET /api/v1/us").await.unwrap();
        }
        crowd.push(wire);
    }
    assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200);
    let more = files() - before;
    assert!((200..300).contains(&more), "those who are too many wait outside: {more}");
    // As soon as the first are let go.
    assert_eq!(gateway.admin().get("/users?name=x").await["items"], json!([]));
    for wire in &mut crowd {
        assert!(wire.is_closed().await);
    }
}
