//! A new process takes over the sockets of the old one: no request fails, and what is in flight is finished.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::support::gateway::{MODEL, upgrade};
use crate::support::{Api, Gate, Gateway, Provider, Tokens, Wire, client, eventually};

/// A client that asks again and again over one connection, and over a new one when the old one was closed between two
/// requests, as SDKs do. Every answer must be good.
async fn ask_without_a_break(
    gateway: std::net::SocketAddr,
    key: String,
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
) {
    let mut wire = Wire::connect(gateway).await;
    let mut fresh = true;
    while !stop.load(Ordering::Relaxed) {
        let body = Api::Chat.request(MODEL, false).to_string();
        let authorization = format!("Bearer {key}");
        let headers = [("authorization", &*authorization), ("content-type", "application/json")];
        let request = crate::support::wire::request("POST", "/v1/chat/completions", &headers, body.as_bytes());
        let reply = match wire.send(request).await {
            Ok(()) => wire.reply().await,
            Err(error) => Err(error),
        };
        match reply {
            Ok(reply) => {
                assert_eq!(reply.head.status, 200, "{}", String::from_utf8_lossy(&reply.body));
                assert_eq!(reply.body, Api::Chat.answer().body());
                served.fetch_add(1, Ordering::Relaxed);
                fresh = reply.head.get("connection") == Some("close");
                if fresh {
                    wire = Wire::connect(gateway).await;
                }
            }
            Err(error) => {
                assert!(!fresh, "a request on a fresh connection fails: {error}");
                (wire, fresh) = (Wire::connect(gateway).await, true);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_takes_over_and_not_one_request_fails() {
    let (provider, held) = (Provider::start().await, Provider::start().await);
    let gate = Gate::new();
    held.always(Api::Anthropic.stream().gated_after(3, &gate));
    provider.always(Api::Chat.answer());
    let mut old =
        Gateway::start([provider.entry("upstream", &["openai_chat"]), held.entry("held", &["anthropic"])]).await;
    let mut stream = old.connect().await;
    stream.post("/v1/messages", old.key(), &Api::Anthropic.request(MODEL, true)).await;
    let id = stream.head().await.unwrap().request_id().to_owned();
    let beginning: usize = Api::Anthropic.events(&Api::Anthropic.tokens())[..3].iter().map(String::len).sum();
    let beginning = stream.at_least(beginning).await;

    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            tokio::spawn(ask_without_a_break(old.address(), old.key().to_owned(), stop, served))
        })
        .collect();
    let more_are_served = async |context: &str| {
        let before = served.load(Ordering::Relaxed);
        eventually(&format!("requests go on {context}"), async || {
            assert!(clients.iter().all(|client| !client.is_finished()), "a client has failed {context}");
            (served.load(Ordering::Relaxed) > before + 20).then_some(())
        })
        .await;
    };
    more_are_served("before").await;

    let mut new = upgrade(&old);
    let socket = old.folder().join("data/upgrade.sock");
    eventually("the successor waits for the sockets", async || {
        assert!(new.exit_status().is_none(), "the successor has ended:\n{}", new.output());
        socket.exists().then_some(())
    })
    .await;
    more_are_served("while the successor waits").await;
    old.signal("QUIT");
    eventually("the successor serves", async || {
        assert!(new.exit_status().is_none(), "the successor has ended:\n{}", new.output());
        new.output().contains("the gateway takes requests").then_some(())
    })
    .await;
    more_are_served("after").await;
    assert!(old.is_running(), "the old one waits for its stream");

    // Past the moment at which the old one takes no more.
    eventually("the old one stops", async || old.log().contains("Broadcasting graceful shutdown").then_some(())).await;
    more_are_served("after the old one has stopped listening").await;
    gate.open_wide();
    let rest = stream.body().await.expect("the stream is finished");
    assert_eq!([beginning, rest].concat(), Api::Anthropic.stream().body());
    assert_eq!(old.ended().await.code(), Some(0), "the old one ends in peace");
    more_are_served("when the old one is gone").await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }

    let ready = client().get(format!("{}/readyz", old.admin().base())).send().await.unwrap();
    assert_eq!(ready.status(), 200, "the new one is ready");
    // The port is kept: this is the new one.
    let reply = old.ask(Api::Chat, false).await;
    assert_eq!(reply.head.status, 200);
    let row = old.admin().row_of(reply.head.request_id()).await;
    assert_eq!((&row["outcome"], Tokens::of_row(&row)), (&json!("completed"), Api::Chat.tokens()));
    let total = served.load(Ordering::Relaxed) + 2;
    eventually("every request has its row, those of the old one too", async || {
        let summary = old.admin().get("/usage/summary").await;
        (summary["requests"] == total).then_some(())
    })
    .await;
    let stream = old.admin().get(&format!("/requests/{id}")).await;
    assert!(stream.to_string().contains("held"), "{stream}");
    new.signal("TERM");
    assert_eq!(new.wait(crate::support::SOON).code(), Some(0));
}
