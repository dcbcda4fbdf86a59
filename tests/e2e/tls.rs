//! TLS on both sides: the gateway's own certificate, and a provider whose authority only its entry names.

use serde_json::{Value, json};

use crate::support::certs::Authority;
use crate::support::gateway::{MODEL, Setup};
use crate::support::h2client::H2Client;
use crate::support::provider::End;
use crate::support::{Answer, Api, Gate, Gateway, Provider, Tokens, Wire};

const DIALECTS: [&str; 5] = ["anthropic", "openai_chat", "openai_responses", "openai_embeddings", "gemini"];

/// A gateway with a certificate of this authority.
async fn gateway_with_tls(authority: &Authority, provider: &Provider) -> Gateway {
    let setup = Setup::new([provider.entry("upstream", &DIALECTS)]);
    let (certificate, key) = authority.sign().write(setup.folder());
    setup.set("server.tls", json!({"cert": certificate, "key": key})).start().await
}

/// A provider with TLS, and the gateway's entry for it.
async fn secure_provider(folder: &std::path::Path, protocols: &[&str]) -> (Provider, Value) {
    let authority = Authority::new();
    let provider = Provider::start_tls(&authority, protocols).await;
    let mut entry = provider.entry("secure", &DIALECTS);
    entry["tls"] = json!({"ca_file": authority.write(folder)});
    (provider, entry)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_may_speak_http1_and_http2_over_tls() {
    let (authority, provider) = (Authority::new(), Provider::start().await);
    let gateway = gateway_with_tls(&authority, &provider).await;
    let mut wire = Wire::connect_tls(gateway.address(), authority.client(&["http/1.1"])).await.unwrap();
    for _ in 0..3 {
        provider.then(Api::Chat.answer());
        wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, false)).await;
        assert_eq!(wire.reply().await.unwrap().body, Api::Chat.answer().body());
    }
    let mut client = H2Client::connect_tls(gateway.address(), authority.client(&["h2", "http/1.1"])).await;
    let mut body = Api::Chat.request(MODEL, false);
    body["pad"] = json!("x".repeat(5 << 20));
    provider.then(Api::Chat.answer());
    let reply = client.post("/v1/chat/completions", gateway.key(), None, body.to_string().as_bytes()).await;
    assert_eq!((reply.head.status, reply.body), (200, Api::Chat.answer().body()));
    assert!(provider.request(3).await.body == body.to_string().as_bytes());
    Wire::connect_tls(gateway.address(), Authority::new().client(&["http/1.1"]))
        .await
        .err()
        .expect("another authority");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_over_tls_and_http2_arrive_event_by_event() {
    let (authority, provider) = (Authority::new(), Provider::start().await);
    let gateway = gateway_with_tls(&authority, &provider).await;
    let mut client = H2Client::connect_tls(gateway.address(), authority.client(&["h2"])).await;
    let gate = Gate::new();
    provider.then(Api::Anthropic.stream().gated(&gate));
    let body = Api::Anthropic.request(MODEL, true).to_string();
    let mut answer = client.start("/v1/messages", gateway.key(), None, body.as_bytes()).await;
    for event in Api::Anthropic.events(&Api::Anthropic.tokens()) {
        let mut seen = Vec::new();
        while seen.len() < event.len() {
            seen.extend_from_slice(&answer.piece().await.expect("the stream goes on").unwrap());
        }
        assert_eq!(String::from_utf8_lossy(&seen), event);
        gate.open(1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_missing_is_said_at_start() {
    let provider = Provider::start().await;
    let setup = Setup::new([provider.entry("upstream", &DIALECTS)]);
    let tls = json!({"cert": "/nowhere/cert.pem", "key": "/nowhere/key.pem"});
    let mut gateway = setup.set("server.tls", tls).spawn();
    assert_eq!(gateway.ended().await.code(), Some(1));
    assert!(gateway.log().contains("/nowhere/cert.pem"), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_trusted_by_the_authority_that_its_entry_names() {
    let folder = tempfile::tempdir().unwrap();
    let (provider, entry) = secure_provider(folder.path(), &["http/1.1"]).await;
    provider.always(Api::Chat.answer());
    let (stranger, _) = secure_provider(tempfile::tempdir().unwrap().path(), &["http/1.1"]).await;
    let mut unknown = stranger.entry("unknown", &DIALECTS);
    unknown["priority"] = json!(-1);
    let gateway = Gateway::start([entry, unknown]).await;
    let reply = gateway.ask(Api::Chat, false).await;
    assert_eq!((reply.head.status, reply.body.clone()), (200, Api::Chat.answer().body()));
    assert_eq!(stranger.requests().len(), 0, "nothing is sent to one whose certificate nobody vouches for");
    assert_eq!(gateway.admin().row_of(reply.head.request_id()).await["provider"], "secure");
}

#[tokio::test(flavor = "multi_thread")]
async fn verification_can_be_switched_off_for_one_provider() {
    let provider = Provider::start_tls(&Authority::new(), &["http/1.1"]).await;
    provider.always(Api::Chat.answer());
    let mut entry = provider.entry("secure", &DIALECTS);
    entry["tls"] = json!({"verify": false});
    let gateway = Gateway::start([entry]).await;
    assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_spoken_to_a_provider_that_offers_it() {
    let folder = tempfile::tempdir().unwrap();
    let (provider, entry) = secure_provider(folder.path(), &["h2", "http/1.1"]).await;
    let gateway = Gateway::start([entry]).await;
    for (index, api) in Api::STREAMING.into_iter().enumerate() {
        provider.then(api.stream());
        let reply = gateway.ask(api, true).await;
        assert_eq!((reply.head.status, reply.body), (200, api.stream().body()), "{api:?}");
        let sent = provider.request(index).await;
        assert_eq!((sent.version, sent.connection), (http::Version::HTTP_2, 0), "{api:?}: over one connection");
        assert_eq!(sent.body, api.request(MODEL, true).to_string().as_bytes(), "{api:?}");
        let row = gateway.admin().row_of(reply.head.request_id()).await;
        assert_eq!(Tokens::of_row(&row), api.tokens(), "{api:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn big_bodies_fail_over_between_http2_providers() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, mut preferred) = secure_provider(one.path(), &["h2"]).await;
    let (second, mut other) = secure_provider(two.path(), &["h2"]).await;
    (preferred["name"], other["name"], other["priority"]) = (json!("first"), json!("second"), json!(1));
    preferred["timeouts"] = json!({"connect": "5s", "first_byte": "500ms", "idle": "5s"});
    let gateway = Gateway::start([preferred, other]).await;
    let mut body = Api::Chat.request(MODEL, false);
    body["pad"] = json!("x".repeat(5 << 20));
    let faults = [Answer::json(429, &json!({})), Answer::silence(End::Reset), Answer::silence(End::Hang)];
    for (index, fault) in faults.into_iter().enumerate() {
        first.then(fault.clone());
        second.then(Api::Chat.answer());
        let mut wire = gateway.connect().await;
        wire.post("/v1/chat/completions", gateway.key(), &body).await;
        let reply = wire.reply().await.unwrap();
        assert_eq!((reply.head.status, reply.body), (200, Api::Chat.answer().body()), "{fault:?}");
        assert!(second.request(index).await.body == body.to_string().as_bytes(), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_an_http2_provider_pays_what_was_really_used() {
    let folder = tempfile::tempdir().unwrap();
    let (provider, entry) = secure_provider(folder.path(), &["h2"]).await;
    let gateway = Gateway::start([entry]).await;
    let gate = Gate::new();
    provider.then(Api::Chat.stream().gated_after(2, &gate));
    let mut wire = gateway.connect().await;
    wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, true)).await;
    let id = wire.head().await.unwrap().request_id().to_owned();
    let before = gateway.metric("requests_total").await;
    drop(wire);
    crate::support::eventually("the leave is seen", async || {
        (gateway.metric("requests_total").await > before).then_some(())
    })
    .await;
    gate.open_wide();
    let row = gateway.admin().row_of(&id).await;
    assert_eq!((&row["outcome"], Tokens::of_row(&row)), (&json!("client_aborted"), Api::Chat.tokens()));
    // A broken stream of a connection is not the end of the connection.
    let gate = Gate::new();
    provider.then(Api::Chat.stream().only(2, End::Reset).held(&gate));
    let mut wire = gateway.connect().await;
    wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, true)).await;
    let id = wire.head().await.unwrap().request_id().to_owned();
    gate.open_wide();
    wire.body().await.expect_err("cut off");
    let row = gateway.admin().row_of(&id).await;
    assert_eq!((&row["outcome"], &row["estimated"]), (&json!("upstream_failed"), &json!(true)));
}
