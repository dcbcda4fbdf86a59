//! Errors inside a 200: what a provider may send with a good status before its first word, and who answers instead.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::certs::Authority;
use crate::support::dialects::cost_of_row;
use crate::support::gateway::{MODEL, Setup};
use crate::support::leaving::{DIALECTS, leave};
use crate::support::mishaps::{
    closing, error_document, error_event, own_error, own_error_event, ping, prelude, refusal,
};
use crate::support::pairs::{Fault, Pair};
use crate::support::provider::{End, refusing};
use crate::support::{Answer, Api, Gate, Provider, Tokens, eventually};

const PAGE: &str = "<!DOCTYPE html>\n<html><body><h1>502 Bad Gateway</h1></body></html>\n";

/// What may come with a good status before the first word.
fn faults(api: Api, stream: bool) -> Vec<Fault> {
    let fault = |(what, answer, reason): (&'static str, Answer, &'static str)| Fault {
        what,
        answer,
        status: Some(200),
        reason,
    };
    let mut faults = vec![
        ("an error as a document", Answer::json(200, &error_document(api)), "error_in_answer"),
        ("the same in pieces", Answer::json(200, &error_document(api)).chunked().pieces(1), "error_in_answer"),
        ("a document of another kind", Answer::json(200, &json!({"code": 500, "msg": "busy"})), "no_content"),
        ("nothing", Answer::bytes(200, "application/json", ""), "empty_answer"),
        ("nothing, in chunks", Answer::bytes(200, "application/json", "").chunked(), "empty_answer"),
        ("white space", Answer::bytes(200, "application/json", " \r\n\n").chunked(), "empty_answer"),
        ("a page", Answer::bytes(200, "text/html; charset=utf-8", PAGE), "html_answer"),
        ("a page that calls itself an answer", Answer::bytes(200, "application/json", PAGE), "html_answer"),
        ("a plain text", Answer::bytes(200, "text/plain", "upstream connect error"), "no_content"),
        ("no length and an early end", api.answer_to(stream).chunked().only(0, End::Close), "broken"),
    ];
    if stream {
        let before = prelude(api);
        let with = |events: Vec<String>| Answer::sse(before.iter().cloned().chain(events));
        let comments = [": a comment\n\n".to_owned(), ping(api), ": another\n\n".to_owned()];
        let after_comments = comments.iter().cloned().chain([error_event(api)]);
        faults.extend([
            ("an error event", Answer::sse([error_event(api)]), "error_in_answer"),
            ("an error event after pings", Answer::sse(after_comments), "error_in_answer"),
            ("an error event after the stream has begun", with(vec![error_event(api)]), "error_in_answer"),
            ("the same, byte by byte", with(vec![error_event(api)]).pieces(1), "error_in_answer"),
            ("an error and an open end", with(vec![error_event(api)]).only(9, End::Hang), "error_in_answer"),
            ("an end before the first word", with(vec![]), "no_content"),
            ("a proper end before the first word", with(closing(api)), "no_content"),
            ("pings and an end", Answer::sse(vec![comments.concat(); 20]), "no_content"),
            ("a close before the first word", with(vec![]).only(9, End::Close), "broken"),
            ("a reset before the first word", with(vec![]).only(9, End::Reset), "broken"),
            ("silence before the first word", with(vec![]).only(9, End::Hang), "idle_timeout"),
        ]);
    } else {
        let whole = api.answer();
        // Its head, and most of its body.
        let length = whole.body().len() / 2 + 90;
        faults.extend([
            ("a document that is cut off", whole.clone().cut(length, End::Close), "broken"),
            ("a document that stops", whole.clone().cut(length, End::Hang), "idle_timeout"),
            // The rest of it comes, and is no answer to what is asked next.
            ("a length that is too short", whole.clone().lies(-40), "broken"),
            ("a length that is too long", whole.lies(40).end(End::Close), "broken"),
        ]);
    }
    faults.into_iter().map(fault).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_before_the_first_word_the_next_provider_answers() {
    let (pairs, gateway) = Pair::all().await;
    futures::future::join_all(pairs.iter().map(async |pair| {
        for stream in pair.api.ways() {
            pair.fails_over(&gateway, stream, faults(pair.api, stream)).await;
        }
    }))
    .await;
    let rounds: usize = Api::ALL.iter().flat_map(|api| api.ways().map(move |stream| faults(*api, stream).len())).sum();
    let summary = gateway.admin().get("/usage/summary").await;
    assert_eq!(summary["requests"], rounds, "one row for each request");
    assert!(gateway.metric(r#"attempts_total{outcome="error_in_answer""#).await > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn good_answers_pass_byte_for_byte_however_they_are_cut() {
    let (pairs, gateway) = Pair::all().await;
    for pair in &pairs {
        for stream in pair.api.ways() {
            let answer = pair.api.answer_to(stream);
            for size in [1, 7, usize::MAX] {
                let answer = answer.clone().pieces(size.min(answer.body().len()));
                let row = pair.passes(&gateway, stream, &format!("in pieces of {size}"), answer).await;
                assert_eq!((&row["outcome"], &row["estimated"]), (&json!("completed"), &json!(false)), "{row}");
                assert_eq!(Tokens::of_row(&row), pair.api.tokens());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_clients_own_pass_as_they_came() {
    let (pairs, gateway) = Pair::all().await;
    for pair in &pairs {
        let row = pair.passes(&gateway, false, "its own error", Answer::json(200, &own_error(pair.api))).await;
        assert_eq!((&row["outcome"], cost_of_row(&row)), (&json!("upstream_failed"), 0), "{row}");
    }
    for pair in pairs.iter().filter(|pair| Api::STREAMING.contains(&pair.api)) {
        let row = pair.passes(&gateway, true, "its own error", Answer::sse([own_error_event(pair.api)])).await;
        assert_eq!((&row["outcome"], cost_of_row(&row)), (&json!("upstream_failed"), 0), "{row}");
        let begun = prelude(pair.api).into_iter().chain([own_error_event(pair.api)]);
        pair.passes(&gateway, true, "its own error, later", Answer::sse(begun)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_refused_is_not_asked_for_again() {
    let (pairs, gateway) = Pair::all().await;
    for pair in &pairs {
        for stream in pair.api.ways() {
            pair.passes(&gateway, stream, "a refusal", refusal(pair.api, stream)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_after_the_first_word_passes() {
    let (pairs, gateway) = Pair::all().await;
    for pair in pairs.iter().filter(|pair| Api::STREAMING.contains(&pair.api)) {
        let api = pair.api;
        let mut events = api.events(&api.tokens());
        // Two of them open a response, two an item of it; with the sixth there is text in each API.
        events.truncate(if api == Api::Gemini { 3 } else { 6 });
        events.push(error_event(api));
        let row = pair.passes(&gateway, true, "an error after a word", Answer::sse(events)).await;
        assert_eq!((&row["outcome"], &row["estimated"]), (&json!("upstream_failed"), &json!(true)), "{row}");
        assert!(cost_of_row(&row) > 0, "what was said is paid for: {row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_reaches_the_client_before_the_first_word() {
    let (pairs, gateway) = Pair::all().await;
    for pair in pairs.iter().filter(|pair| Api::STREAMING.contains(&pair.api)) {
        let api = pair.api;
        let (gate, before) = (Gate::new(), prelude(api));
        let events = before.iter().cloned().chain(api.events(&api.tokens()).split_off(before.len()));
        let answer = Answer::sse(events).gated_after(before.len(), &gate);
        pair.first.then(answer.clone());
        let mut wire = gateway.connect().await;
        wire.post(&api.path(MODEL, true), gateway.key(), &api.request(MODEL, true)).await;
        let said: usize = before.iter().map(String::len).sum();
        eventually("the stream has begun", async || (pair.first.sent() > said).then_some(())).await;
        assert!(wire.is_silent_for(Duration::from_millis(300)).await, "{api:?}: the client sees no head");
        gate.open_wide();
        assert_eq!(wire.reply().await.unwrap().body, answer.body(), "{api:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_pings_for_long_is_not_left_but_heard() {
    let pairs = futures::future::join_all(Api::STREAMING.map(Pair::new)).await;
    let gateway = Pair::setup(&pairs).set("routing.gate.max_time", "500ms").start().await;
    futures::future::join_all(pairs.iter().map(async |pair| {
        let api = pair.api;
        let (gate, pings) = (Gate::new(), std::iter::repeat_n(ping(api), 200));
        let before = prelude(api);
        let events = api.events(&api.tokens()).split_off(if api == Api::Gemini { 0 } else { before.len() });
        let thinking = before.iter().cloned().chain(pings.clone());
        let count = before.len() + 200;
        let answer = Answer::sse(thinking.chain(events)).gated_after(count, &gate).paced(Duration::from_millis(10));
        pair.first.then(answer.clone());
        let asked = Instant::now();
        let mut wire = gateway.connect().await;
        wire.post(&api.path(MODEL, true), gateway.key(), &api.request(MODEL, true)).await;
        let head = wire.head().await.unwrap();
        assert!(asked.elapsed() >= Duration::from_millis(500), "{api:?}: held for as long as it may be");
        // The pings go on, and so they reach the client; the first word is still to come.
        wire.at_least(before.concat().len() + 100 * ping(api).len()).await;
        gate.open_wide();
        wire.body().await.unwrap();
        assert_eq!(pair.second.requests().len(), 0, "{api:?}");
        let row = gateway.admin().row_of(head.request_id()).await;
        assert_eq!((&row["outcome"], Tokens::of_row(&row)), (&json!("completed"), api.tokens()), "{api:?}: {row}");

        // What comes after the bound is not judged any more.
        let late = before.iter().cloned().chain(pings).chain([error_event(api)]);
        pair.passes(&gateway, true, "a late error", Answer::sse(late).paced(Duration::from_millis(10))).await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_mebibytes_of_comments_are_not_kept() {
    let pairs = [Pair::new(Api::Chat).await];
    let gateway = Pair::setup(&pairs).start().await;
    let [pair] = &pairs;
    let comment = format!(": {}\n\n", "x".repeat((64 << 10) - 4));
    let comments = || std::iter::repeat_n(comment.clone(), 160);
    let gate = Gate::new();
    let events = comments().chain(Api::Chat.events(&Api::Chat.tokens()));
    let answer = Answer::sse(events).gated_after(3, &gate);
    pair.first.then(answer.clone());
    let mut wire = gateway.connect().await;
    wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, true)).await;
    let head = wire.head().await.unwrap();
    let seen = wire.at_least(3 * comment.len()).await;
    assert_eq!(head.status, 200, "it has come before the first word was there");
    gate.open_wide();
    let rest = wire.body().await.unwrap();
    assert!([seen, rest].concat() == answer.body());
    assert_eq!(Tokens::of_row(&gateway.admin().row_of(head.request_id()).await), Api::Chat.tokens());
    let late = Answer::sse(comments().take(2).chain([error_event(Api::Chat)]));
    pair.passes(&gateway, true, "an error after more than is held", late).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_document_streams_through() {
    let pairs = [Pair::new(Api::Chat).await];
    let gateway = Pair::setup(&pairs).start().await;
    let mut body: Value = serde_json::from_str(&Api::Chat.whole(&Api::Chat.tokens())).unwrap();
    body["choices"][0]["message"]["content"] = json!("word ".repeat(40_000));
    for chunked in [false, true] {
        let gate = Gate::new();
        let mut answer = Answer::json(200, &body).pieces(70 << 10).gated_after(1, &gate);
        if chunked {
            answer = answer.chunked();
        }
        pairs[0].first.then(answer.clone());
        let mut wire = gateway.connect().await;
        wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, false)).await;
        assert_eq!(wire.head().await.unwrap().status, 200);
        gate.open_wide();
        assert!(wire.body().await.unwrap() == answer.body(), "chunked: {chunked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_answer_passes() {
    let (pairs, gateway) = Pair::all().await;
    for pair in &pairs {
        let packed = Answer::bytes(200, "application/json", &b"\x1f\x8b\x08\0\0\0\0\0\0\x03"[..]);
        let row = pair.passes(&gateway, false, "gzip", packed.header("content-encoding", "gzip")).await;
        assert_eq!((&row["outcome"], &row["estimated"]), (&json!("completed"), &json!(true)), "{row}");
        assert!(cost_of_row(&row) > 0, "it is not for free: {row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_its_answer_is_held_pays_what_was_really_used() {
    let (pairs, gateway) = Pair::all().await;
    let streaming = pairs.iter().filter(|pair| Api::STREAMING.contains(&pair.api));
    for (round, pair) in streaming.enumerate() {
        let api = pair.api;
        for (more, reset) in [(false, false), (true, true)] {
            let gate = Gate::new();
            let before = prelude(api);
            let mut events = api.events(&api.tokens());
            if api == Api::Gemini {
                events.insert(0, before[0].clone());
            }
            if more {
                // The error is met by the drain: nobody else is asked for a client that has left.
                events.truncate(before.len());
                events.push(error_event(api));
            }
            pair.first.then(Answer::sse(events).gated_after(before.len(), &gate));
            let sent = pair.first.sent();
            let mut wire = gateway.connect().await;
            wire.post(&api.path(MODEL, true), gateway.key(), &api.request(MODEL, true)).await;
            let said: usize = before.iter().map(String::len).sum();
            eventually("the stream has begun", async || (pair.first.sent() > sent + said).then_some(())).await;
            leave(&gateway, wire, reset).await;
            gate.open_wide();
            let row = gateway.admin().newest_of(2 * round + usize::from(more) + 1).await;
            assert_eq!((&row["outcome"], &row["attempt"]), (&json!("client_aborted"), &json!(1)), "{api:?}: {row}");
            if !more {
                assert_eq!((Tokens::of_row(&row), &row["estimated"]), (api.tokens(), &json!(false)), "{api:?}: {row}");
            } else if api != Api::Anthropic {
                assert_eq!(cost_of_row(&row), 0, "{api:?}: {row}");
            }
        }
        assert_eq!(pair.second.requests().len(), 0, "{api:?}: nobody waits for another answer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_fail_so_the_client_gets_the_last_answer_as_it_came() {
    let (pairs, gateway) = Pair::all().await;
    for Pair { api, first, second } in &pairs {
        for stream in api.ways() {
            let context = format!("{api:?}, streamed: {stream}");
            let error = |mark: &str| {
                if stream {
                    Answer::sse([format!(": {mark}\n\n"), error_event(*api)])
                } else {
                    Answer::bytes(200, "application/json", format!("{}{mark}", error_document(*api)))
                }
            };
            let page = Answer::bytes(200, "text/html", PAGE);
            let empty = || Answer::bytes(200, "application/json", "");
            let busy = Answer::json(503, &json!({"error": {"message": "busy"}}));
            // The last one, unless it says nothing and an earlier one does.
            for (one, two, expected) in [
                (error("\n"), error("\n\n"), error("\n\n")),
                (error("\n"), empty(), error("\n")),
                (page.clone(), empty(), empty()),
                (empty(), page.clone(), page.clone()),
                (busy.clone(), page.clone(), busy.clone()),
                (page.clone(), busy.clone(), busy.clone()),
                // Not a connection that breaks without a word: a pooled one would be tried again.
                (error("\n"), api.answer_to(stream).header("bad header", "x"), error("\n")),
                (error("\n"), page.clone().only(0, End::Close), error("\n")),
            ] {
                let status = if expected.body() == busy.body() { 503 } else { 200 };
                first.then(one);
                second.then(two);
                let reply = gateway.ask(*api, stream).await;
                assert_eq!((reply.head.status, &reply.body), (status, &expected.body()), "{context}");
                let row = gateway.admin().row_of(reply.head.request_id()).await;
                assert_eq!((&row["outcome"], cost_of_row(&row)), (&json!("upstream_failed"), 0), "{context}: {row}");
                assert_eq!((&row["status"], &row["attempt"]), (&json!(status), &json!(2)), "{context}: {row}");
                assert_eq!(gateway.admin().attempts_of(reply.head.request_id()).await.len(), 2, "{context}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_passed_over_costs_nothing_even_if_it_said_its_usage() {
    let pair = Pair::new(Api::Anthropic).await;
    let pairs = [pair];
    let gateway = Pair::setup(&pairs).start().await;
    let [pair] = &pairs;
    let api = pair.api;
    let started = prelude(api).into_iter().chain([error_event(api)]);
    let (_, key) = gateway.admin().key(gateway.caller().user_id, json!({"limits": {"daily": {"usd": 5}}})).await;
    pair.first.then(Answer::sse(started.clone()));
    pair.second.then(api.stream());
    let reply = gateway.ask_with(&key, api, MODEL, true).await;
    let row = gateway.admin().row_of(reply.head.request_id()).await;
    assert_eq!((Tokens::of_row(&row), cost_of_row(&row)), (api.tokens(), api.tokens().cost()), "{row}");
    let key_id = row["keyId"].as_i64().unwrap();
    let window = gateway.admin().window("key", key_id, &json!("mainline"), "daily").await;
    let used = (window["usedUsd"].as_f64().unwrap() * 1e9).round() as i64;
    assert_eq!((used, &window["reservedUsd"]), (api.tokens().cost(), &json!(0)), "{window}");

    // What then answers with an error of a good status is passed on, and costs nothing of the first either.
    pair.first.then(Answer::sse(started));
    pair.second.then(Answer::sse([error_event(api)]));
    let reply = gateway.ask_with(&key, api, MODEL, true).await;
    assert_eq!(reply.body, error_event(api));
    assert_eq!(cost_of_row(&gateway.admin().row_of(reply.head.request_id()).await), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_provider_is_tried_again_over_the_same_connection() {
    let provider = Provider::start().await;
    let mut entry = provider.entry("upstream", &DIALECTS);
    entry["attempts"] = json!(2);
    let gateway = Setup::new([entry]).start().await;
    for (api, stream) in Api::every_way() {
        let error = if stream { Answer::sse([error_event(api)]) } else { Answer::json(200, &error_document(api)) };
        provider.then(error);
        provider.then(api.answer_to(stream));
        let reply = gateway.ask(api, stream).await;
        assert_eq!(reply.body, api.answer_to(stream).body(), "{api:?}, streamed: {stream}");
        let reasons = gateway.admin().reasons_of(reply.head.request_id()).await;
        assert_eq!(reasons, ["error_in_answer", "ok"], "{api:?}, streamed: {stream}");
        let requests = provider.requests();
        let [.., failed, good] = requests.as_slice() else { panic!("it was asked twice") };
        assert_eq!(failed.connection, good.connection, "{api:?}, streamed: {stream}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_held_where_there_is_no_choice() {
    let provider = Provider::start().await;
    let (_port, refused) = refusing("refused", &DIALECTS);
    let mut upstream = provider.entry("upstream", &DIALECTS);
    upstream["priority"] = json!(1);
    let gateway = Setup::new([refused, upstream]).start().await;
    for api in Api::STREAMING {
        let (gate, before) = (Gate::new(), prelude(api));
        let answer = Answer::sse(before.iter().cloned().chain([error_event(api)])).gated_after(before.len(), &gate);
        provider.then(answer.clone());
        let mut wire = gateway.connect().await;
        wire.post(&api.path(MODEL, true), gateway.key(), &api.request(MODEL, true)).await;
        wire.head().await.unwrap();
        assert_eq!(wire.at_least(before.concat().len()).await, before.concat(), "{api:?}: at once");
        gate.open_wide();
        assert_eq!(wire.body().await.unwrap(), error_event(api), "{api:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_it_holds_nothing() {
    let pairs = futures::future::join_all(Api::STREAMING.map(Pair::new)).await;
    let gateway = Pair::setup(&pairs).set("routing.gate.enabled", false).start().await;
    assert!(!gateway.log().contains("routing.gate"), "it is no setting without effect");
    for pair in &pairs {
        pair.passes(&gateway, true, "an error", Answer::sse([error_event(pair.api)])).await;
        pair.passes(&gateway, true, "nothing", Answer::bytes(200, "text/event-stream", "")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_provider_is_held_as_well() {
    let (authority, second) = (Authority::new(), Provider::start().await);
    let first = Provider::start_tls(&authority, &["h2"]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut preferred = first.entry("first", &DIALECTS);
    preferred["tls"] = json!({"ca_file": authority.write(folder.path())});
    let mut other = second.entry("second", &DIALECTS);
    other["priority"] = json!(1);
    let gateway = Setup::new([preferred, other]).start().await;
    for api in Api::STREAMING {
        let begun = || Answer::sse(prelude(api).into_iter().chain([error_event(api)]));
        for (answer, reason) in [
            (begun(), "error_in_answer"),
            (begun().only(prelude(api).len(), End::Reset), "broken"),
            (Answer::bytes(200, "text/event-stream", ""), "empty_answer"),
        ] {
            first.then(answer);
            second.then(api.stream());
            let reply = gateway.ask(api, true).await;
            assert_eq!(reply.body, api.stream().body(), "{api:?}: {reason}");
            let reasons = gateway.admin().reasons_of(reply.head.request_id()).await;
            assert_eq!(reasons, [reason, "ok"], "{api:?}");
        }
        first.then(api.stream());
        assert_eq!(gateway.ask(api, true).await.body, api.stream().body(), "{api:?}");
    }
}
