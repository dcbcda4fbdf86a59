//! Who pays when it does not end well: a test per row of the table in the README, for every dialect.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::dialects::cost_of_row;
use crate::support::gateway::MODEL;
use crate::support::h2client::H2Client;
use crate::support::leaving::{begin, gateway, leave};
use crate::support::provider::End;
use crate::support::{Answer, Api, Gate, Gateway, Tokens, eventually};

fn check(row: &Value, outcome: &str, estimated: bool, context: &str) {
    assert_eq!((&row["outcome"], &row["estimated"]), (&json!(outcome), &json!(estimated)), "{context}: {row}");
}

async fn a_client_leaves_at_every_event_boundary(api: Api) {
    let (provider, gateway) = gateway("30s").await;
    let events = api.events(&api.tokens());
    // Once the closing event is out the answer is complete.
    for seen in 0..events.len() {
        let context = format!("{api:?}, {seen} of {} events seen", events.len());
        let gate = Gate::new();
        provider.then(api.stream().gated_after(seen, &gate));
        let (wire, id) = begin(&gateway, api, seen).await;
        leave(&gateway, wire, seen % 2 == 1).await;
        gate.open_wide();
        let row = gateway.admin().row_of(&id).await;
        check(&row, "client_aborted", false, &context);
        assert_eq!((Tokens::of_row(&row), cost_of_row(&row)), (api.tokens(), api.tokens().cost()), "{context}");
        let request = provider.requests().pop().unwrap();
        assert!(!request.abandoned, "{context}: the provider was read to its end");
    }
    assert_eq!(gateway.admin().usage().await.len(), events.len(), "one row for each");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anthropic_client_that_leaves_pays_what_was_really_used() {
    a_client_leaves_at_every_event_boundary(Api::Anthropic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_client_that_leaves_pays_what_was_really_used() {
    a_client_leaves_at_every_event_boundary(Api::Chat).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_responses_client_that_leaves_pays_what_was_really_used() {
    a_client_leaves_at_every_event_boundary(Api::Responses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gemini_client_that_leaves_pays_what_was_really_used() {
    a_client_leaves_at_every_event_boundary(Api::Gemini).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_a_whole_answer_pays_for_it() {
    let (provider, gateway) = gateway("30s").await;
    for (index, api) in Api::ALL.into_iter().enumerate() {
        let gate = Gate::new();
        provider.then(api.answer().behind(&gate));
        let mut wire = gateway.connect().await;
        wire.post(&api.path(MODEL, false), gateway.key(), &api.request(MODEL, false)).await;
        provider.request(index).await;
        leave(&gateway, wire, index % 2 == 1).await;
        gate.open_wide();
        let row = gateway.admin().newest_of(index + 1).await;
        check(&row, "client_aborted", false, &format!("{api:?}"));
        assert_eq!((Tokens::of_row(&row), cost_of_row(&row)), (api.tokens(), api.tokens().cost()), "{api:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_client_that_resets_its_stream_pays_what_was_really_used() {
    let (provider, gateway) = gateway("30s").await;
    let mut client = H2Client::connect(gateway.address()).await;
    for (index, api) in Api::STREAMING.into_iter().enumerate() {
        let gate = Gate::new();
        provider.then(api.stream().gated_after(2, &gate));
        let body = api.request(MODEL, true).to_string();
        let mut answer = client.start(&api.path(MODEL, true), gateway.key(), None, body.as_bytes()).await;
        answer.piece().await.unwrap().unwrap();
        let before = gateway.metric("requests_total").await;
        drop(answer);
        eventually("the reset is seen", async || (gateway.metric("requests_total").await > before).then_some(())).await;
        gate.open_wide();
        let row = gateway.admin().newest_of(2 * index + 1).await;
        check(&row, "client_aborted", false, &format!("{api:?}"));
        assert_eq!(Tokens::of_row(&row), api.tokens(), "{api:?}");
        // The connection has other streams: it goes on.
        provider.then(Answer::json(400, &json!({"error": {}})));
        assert_eq!(client.post(&api.path(MODEL, false), gateway.key(), None, body.as_bytes()).await.head.status, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_connection_is_used_again() {
    let (provider, gateway) = gateway("30s").await;
    let gate = Gate::new();
    provider.then(Api::Chat.stream().gated_after(2, &gate));
    let (wire, id) = begin(&gateway, Api::Chat, 2).await;
    leave(&gateway, wire, false).await;
    gate.open_wide();
    gateway.admin().row_of(&id).await;
    provider.then(Api::Chat.answer());
    assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200);
    assert_eq!(provider.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_does_not_end_within_the_drain_is_estimated() {
    let (provider, gateway) = gateway("300ms").await;
    for api in Api::STREAMING {
        // Gemini says running usage in every event; the others know at most their input.
        let events = api.events(&api.tokens());
        provider.then(api.stream().only(events.len() - 3, End::Hang));
        let (wire, id) = begin(&gateway, api, 1).await;
        drop(wire);
        let row = gateway.admin().row_of(&id).await;
        check(&row, "client_aborted", true, &format!("{api:?}"));
        check_estimate(api, &row);
        eventually("the provider is left", async || provider.requests().last().unwrap().abandoned.then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_drain_at_all_the_upstream_is_left_at_once() {
    let (provider, gateway) = gateway("0s").await;
    provider.then(Api::Anthropic.stream().only(5, End::Hang));
    let (wire, id) = begin(&gateway, Api::Anthropic, 4).await;
    drop(wire);
    let row = gateway.admin().row_of(&id).await;
    check(&row, "client_aborted", true, "no drain");
    eventually("the provider is left", async || provider.requests()[0].abandoned.then_some(())).await;
}

/// Checks an estimate: what the provider did say is taken at its word, the rest is not nothing.
fn check_estimate(api: Api, row: &Value) {
    let (seen, real) = (Tokens::of_row(row), api.tokens());
    if matches!(api, Api::Anthropic | Api::Gemini) {
        assert_eq!((seen.input, seen.cache_read), (real.input, real.cache_read), "{api:?}: {row}");
        assert_eq!((seen.cache_write_5m, seen.cache_write_1h), (real.cache_write_5m, real.cache_write_1h), "{row}");
    }
    assert!(seen.input > 0, "{api:?}: {row}");
    assert!(seen.output > 0, "{api:?}: {row}");
    assert!(seen.output <= real.output, "{api:?}: {row}");
    assert_eq!(cost_of_row(row), seen.cost(), "{api:?}: the estimate is priced like any usage");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_that_breaks_off_is_charged_for_what_was_seen() {
    let (provider, gateway) = gateway("30s").await;
    for api in Api::ALL {
        let whole = api.answer();
        // The head, and half of the body.
        let length = whole.body().len() / 2 + 70;
        provider.then(whole.cut(length, End::Close));
        let mut wire = gateway.connect().await;
        wire.post(&api.path(MODEL, false), gateway.key(), &api.request(MODEL, false)).await;
        let id = match wire.head().await {
            Ok(head) => {
                wire.body().await.expect_err("the client sees that the answer is cut off");
                head.request_id().to_owned()
            }
            Err(error) => panic!("{api:?}: {error}"),
        };
        let row = gateway.admin().row_of(&id).await;
        check(&row, "upstream_failed", true, &format!("{api:?}"));
        assert!(Tokens::of_row(&row).input > 0, "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_paid_when_nothing_was_sent() {
    let (provider, gateway) = gateway("30s").await;
    let key = format!("Bearer {}", gateway.key());
    for cut in [0, 1, 50] {
        // The client leaves in the middle of its own body.
        let body = Api::Chat.request(MODEL, false).to_string();
        let length = body.len().to_string();
        let headers = [("authorization", &*key), ("content-length", &*length)];
        let head = crate::support::wire::request("POST", "/v1/chat/completions", &headers, b"");
        let mut wire = gateway.connect().await;
        wire.send(head).await.unwrap();
        wire.send(&body[..cut]).await.unwrap();
        leave(&gateway, wire, cut == 1).await;
    }
    provider.then(Answer::json(400, &json!({"error": {"message": "no"}})));
    assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 400);
    provider.then(Api::Chat.answer());
    let good = gateway.ask(Api::Chat, false).await;
    gateway.admin().row_of(good.head.request_id()).await;
    let charged: i64 = gateway.admin().usage().await.iter().map(cost_of_row).sum();
    assert_eq!(charged, Api::Chat.tokens().cost(), "only the good one");
    assert_eq!(provider.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_clients_that_leave_at_random_are_settled_exactly_once_each() {
    let (provider, gateway) = gateway("30s").await;
    provider.always(Api::Chat.stream().paced(Duration::from_millis(1)));
    let clients = crate::support::scale(120, 3_000);
    let ids = futures::future::join_all((0..clients).map(|number| {
        let gateway = &gateway;
        async move {
            let read = number % 9;
            let (wire, id) = begin(gateway, Api::Chat, read.min(8)).await;
            match number % 3 {
                0 => drop(wire),
                1 => wire.reset(),
                _ => drop({
                    let mut wire = wire;
                    wire.body().await.unwrap()
                }),
            }
            id
        }
    }))
    .await;
    let mut rows = Vec::new();
    eventually("a row for each client", async || {
        rows = all_rows(&gateway).await;
        (rows.len() >= clients).then_some(())
    })
    .await;
    assert_eq!(rows.len(), clients);
    for row in &rows {
        assert!(ids.iter().any(|id| row["requestId"] == **id), "{row}");
        assert_eq!((Tokens::of_row(row), &row["estimated"]), (Api::Chat.tokens(), &json!(false)), "{row}");
    }
    let summary = gateway.admin().get("/usage/summary").await;
    assert_eq!(summary["requests"], clients);
}

/// Every row, over all pages.
async fn all_rows(gateway: &Gateway) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = gateway.admin().get(&format!("/usage?limit=100{cursor}")).await;
        rows.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["pageInfo"]["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}
