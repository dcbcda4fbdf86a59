//! Signals and exit codes.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::gateway::{MODEL, Setup, run};
use crate::support::provider::entry;
use crate::support::{Api, Gate, Gateway, Provider, Tokens, client, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn term_finishes_what_is_in_flight_and_takes_nothing_new() {
    let provider = Provider::start().await;
    let gate = Gate::new();
    provider.always(Api::Chat.stream().gated_after(2, &gate));
    let mut gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    let mut wire = gateway.connect().await;
    wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, true)).await;
    assert_eq!(wire.head().await.unwrap().status, 200);
    let mut idle = gateway.connect().await;
    gateway.signal("TERM");
    let ready = format!("{}/readyz", gateway.admin().base());
    eventually("/readyz says that it stops", async || {
        let answer = client().get(&ready).send().await;
        answer.map_or(true, |response| response.status() != 200).then_some(())
    })
    .await;
    eventually("nothing new is taken", async || {
        tokio::net::TcpStream::connect(gateway.address()).await.is_err().then_some(())
    })
    .await;
    assert!(gateway.is_running(), "it waits for the stream");
    gate.open_wide();
    assert_eq!(wire.body().await.unwrap(), Api::Chat.stream().body(), "the stream is finished");
    assert!(idle.is_closed().await);
    let asked = Instant::now();
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10), "it does not sit out its grace: {:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn term_waits_for_drains_and_keeps_their_rows() {
    let provider = Provider::start().await;
    let gate = Gate::new();
    provider.always(Api::Chat.stream().gated_after(2, &gate));
    let mut gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    let mut wire = gateway.connect().await;
    wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, true)).await;
    let id = wire.head().await.unwrap().request_id().to_owned();
    let before = gateway.metric("requests_total").await;
    drop(wire);
    eventually("the client's leave is seen", async || (gateway.metric("requests_total").await > before).then_some(()))
        .await;
    gateway.signal("TERM");
    eventually("nothing new is taken", async || {
        tokio::net::TcpStream::connect(gateway.address()).await.is_err().then_some(())
    })
    .await;
    assert!(gateway.is_running(), "it waits for the drain");
    gate.open_wide();
    assert_eq!(gateway.ended().await.code(), Some(0));
    let row = gateway.successor().await.admin().row_of(&id).await;
    assert_eq!((&row["outcome"], Tokens::of_row(&row)), (&json!("client_aborted"), Api::Chat.tokens()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grace_ends() {
    let provider = Provider::start().await;
    let gate = Gate::new();
    provider.always(Api::Chat.stream().gated_after(2, &gate));
    for signal in ["TERM", "INT"] {
        let setup = Setup::new([provider.entry("upstream", &["openai_chat"])]).set("shutdown.grace", "500ms");
        let mut gateway = setup.start().await;
        let mut wire = gateway.connect().await;
        wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, true)).await;
        let head = wire.head().await.unwrap();
        assert_eq!(head.status, 200);
        let asked = Instant::now();
        gateway.signal(signal);
        assert_eq!(gateway.ended().await.code(), Some(0));
        assert!(asked.elapsed() < Duration::from_secs(5), "{signal}: nothing is waited for: {:?}", asked.elapsed());
        wire.body().await.expect_err("cut off");
        // What was cut off has been paid as far as it was seen.
        let row = gateway.successor().await.admin().row_of(head.request_id()).await;
        assert_eq!((&row["outcome"], &row["estimated"]), (&json!("interrupted"), &json!(true)), "{signal}");
        assert!(row["costUsd"].as_f64().unwrap() > 0.0, "{signal}: {row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_gateway_ends_at_once_and_int_does_not_wait() {
    let provider = Provider::start().await;
    let gate = Gate::new();
    provider.always(Api::Chat.stream().gated_after(2, &gate));
    for signal in ["TERM", "INT"] {
        let mut gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
        let mut wire = gateway.connect().await;
        if signal == "INT" {
            wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, true)).await;
            assert_eq!(wire.head().await.unwrap().status, 200);
        }
        let asked = Instant::now();
        gateway.signal(signal);
        gateway.ended().await;
        assert!(asked.elapsed() < Duration::from_secs(5), "{signal}: {:?}", asked.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hup_before_anything_is_ready_does_not_kill_it() {
    let provider = Provider::start().await;
    let mut gateway = Setup::new([provider.entry("upstream", &["openai_chat"])]).spawn();
    eventually("it has begun to write", async || (!gateway.log().is_empty()).then_some(())).await;
    gateway.signal("HUP");
    gateway.ready().await;
}

#[test]
fn exit_codes_tell_what_was_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tollgate.yaml");
    let code = |arguments: &[&str]| run(arguments, &[], folder.path()).status.code();
    let path = file.to_str().unwrap();

    assert_eq!(code(&["serve", "-c", "missing.yaml"]), Some(1), "no configuration");
    std::fs::write(&file, "providers: [{name: 1").unwrap();
    assert_eq!(code(&["serve", "-c", path]), Some(1), "a configuration that is none");
    std::fs::write(&file, "# a save in progress\n").unwrap();
    assert_eq!(code(&["serve", "-c", path]), Some(1), "a configuration that says nothing");
    std::fs::write(&file, "providers: []\nunheard_of: 1\n").unwrap();
    assert_eq!(code(&["check", "-c", path]), Some(1), "a configuration with an error");
    assert_eq!(code(&["serve", "--unheard-of"]), Some(2), "usage");
    assert_eq!(code(&["unheard-of"]), Some(2), "usage");
    assert_eq!(code(&[]), Some(2), "usage");

    let provider = entry("upstream", &["openai_chat"], "http://127.0.0.1:9");
    let mut config = json!({
        "server": {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0", "metrics": "127.0.0.1:0"},
        "node": {"data_dir": folder.path()}, "providers": [provider],
    });
    for url in ["postgres://nobody@127.0.0.1:1/none", "sqlite:///proc/nowhere/tollgate.db"] {
        config["database"] = json!({"url": url});
        std::fs::write(&file, config.to_string()).unwrap();
        assert_eq!(code(&["serve", "-c", path]), Some(3), "the database is unreachable: {url}");
        assert_eq!(code(&["migrate", "-c", path]), Some(3), "{url}");
    }
    for arguments in [&["--help"][..], &["--version"], &["serve", "--help"]] {
        assert_eq!(code(arguments), Some(0), "{arguments:?}");
    }
}
