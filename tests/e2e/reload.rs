//! `HUP` replaces the configuration under load: no connection is dropped, no request fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::gateway::{MODEL, Setup};
use crate::support::provider::entry;
use crate::support::{Answer, Api, Gate, Gateway, Provider, eventually, scale};

/// Sends `HUP` and waits until the provider of this name has this weight.
async fn reload_to_weight(gateway: &mut Gateway, weight: i64) {
    gateway.rewrite("providers.0.weight", weight);
    gateway.signal("HUP");
    eventually(&format!("weight {weight} is in force"), async || {
        let settings = gateway.admin().get("/providers").await;
        let provider = settings["items"].as_array().unwrap().iter().find(|item| item["name"] == "upstream")?.clone();
        (provider["weight"] == weight).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_a_stream_lives_through_ten_reloads_under_load_and_not_one_request_fails() {
    let provider = Provider::start().await;
    let held = Provider::start().await;
    let gate = Gate::new();
    held.always(Api::Anthropic.stream().gated(&gate));
    provider.always(Api::Chat.answer());
    let setup = Setup::new([provider.entry("upstream", &["openai_chat"]), held.entry("held", &["anthropic"])]);
    let mut gateway = setup.start().await;
    let events = Api::Anthropic.events(&Api::Anthropic.tokens());
    let mut stream = gateway.connect().await;
    stream.post("/v1/messages", gateway.key(), &Api::Anthropic.request(MODEL, true)).await;
    assert_eq!(stream.head().await.unwrap().status, 200);

    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            let (address, key) = (gateway.address(), gateway.key().to_owned());
            tokio::spawn(async move {
                let mut wire = crate::support::Wire::connect(address).await;
                while !stop.load(Ordering::Relaxed) {
                    wire.post("/v1/chat/completions", &key, &Api::Chat.request(MODEL, false)).await;
                    let reply = wire.reply().await.expect("not one connection is dropped");
                    assert_eq!(reply.head.status, 200, "{}", String::from_utf8_lossy(&reply.body));
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();

    for round in 0..10 {
        let before = served.load(Ordering::Relaxed);
        reload_to_weight(&mut gateway, round + 2).await;
        // Under load: each configuration serves some requests.
        let more = before + scale(20, 2_000);
        eventually("requests go on", async || (served.load(Ordering::Relaxed) > more).then_some(())).await;
        if let Some(event) = events.get(round as usize) {
            assert_eq!(stream.at_least(event.len()).await, event, "the stream goes on after reload {round}");
        }
        gate.open(1);
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    gate.open_wide();
    let rest: usize = events.iter().skip(10).map(String::len).sum();
    assert_eq!(stream.body().await.unwrap().len(), rest);
    gateway.metric_is("config_reload_success", 1.0).await;
    let total = served.load(Ordering::Relaxed) + 1;
    eventually("every request has its row", async || {
        let summary = gateway.admin().get("/usage/summary").await;
        (summary["requests"] == total).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_file_changes_nothing_and_says_every_error() {
    let provider = Provider::start().await;
    provider.always(Api::Chat.answer());
    let mut gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    let mut invalid = gateway.config().clone();
    invalid["providers"][0]["timeouts"]["connect"] = json!("soon");
    invalid["providers"][0]["weight"] = json!(-1);
    invalid["unheard_of"] = json!(1);
    // The last ones are what a save in progress looks like.
    let texts = [&*invalid.to_string(), "providers: [", "[]", "\u{0}", "", "# the beginning of a file\n---\n"];
    for (round, text) in texts.into_iter().enumerate() {
        gateway.rewrite_raw(text);
        gateway.signal("HUP");
        gateway.metric_is("config_reload_success", 0.0).await;
        assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200, "the old one goes on");
        reload_to_weight(&mut gateway, round as i64 + 2).await;
        gateway.metric_is("config_reload_success", 1.0).await;
    }
    let log = gateway.log();
    for path in ["providers[0].timeouts.connect", "providers[0].weight", "unheard_of"] {
        assert!(log.contains(path), "{path} is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_prices_and_models_of_a_new_file_are_in_force() {
    let (old, new) = (Provider::start().await, Provider::start().await);
    old.always(Answer::json(200, &json!({"from": "old"})));
    new.always(Answer::json(200, &json!({"from": "new"})));
    let mut gateway = Gateway::start([old.entry("upstream", &["openai_chat"])]).await;
    assert_eq!(gateway.ask(Api::Chat, false).await.json()["from"], "old");
    gateway.rewrite("providers.0.base_url", new.url());
    gateway.rewrite("providers.0.api_key", "sk-another");
    gateway.rewrite("providers.0.redirects", json!({"alias": MODEL}));
    reload_to_weight(&mut gateway, 2).await;
    assert_eq!(gateway.ask(Api::Chat, false).await.json()["from"], "new");
    assert_eq!(new.requests()[0].header("authorization"), Some("Bearer sk-another"));
    assert_eq!(gateway.ask_with(gateway.key(), Api::Chat, "alias", false).await.json()["from"], "new");
    // One that is gone.
    gateway.rewrite("providers", Value::Array(vec![entry("other", &["anthropic"], &new.url())]));
    gateway.signal("HUP");
    eventually("the provider is gone", async || (gateway.ask(Api::Chat, false).await.head.status == 503).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_said_and_not_changed() {
    let provider = Provider::start().await;
    provider.always(Api::Chat.answer());
    let mut gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    gateway.rewrite("server.max_request_body", "1KiB");
    reload_to_weight(&mut gateway, 2).await;
    let mut body = Api::Chat.request(MODEL, false);
    body["pad"] = json!("x".repeat(2_000));
    let mut wire = gateway.connect().await;
    wire.post("/v1/chat/completions", gateway.key(), &body).await;
    assert_eq!(wire.reply().await.unwrap().head.status, 200, "the old limit is in force");
    let log = gateway.log();
    assert!(log.lines().any(|line| line.contains("server") && line.contains("next start")), "it is said: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_grace_is_in_force_at_the_next_term() {
    let (provider, held) = (Provider::start().await, Provider::start().await);
    let gate = Gate::new();
    held.always(Api::Anthropic.stream().gated_after(2, &gate));
    let setup = Setup::new([provider.entry("upstream", &["openai_chat"]), held.entry("held", &["anthropic"])]);
    let mut gateway = setup.set("shutdown.grace", "10m").start().await;
    let mut stream = gateway.connect().await;
    stream.post("/v1/messages", gateway.key(), &Api::Anthropic.request(MODEL, true)).await;
    assert_eq!(stream.head().await.unwrap().status, 200);
    gateway.rewrite("shutdown.grace", "300ms");
    reload_to_weight(&mut gateway, 2).await;
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await.code(), Some(0));
    stream.body().await.expect_err("cut off after the new grace");
}
