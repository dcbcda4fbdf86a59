//! Streams pass through event by event: nothing is held back, and nothing depends on where a read ends.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::dialects::cost_of_row;
use crate::support::gateway::MODEL;
use crate::support::h2client::H2Client;
use crate::support::{Answer, Api, Gate, Gateway, Provider, Tokens, eventually};

const DIALECTS: [&str; 5] = ["anthropic", "openai_chat", "openai_responses", "openai_embeddings", "gemini"];

/// Within 400 ms a settled request is in the ledger; the rest is for the machine that runs this.
const IN_THE_LEDGER: Duration = Duration::from_secs(2);

async fn gateway() -> (Provider, Gateway) {
    let provider = Provider::start().await;
    let gateway = Gateway::start([provider.entry("upstream", &DIALECTS)]).await;
    (provider, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_arrives_before_the_next_one_is_sent() {
    let (provider, gateway) = gateway().await;
    for api in Api::STREAMING {
        let gate = Gate::new();
        provider.then(api.stream().gated(&gate));
        let mut wire = gateway.connect().await;
        wire.post(&api.path(MODEL, true), gateway.key(), &api.request(MODEL, true)).await;
        assert_eq!(wire.head().await.unwrap().status, 200);
        for event in api.events(&api.tokens()) {
            // The next one is still behind the gate.
            assert_eq!(wire.at_least(event.len()).await, event, "{api:?}");
            gate.open(1);
        }
        assert_eq!(wire.body().await.unwrap(), "", "{api:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_arrives_before_the_next_one_is_sent_over_http2() {
    let (provider, gateway) = gateway().await;
    let mut client = H2Client::connect(gateway.address()).await;
    for api in Api::STREAMING {
        let gate = Gate::new();
        provider.then(api.stream().gated(&gate));
        let body = api.request(MODEL, true).to_string();
        let mut answer = client.start(&api.path(MODEL, true), gateway.key(), None, body.as_bytes()).await;
        assert_eq!(answer.head.status, 200);
        for event in api.events(&api.tokens()) {
            let mut seen = Vec::new();
            while seen.len() < event.len() {
                seen.extend_from_slice(&answer.piece().await.expect("the stream goes on").unwrap());
            }
            assert_eq!(String::from_utf8_lossy(&seen), event, "{api:?}");
            gate.open(1);
        }
        assert_eq!(answer.finish().await.body, "", "{api:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_arrives_before_any_event_has_been_sent() {
    let (provider, gateway) = gateway().await;
    let gate = Gate::new();
    provider.then(Api::Chat.stream().gated_after(0, &gate));
    let mut wire = gateway.connect().await;
    wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, true)).await;
    assert_eq!(wire.head().await.unwrap().status, 200);
    gate.open_wide();
    assert_eq!(wire.body().await.unwrap(), Api::Chat.stream().body());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_closing_event_is_paid_for_before_the_client_has_it() {
    let (provider, gateway) = gateway().await;
    let mut charged = 0;
    for api in Api::STREAMING {
        let gate = Gate::new();
        provider.then(api.stream().held(&gate));
        let mut wire = gateway.connect().await;
        wire.post(&api.path(MODEL, true), gateway.key(), &api.request(MODEL, true)).await;
        let head = wire.head().await.unwrap();
        let body = api.stream().body();
        assert_eq!(wire.at_least(body.len()).await, body, "{api:?}: the closing event does not wait for the end");
        if api == Api::Gemini {
            // It has no closing event but the end.
            gate.open_wide();
            assert_eq!(wire.body().await.unwrap(), "");
        }
        // Asked once: what is counted when the bill is settled is counted by now, the provider's answer being open.
        charged += api.tokens().sum();
        assert_eq!(gateway.metric("tokens_total").await as i64, charged, "{api:?}: settled at this moment");
        let asked = Instant::now();
        let row = gateway.admin().row_of(head.request_id()).await;
        assert!(asked.elapsed() < IN_THE_LEDGER, "{api:?}: {:?}", asked.elapsed());
        assert_eq!((Tokens::of_row(&row), &row["outcome"]), (api.tokens(), &json!("completed")), "{api:?}");
        if api != Api::Gemini {
            gate.open_wide();
            assert_eq!(wire.body().await.unwrap(), "", "{api:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_is_paid_for_before_the_client_has_its_last_byte() {
    let (provider, gateway) = gateway().await;
    let mut charged = 0;
    for api in Api::ALL {
        for answer in [api.answer(), api.answer().chunked()] {
            provider.then(answer);
            let reply = gateway.ask(api, false).await;
            charged += api.tokens().sum();
            assert_eq!(gateway.metric("tokens_total").await as i64, charged, "{api:?}: settled at this moment");
            let asked = Instant::now();
            gateway.admin().row_of(reply.head.request_id()).await;
            assert!(asked.elapsed() < IN_THE_LEDGER, "{api:?}: {:?}", asked.elapsed());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_may_be_split_anywhere() {
    let (provider, gateway) = gateway().await;
    for api in Api::STREAMING {
        for size in [1, 2, 3, 7, 64, 4096, usize::MAX] {
            let answer = api.stream();
            provider.then(answer.clone().pieces(size));
            let reply = gateway.ask(api, true).await;
            assert_eq!(reply.body, answer.body(), "{api:?} in pieces of {size}");
            let row = gateway.admin().row_of(reply.head.request_id()).await;
            assert_eq!(Tokens::of_row(&row), api.tokens(), "{api:?} in pieces of {size}");
            assert_eq!(cost_of_row(&row), api.tokens().cost(), "{api:?} in pieces of {size}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_extra_usage_chunk_is_taken_out_however_it_is_split() {
    let (provider, gateway) = gateway().await;
    let events = Api::Chat.events(&Api::Chat.tokens());
    let shown: String = events.iter().filter(|event| !event.contains("prompt_tokens")).map(String::as_str).collect();
    let mut body = Api::Chat.request(MODEL, true);
    body.as_object_mut().unwrap().remove("stream_options");
    for size in [1, 2, 5, 13, 100, usize::MAX] {
        provider.then(Api::Chat.stream().pieces(size));
        let mut wire = gateway.connect().await;
        wire.post("/v1/chat/completions", gateway.key(), &body).await;
        let reply = wire.reply().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&reply.body), shown, "in pieces of {size}");
        let row = gateway.admin().row_of(reply.head.request_id()).await;
        assert_eq!(Tokens::of_row(&row), Api::Chat.tokens(), "in pieces of {size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_odd_line_ends_and_comments_passes_and_counts() {
    let (provider, gateway) = gateway().await;
    for api in Api::STREAMING {
        for (from, to) in [("\n", "\r\n"), ("\n", "\r"), ("data: ", ": a comment\ndata:")] {
            let mut events = api.events(&api.tokens());
            if api == Api::Gemini {
                events = events.iter().map(|event| event.replace("\r\n", "\n")).collect();
            }
            let stream = format!("\u{feff}{}", events.concat().replace(from, to));
            provider.then(Answer::sse([stream.clone()]));
            let reply = gateway.ask(api, true).await;
            assert_eq!(reply.body, stream.as_bytes());
            let row = gateway.admin().row_of(reply.head.request_id()).await;
            assert_eq!(Tokens::of_row(&row), api.tokens(), "{api:?} with {to:?} for {from:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_event_passes() {
    let (provider, gateway) = gateway().await;
    let mut events = Api::Chat.events(&Api::Chat.tokens());
    events.insert(2, format!("data: {{\"choices\":[],\"padding\":\"{}\"}}\n\n", "x".repeat(3 << 20)));
    let answer = Answer::sse(events);
    provider.then(answer.clone());
    let reply = gateway.ask(Api::Chat, true).await;
    assert!(reply.body == answer.body());
    let row = gateway.admin().row_of(reply.head.request_id()).await;
    assert_eq!(Tokens::of_row(&row), Api::Chat.tokens());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_everything() {
    let (provider, gateway) = gateway().await;
    let mut events = Api::Chat.events(&Api::Chat.tokens());
    let filler = format!("data: {{\"choices\":[],\"padding\":\"{}\"}}\n\n", "x".repeat(60_000));
    events.splice(2..2, std::iter::repeat_n(filler, 400));
    let answer = Answer::sse(events);
    provider.then(answer.clone());
    let mut wire = gateway.connect().await;
    wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, true)).await;
    assert_eq!(wire.head().await.unwrap().status, 200);
    // 24 MB do not fit the sockets: while nobody reads, the provider is kept waiting.
    let mut before = 0;
    let sent = eventually("the provider can send no more", async || {
        let sent = provider.sent();
        (sent > 0 && sent == std::mem::replace(&mut before, sent)).then_some(sent)
    })
    .await;
    assert!(sent < answer.body().len(), "the gateway has taken in {sent} bytes for a client that takes none");
    assert!(wire.body().await.unwrap() == answer.body());
}
