//! What the admin address answers before there is a request to answer; the API's document says so.

#![allow(clippy::unwrap_used, reason = "tests")]

use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::admin_listener::serve;

/// The status of the answer to this head, and its body, once the other side has ended the connection.
async fn answer(head: &str) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(|| async { "a request" });
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(listener, router, stop.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may end the connection before it has taken everything.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read).await;
    stop.cancel();
    server.await.unwrap();
    let text = String::from_utf8(read).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

#[tokio::test]
async fn what_is_too_long_for_http_is_answered_without_a_body() {
    let get = |target: &str, headers: &str| format!("GET {target} HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
    let close = "connection: close\r\n";
    let path = |bytes: usize| format!("/{}", "a".repeat(bytes - 1));
    let many = |count: usize| (0..count).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    assert_eq!(answer(&get(&path(65_534), close)).await, ("200".to_owned(), "a request".to_owned()));
    assert_eq!(answer(&get(&path(65_535), close)).await, ("414".to_owned(), String::new()));
    assert_eq!(answer(&get("/", &(many(98) + close))).await, ("200".to_owned(), "a request".to_owned()));
    assert_eq!(answer(&get("/", &(many(99) + close))).await, ("431".to_owned(), String::new()));
    assert_eq!(answer("what is this?\r\n\r\n").await, ("400".to_owned(), String::new()));
}
