//! The table "Who pays when it does not end well" of the README, to the token, where `aborts` looks at the ways to leave.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::charge::{Charge, document, text_of};
use crate::support::dialects::cost_of_row;
use crate::support::gateway::{MODEL, Setup, price};
use crate::support::leaving::{DIALECTS, begin, gateway, leave};
use crate::support::mishaps::{error_document, error_event};
use crate::support::provider::{End, refusing};
use crate::support::{Answer, Api, Gate, Provider, Tokens, eventually};

/// A model that costs something per request, tokens or not.
const FEE_MODEL: &str = "fee-model";

/// Takes every usage out, wherever it is.
fn forget_usage(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| name != "usage" && name != "usageMetadata");
            fields.values_mut().for_each(forget_usage);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_usage),
        _ => {}
    }
}

/// The answer of a provider that never says what it used.
fn silent_about_usage(api: Api, stream: bool) -> Answer {
    if !stream {
        let mut body: Value = serde_json::from_str(&api.whole(&api.tokens())).unwrap();
        forget_usage(&mut body);
        return Answer::json(200, &body);
    }
    let events = api.events(&api.tokens()).into_iter().filter_map(|event| {
        let Some(mut document) = document(&event) else { return Some(event) };
        if document["choices"] == json!([]) {
            return None;
        }
        forget_usage(&mut document);
        let name =
            event.lines().find(|line| line.starts_with("event: ")).map_or(String::new(), |line| format!("{line}\n"));
        Some(format!("{name}data: {document}\n\n"))
    });
    Answer::sse(events)
}

/// The first events of an answer.
fn first_events(api: Api, count: usize) -> Vec<String> {
    let mut events = api.events(&api.tokens());
    events.truncate(count);
    events
}

/// How many events leave an answer unfinished. Gemini has no closing event but the end of the body.
fn unfinished(api: Api) -> std::ops::Range<usize> {
    let events = api.events(&api.tokens()).len();
    if api == Api::Gemini { 0..events + 1 } else { 0..events }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_says_its_usage_is_charged_by_its_size() {
    let (provider, gateway) = gateway("30s").await;
    for (api, stream) in Api::every_way() {
        let answer = silent_about_usage(api, stream);
        let text: usize = if api == Api::Embeddings {
            0
        } else {
            api.events(&api.tokens()).iter().map(|event| text_of(api, event).len()).sum()
        };
        assert_eq!(text > 0, api != Api::Embeddings, "{api:?}");
        provider.then(answer.clone());
        let reply = gateway.ask(api, stream).await;
        assert_eq!((reply.head.status, reply.body), (200, answer.body()), "{api:?}: it passes as it is");
        let row = gateway.admin().row_of(reply.head.request_id()).await;
        Charge::estimate(api, stream, text).is(&row, "completed", &format!("{api:?}, streamed: {stream}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_a_silent_provider_pays_for_its_prompt_when_the_drain_runs_out() {
    let (provider, gateway) = gateway("300ms").await;
    for (index, (api, stream)) in Api::every_way().enumerate() {
        let context = format!("{api:?}, streamed: {stream}");
        provider.then(Answer::silence(End::Hang));
        let mut wire = gateway.connect().await;
        wire.post(&api.path(MODEL, stream), gateway.key(), &api.request(MODEL, stream)).await;
        provider.request(index).await;
        leave(&gateway, wire, index % 2 == 1).await;
        let row = gateway.admin().newest_of(index + 1).await;
        Charge::estimate(api, stream, 0).is(&row, "client_aborted", &context);
        assert_eq!((&row["dialect"], &row["firstByteMs"]), (&json!(api.dialect()), &Value::Null), "{context}: {row}");
        eventually("the provider is left", async || provider.requests()[index].abandoned.then_some(())).await;
    }
}

async fn the_drain_runs_out_at_every_event_boundary(api: Api) {
    let (provider, gateway) = gateway("200ms").await;
    for seen in unfinished(api) {
        provider.then(api.stream().only(seen, End::Hang));
        let (wire, id) = begin(&gateway, api, seen).await;
        leave(&gateway, wire, seen % 2 == 1).await;
        let row = gateway.admin().row_of(&id).await;
        Charge::after(api, seen).is(&row, "client_aborted", &format!("{api:?}, {seen} events seen"));
        eventually("the provider is left", async || provider.requests()[seen].abandoned.then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anthropic_stream_that_outlasts_the_drain_is_charged_for_what_was_seen() {
    the_drain_runs_out_at_every_event_boundary(Api::Anthropic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_stream_that_outlasts_the_drain_is_charged_for_what_was_seen() {
    the_drain_runs_out_at_every_event_boundary(Api::Chat).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_responses_stream_that_outlasts_the_drain_is_charged_for_what_was_seen() {
    the_drain_runs_out_at_every_event_boundary(Api::Responses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gemini_stream_that_outlasts_the_drain_is_charged_for_what_was_seen() {
    the_drain_runs_out_at_every_event_boundary(Api::Gemini).await;
}

async fn the_provider_breaks_off_at_every_event_boundary(api: Api) {
    let (provider, gateway) = gateway("30s").await;
    let all = api.events(&api.tokens()).len();
    for end in [End::Close, End::Reset] {
        for seen in 0..=all {
            let context = format!("{api:?}, {end:?} after {seen} of {all} events");
            let gate = Gate::new();
            provider.then(api.stream().only(seen, end).held(&gate));
            let (mut wire, id) = begin(&gateway, api, seen).await;
            gate.open_wide();
            wire.body().await.expect_err("the client sees that the answer is cut off");
            let row = gateway.admin().row_of(&id).await;
            // The closing event ends an answer, whatever its connection does then.
            let outcome = if unfinished(api).contains(&seen) { "upstream_failed" } else { "completed" };
            // Of an answer without a byte nothing is billed.
            let charge = if seen == 0 { Charge::NOTHING } else { Charge::after(api, seen) };
            charge.is(&row, outcome, &context);
            assert_eq!((&row["status"], &row["provider"]), (&json!(200), &json!("upstream")), "{context}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_breaks_off_an_anthropic_stream_is_paid_for_what_was_seen() {
    the_provider_breaks_off_at_every_event_boundary(Api::Anthropic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_breaks_off_a_chat_stream_is_paid_for_what_was_seen() {
    the_provider_breaks_off_at_every_event_boundary(Api::Chat).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_breaks_off_a_responses_stream_is_paid_for_what_was_seen() {
    the_provider_breaks_off_at_every_event_boundary(Api::Responses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_breaks_off_a_gemini_stream_is_paid_for_what_was_seen() {
    the_provider_breaks_off_at_every_event_boundary(Api::Gemini).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_falls_silent_is_cut_off_and_charged_for_what_was_seen() {
    let each = async |api: Api| {
        let provider = Provider::start().await;
        let mut entry = provider.entry("upstream", &DIALECTS);
        entry["timeouts"]["idle"] = json!("500ms");
        let gateway = Setup::new([entry]).start().await;
        // At the first event, and around the usage and the closing event.
        let last = unfinished(api).end - 1;
        for seen in [1, last - 1, last] {
            let context = format!("{api:?}, silence after {seen} events");
            provider.then(api.stream().only(seen, End::Hang));
            let (mut wire, id) = begin(&gateway, api, seen).await;
            wire.body().await.expect_err("the client sees that the answer is cut off");
            let row = gateway.admin().row_of(&id).await;
            Charge::after(api, seen).is(&row, "upstream_failed", &context);
            let detail = gateway.admin().get(&format!("/requests/{id}")).await;
            assert_eq!(detail["detail"]["attempts"][0]["reason"], "idle_timeout", "{context}: {detail}");
        }
    };
    futures::future::join_all(Api::STREAMING.map(each)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_never_ends_is_cut_off_and_charged_for_what_was_seen() {
    let each = async |api: Api| {
        let provider = Provider::start().await;
        let mut entry = provider.entry("upstream", &DIALECTS);
        entry["timeouts"]["total"] = json!("700ms");
        let gateway = Setup::new([entry]).start().await;
        let events = first_events(api, 3);
        let endless = std::iter::repeat_n(events[2].clone(), 1_000);
        provider.then(Answer::sse(events[..2].iter().cloned().chain(endless)).paced(Duration::from_millis(50)));
        let (mut wire, id) = begin(&gateway, api, 1).await;
        wire.body().await.expect_err("the client sees that the answer is cut off");
        let row = gateway.admin().row_of(&id).await;
        assert_eq!((&row["outcome"], &row["estimated"]), (&json!("upstream_failed"), &json!(true)), "{api:?}: {row}");
        let (tokens, known) = (Tokens::of_row(&row), Charge::after(api, 1).tokens);
        assert_eq!((tokens.input, tokens.cache_read), (known.input, known.cache_read), "{api:?}: {row}");
        assert_eq!(cost_of_row(&row), tokens.cost(), "{api:?}: {row}");
    };
    futures::future::join_all(Api::STREAMING.map(each)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_client_and_provider_both_break_off_the_client_pays_for_what_was_seen() {
    let (provider, gateway) = gateway("30s").await;
    for api in Api::STREAMING {
        for end in [End::Close, End::Reset] {
            for seen in unfinished(api) {
                let gate = Gate::new();
                provider.then(api.stream().only(seen, end).held(&gate));
                let (wire, id) = begin(&gateway, api, seen).await;
                leave(&gateway, wire, seen % 2 == 1).await;
                gate.open_wide();
                let row = gateway.admin().row_of(&id).await;
                // A provider that breaks off before the first byte of its answer bills nothing.
                let charge = if seen == 0 { Charge::NOTHING } else { Charge::after(api, seen) };
                charge.is(&row, "client_aborted", &format!("{api:?}, {end:?} after {seen} events"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_a_stream_leaves_what_was_seen_to_be_paid() {
    let (provider, gateway) = gateway("30s").await;
    for api in Api::STREAMING {
        for seen in unfinished(api) {
            let context = format!("{api:?}, an error after {seen} events");
            let mut events = first_events(api, seen);
            events.push(error_event(api));
            provider.then(Answer::sse(events.clone()));
            let reply = gateway.ask(api, true).await;
            assert_eq!(reply.head.status, 200, "{context}");
            assert_eq!(reply.body, events.concat(), "{context}: the client gets the error as it is");
            let row = gateway.admin().row_of(reply.head.request_id()).await;
            let seen = Charge::after(api, seen);
            // Nothing that costs came before it.
            let nothing = seen == Charge::estimate(api, true, 0);
            let charge = if nothing { Charge::NOTHING } else { seen };
            charge.is(&row, "upstream_failed", &context);
            assert_eq!(row["status"], 200, "{context}");
            let reasons = gateway.admin().reasons_of(reply.head.request_id()).await;
            assert_eq!(reasons, ["error_in_answer"], "{context}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_failed_is_charged_what_it_says_it_used() {
    let (provider, gateway) = gateway("30s").await;
    let api = Api::Responses;
    let mut events = api.events(&api.tokens());
    let last = events.pop().unwrap();
    events.push(
        last.replace("response.completed", "response.failed")
            .replace(r#""error":null"#, r#""error":{"code":"server_error","message":"The model broke"}"#),
    );
    assert!(events.concat().contains("The model broke"));
    provider.then(Answer::sse(events));
    let reply = gateway.ask(api, true).await;
    let row = gateway.admin().row_of(reply.head.request_id()).await;
    Charge { tokens: api.tokens(), estimated: false }.is(&row, "upstream_failed", "response.failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_and_nothing_else_costs_nothing_not_even_the_price_of_a_request() {
    let (provider, gateway) = gateway("30s").await;
    let mut fee = price();
    fee["requestUsd"] = json!(0.5);
    gateway.admin().put(&format!("/prices/{FEE_MODEL}"), &fee).await;
    provider.then(Api::Chat.answer());
    let good = gateway.ask_with(gateway.key(), Api::Chat, FEE_MODEL, false).await;
    let row = gateway.admin().row_of(good.head.request_id()).await;
    assert_eq!(cost_of_row(&row), Api::Chat.tokens().cost() + 500_000_000, "each request has its price: {row}");

    for api in Api::ALL {
        let statuses = [200, 400, 401, 408, 422, 429, 500, 503, 529];
        for (status, stream) in statuses.into_iter().flat_map(|status| [(status, false), (status, true)]) {
            if stream && api == Api::Embeddings {
                continue;
            }
            let context = format!("{api:?}, {status}, streamed: {stream}");
            let answer = if stream && status == 200 {
                Answer::sse([error_event(api)])
            } else {
                Answer::json(status, &error_document(api))
            };
            provider.then(answer.clone());
            let reply = gateway.ask_with(gateway.key(), api, FEE_MODEL, stream).await;
            assert_eq!((reply.head.status, reply.body), (status, answer.body()), "{context}: it is passed on");
            let row = gateway.admin().row_of(reply.head.request_id()).await;
            Charge::NOTHING.is(&row, "upstream_failed", &context);
            assert_eq!((&row["status"], &row["attempt"]), (&json!(status), &json!(1)), "{context}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_provider_has_answered_is_a_refusal_and_has_no_row() {
    let provider = Provider::start().await;
    let silent = Provider::start().await;
    silent.always(Answer::silence(End::Reset));
    let (_port, mut refused) = refusing("refused", &DIALECTS);
    refused["models"] = json!(["gone", "silent"]);
    let mut breaking = silent.entry("silent", &DIALECTS);
    breaking["models"] = json!(["silent"]);
    let mut good = provider.entry("good", &DIALECTS);
    good["models"] = json!([MODEL]);
    let gateway = Setup::new([refused, breaking, good]).priced("gone").priced("silent").start().await;
    for api in Api::ALL {
        for model in ["gone", "silent"] {
            let reply = gateway.ask_with(gateway.key(), api, model, false).await;
            api.refuses(&reply, 503, "no_provider_available");
        }
    }
    assert_eq!(silent.requests().len(), Api::ALL.len(), "it was asked");
    provider.then(Api::Chat.answer());
    let reply = gateway.ask(Api::Chat, false).await;
    let row = gateway.admin().newest_of(1).await;
    // Records are written in the order in which they were made: the good one is the last.
    assert_eq!(row["requestId"], reply.head.request_id());
}
