//! What a stop cuts off: settled once, with what was seen, and nothing begins after it.

use std::time::{Duration, Instant};

use sea_orm::DatabaseTransaction;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tollgate::store;

use crate::support::dialects::cost_of_row;
use crate::support::gateway::{MODEL, Setup};
use crate::support::leaving::{DIALECTS, begin};
use crate::support::provider::{End, entry};
use crate::support::{Answer, Api, Gate, Gateway, Provider, Tokens, eventually};

/// What is not waited for is over by then, on a machine that does ten other things.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Sends the signal and waits for the end, which must come at once.
async fn stop(gateway: &mut Gateway, signal: &str) {
    let asked = Instant::now();
    gateway.signal(signal);
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(asked.elapsed() < AT_ONCE, "nothing is waited for: {:?}", asked.elapsed());
}

/// Keeps everybody else from writing into the gateway's database, so that its last records are not written yet.
async fn hold_database(gateway: &Gateway) -> DatabaseTransaction {
    let db = store::connect(&gateway.database_url(), 1).await.unwrap();
    store::begin_write(&db).await.unwrap()
}

/// Ends the grace and waits until everything that was in flight is settled.
async fn cut_off(gateway: &Gateway) {
    gateway.signal("TERM");
    eventually("what was in flight is settled", async || {
        gateway.log().contains("settled what was cut off").then_some(())
    })
    .await;
}

/// The reasons of a request's attempts, in order.
async fn reasons(gateway: &Gateway, row: &Value) -> Vec<Value> {
    let detail = gateway.admin().get(&format!("/requests/{}", row["requestId"].as_str().unwrap())).await;
    let attempts = detail["detail"]["attempts"].as_array().expect("attempts").iter();
    attempts.map(|attempt| attempt["reason"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_still_connects_costs_nothing() {
    // It takes connections and never shakes hands.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let mut silent = entry("silent", &["openai_chat"], &url);
    silent["timeouts"]["connect"] = json!("10m");
    let mut gateway = Gateway::start([silent]).await;
    let mut wire = gateway.connect().await;
    wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, false)).await;
    let _connecting = listener.accept().await.unwrap();
    stop(&mut gateway, "INT").await;
    let after = gateway.successor().await;
    let row = after.admin().newest_of(1).await;
    assert_eq!((&row["outcome"], &row["estimated"]), (&json!("interrupted"), &json!(false)), "{row}");
    assert_eq!((Tokens::of_row(&row), cost_of_row(&row)), (Tokens::default(), 0));
    assert_eq!(reasons(&after, &row).await, ["interrupted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_has_gone_out_costs_its_prompt_although_no_head_has_come() {
    let (provider, gate) = (Provider::start().await, Gate::new());
    provider.always(Api::Anthropic.answer().behind(&gate));
    let mut gateway = Gateway::start([provider.entry("upstream", &["anthropic"])]).await;
    let mut wire = gateway.connect().await;
    wire.post("/v1/messages", gateway.key(), &Api::Anthropic.request(MODEL, false)).await;
    let sent = provider.request(0).await;
    stop(&mut gateway, "INT").await;
    wire.head().await.expect_err("there is no answer");
    let after = gateway.successor().await;
    let row = after.admin().newest_of(1).await;
    assert_eq!((&row["outcome"], &row["estimated"]), (&json!("interrupted"), &json!(true)), "{row}");
    let prompt = Tokens { input: sent.body.len().div_ceil(4) as i64, ..Tokens::default() };
    assert_eq!((Tokens::of_row(&row), cost_of_row(&row)), (prompt, prompt.cost()));
    assert_eq!(reasons(&after, &row).await, ["interrupted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_whose_body_has_not_come_costs_nothing() {
    let provider = Provider::start().await;
    let answer = Answer::json(400, &json!({"error": {"message": "no"}}));
    let head =
        format!("HTTP/1.1 400 \r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", answer.body().len());
    provider.always(answer.cut(head.len(), End::Hang));
    let mut gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    let mut wire = gateway.connect().await;
    wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, false)).await;
    // The client sees nothing of the head before the first byte of the body.
    gateway.metric_is("time_to_first_byte_seconds_count", 1.0).await;
    stop(&mut gateway, "INT").await;
    let row = gateway.successor().await.admin().newest_of(1).await;
    assert_eq!(
        (&row["outcome"], &row["estimated"], &row["status"]),
        (&json!("interrupted"), &json!(false), &json!(400))
    );
    assert_eq!((Tokens::of_row(&row), cost_of_row(&row)), (Tokens::default(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attempt_that_was_cut_off_is_charged_and_not_the_one_that_failed_before_it() {
    let (first, second, gate) = (Provider::start().await, Provider::start().await, Gate::new());
    first.always(Answer::json(500, &json!({"error": {"message": "busy"}})));
    second.always(Api::Chat.answer().behind(&gate));
    let mut other = second.entry("second", &["openai_chat"]);
    other["priority"] = json!(1);
    let mut gateway = Gateway::start([first.entry("first", &["openai_chat"]), other]).await;
    let mut wire = gateway.connect().await;
    wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, false)).await;
    second.request(0).await;
    stop(&mut gateway, "INT").await;
    let after = gateway.successor().await;
    let row = after.admin().newest_of(1).await;
    assert_eq!(
        (&row["attempt"], &row["provider"], &row["outcome"]),
        (&json!(2), &json!("second"), &json!("interrupted"))
    );
    assert!(cost_of_row(&row) > 0, "{row}");
    assert_eq!(reasons(&after, &row).await, ["upstream_status", "interrupted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn int_ends_the_grace_of_a_term_at_once() {
    let (provider, gate) = (Provider::start().await, Gate::new());
    provider.always(Api::Chat.stream().gated_after(2, &gate));
    let mut gateway = Setup::new([provider.entry("upstream", &DIALECTS)]).set("shutdown.grace", "10m").start().await;
    let (mut wire, id) = begin(&gateway, Api::Chat, 2).await;
    gateway.signal("TERM");
    eventually("nothing new is taken", async || {
        tokio::net::TcpStream::connect(gateway.address()).await.is_err().then_some(())
    })
    .await;
    assert!(gateway.is_running(), "it waits for the stream");
    stop(&mut gateway, "INT").await;
    wire.body().await.expect_err("cut off");
    let row = gateway.successor().await.admin().row_of(&id).await;
    assert_eq!(row["outcome"], "interrupted");
}

#[tokio::test(flavor = "multi_thread")]
async fn int_does_not_wait_for_a_database_that_a_term_waits_for() {
    let (provider, gate) = (Provider::start().await, Gate::new());
    provider.always(Api::Chat.stream().gated_after(2, &gate));
    let setup = Setup::new([provider.entry("upstream", &DIALECTS)]).set("shutdown.grace", "100ms");
    let mut gateway = setup.start().await;
    let (_wire, id) = begin(&gateway, Api::Chat, 2).await;
    let held = hold_database(&gateway).await;
    cut_off(&gateway).await;
    stop(&mut gateway, "INT").await;
    assert!(gateway.log().contains("records are left in the journal"), "{}", gateway.log());
    held.rollback().await.unwrap();
    gateway.restart().await;
    assert_eq!(gateway.admin().row_of(&id).await["outcome"], "interrupted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_stop_has_settled_goes_no_further() {
    let (provider, gate) = (Provider::start().await, Gate::new());
    let setup = Setup::new([provider.entry("upstream", &DIALECTS)]).set("shutdown.grace", "100ms");
    let mut gateway = setup.start().await;
    let mut streams = Vec::new();
    for api in Api::STREAMING {
        provider.then(api.stream().gated_after(2, &gate));
        streams.push((api, begin(&gateway, api, 2).await));
    }
    let held = hold_database(&gateway).await;
    cut_off(&gateway).await;
    gate.open_wide();
    for (api, (wire, _)) in &mut streams {
        match wire.piece().await {
            Err(_) => {}
            Ok(piece) => panic!("{api:?}: nobody pays for this any more: {piece:?}"),
        }
    }
    held.rollback().await.unwrap();
    assert_eq!(gateway.ended().await.code(), Some(0));
    let after = gateway.successor().await;
    for (api, (_, id)) in &streams {
        let row = after.admin().row_of(id).await;
        assert_eq!((&row["outcome"], &row["estimated"]), (&json!("interrupted"), &json!(true)), "{api:?}");
        assert!(cost_of_row(&row) > 0, "{api:?}: {row}");
        let (seen, whole) = (Tokens::of_row(&row), api.tokens());
        match api {
            // Their first events say the input.
            Api::Anthropic | Api::Gemini => assert_eq!((seen.input, seen.cache_read), (whole.input, whole.cache_read)),
            _ => assert!(seen.input > 0 && seen.input < whole.input, "an estimate: {seen:?}"),
        }
        assert!(seen.output < whole.output, "{api:?}: only what was seen: {seen:?}");
        assert_eq!(reasons(&after, &row).await, ["interrupted"], "{api:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_begins_once_the_stop_has_settled() {
    let (first, second, gate) = (Provider::start().await, Provider::start().await, Gate::new());
    first.always(Answer::json(500, &json!({"error": {"message": "busy"}})).behind(&gate));
    second.always(Api::Chat.answer());
    let mut other = second.entry("second", &["openai_chat"]);
    other["priority"] = json!(1);
    let setup = Setup::new([first.entry("first", &["openai_chat"]), other]).set("shutdown.grace", "100ms");
    let mut gateway = setup.start().await;
    let mut wire = gateway.connect().await;
    wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, false)).await;
    first.request(0).await;
    let held = hold_database(&gateway).await;
    cut_off(&gateway).await;
    gate.open_wide();
    let reply = wire.reply().await.unwrap();
    assert_eq!(reply.head.status, 500, "the last answer is passed on: {:?}", reply.body);
    held.rollback().await.unwrap();
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert_eq!(second.requests().len(), 0, "nobody waits for another attempt");
    let after = gateway.successor().await;
    let row = after.admin().row_of(reply.head.request_id()).await;
    assert_eq!((&row["attempt"], &row["outcome"]), (&json!(1), &json!("interrupted")));
}
