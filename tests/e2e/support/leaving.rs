//! A client that leaves, before a provider of every dialect.

use super::gateway::{MODEL, Setup};
use super::{Api, Gateway, Provider, Wire, eventually};

pub const DIALECTS: [&str; 5] = ["anthropic", "openai_chat", "openai_responses", "openai_embeddings", "gemini"];

/// A gateway that reads on for so long after a client has left.
pub async fn gateway(drain: &str) -> (Provider, Gateway) {
    let provider = Provider::start().await;
    let setup = Setup::new([provider.entry("upstream", &DIALECTS)]).set("on_client_abort.drain", drain);
    let gateway = setup.start().await;
    (provider, gateway)
}

/// Starts a stream and reads its first events; gives back the request's id.
pub async fn begin(gateway: &Gateway, api: Api, read: usize) -> (Wire, String) {
    let mut wire = gateway.connect().await;
    wire.post(&api.path(MODEL, true), gateway.key(), &api.request(MODEL, true)).await;
    let head = wire.head().await.unwrap();
    assert_eq!(head.status, 200);
    let seen: usize = api.events(&api.tokens())[..read].iter().map(String::len).sum();
    wire.at_least(seen).await;
    (wire, head.request_id().to_owned())
}

/// Leaves with a farewell or without, and waits until the gateway has noticed.
pub async fn leave(gateway: &Gateway, wire: Wire, reset: bool) {
    let before = gateway.metric("requests_total").await;
    if reset {
        wire.reset()
    } else {
        drop(wire)
    }
    eventually("the gateway sees that the client has left", async || {
        (gateway.metric("requests_total").await > before).then_some(())
    })
    .await;
}
