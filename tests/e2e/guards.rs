//! Requests per minute and concurrent requests: exact on one node, and a refusal touches nothing else.

use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use crate::support::gateway::MODEL;
use crate::support::wire::Reply;
use crate::support::{Answer, Api, Gate, Gateway, Provider, eventually};

const DIALECTS: [&str; 5] = ["anthropic", "openai_chat", "openai_responses", "openai_embeddings", "gemini"];

async fn gateway() -> (Provider, Gateway) {
    let provider = Provider::start().await;
    provider.always(Api::Chat.answer());
    let gateway = Gateway::start([provider.entry("upstream", &DIALECTS)]).await;
    (provider, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn f14_requests_per_minute_are_exact_and_a_refusal_reaches_no_provider() {
    let (provider, gateway) = gateway().await;
    let caller = gateway.admin().caller(json!({}), json!({"rpm": 7})).await;
    let replies =
        futures::future::join_all((0..30).map(|_| gateway.ask_with(&caller.secret, Api::Chat, MODEL, false))).await;
    let (passed, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.head.status == 200);
    assert_eq!((passed.len(), refused.len()), (7, 23));
    for reply in refused {
        Api::Chat.refuses(&reply, 429, "rate_limit_exceeded");
        let seconds: u32 = reply.head.get("retry-after").expect("retry-after").parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        assert_eq!(reply.head.get("x-ratelimit-limit"), Some("7"));
        assert_eq!(reply.head.get("x-ratelimit-remaining"), Some("0"));
    }
    assert_eq!(provider.requests().len(), 7, "a refused request reaches no provider");
    gateway.admin().newest_of(7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_a_user_holds_over_all_his_keys_and_in_every_dialect() {
    let (provider, gateway) = gateway().await;
    provider.always(Answer::json(200, &json!({})));
    let caller = gateway.admin().caller(json!({"rpm": 5}), json!({"rpm": 3})).await;
    let (_, second) = gateway.admin().key(caller.user_id, json!({})).await;
    let mut counting = gateway.connect().await;
    counting.post("/v1/messages/count_tokens", &caller.secret, &Api::Anthropic.request(MODEL, false)).await;
    assert_eq!(counting.reply().await.unwrap().head.status, 200, "counting counts as a request");
    for _ in 0..2 {
        assert_eq!(gateway.ask_with(&caller.secret, Api::Gemini, MODEL, false).await.head.status, 200);
    }
    Api::Gemini.refuses(&gateway.ask_with(&caller.secret, Api::Gemini, MODEL, false).await, 429, "rate_limit_exceeded");
    for _ in 0..2 {
        assert_eq!(gateway.ask_with(&second, Api::Chat, MODEL, false).await.head.status, 200);
    }
    // What the key refused did not count for the user.
    for api in Api::ALL {
        api.refuses(&gateway.ask_with(&second, api, MODEL, false).await, 429, "rate_limit_exceeded");
    }
    counting.post("/v1/messages/count_tokens", &second, &Api::Anthropic.request(MODEL, false)).await;
    assert_eq!(counting.reply().await.unwrap().head.status, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_are_exact_and_a_place_is_free_when_its_request_ends() {
    let (provider, gateway) = gateway().await;
    let caller = gateway.admin().caller(json!({"maxConcurrentRequests": 5}), json!({"maxConcurrentRequests": 3})).await;
    let gate = Gate::new();
    provider.always(Api::Chat.stream().gated_after(1, &gate));
    let mut wires = Vec::new();
    let mut refused = 0;
    for _ in 0..6 {
        let mut wire = gateway.connect().await;
        wire.post("/v1/chat/completions", &caller.secret, &Api::Chat.request(MODEL, true)).await;
        let head = wire.head().await.unwrap();
        if head.status == 200 {
            wires.push(wire);
        } else {
            refused += 1;
            assert_eq!((head.status, head.get("retry-after")), (429, Some("1")));
        }
    }
    assert_eq!((wires.len(), refused), (3, 3), "the key's limit");
    let (_, second) = gateway.admin().key(caller.user_id, json!({})).await;
    for _ in 0..2 {
        let mut wire = gateway.connect().await;
        wire.post("/v1/chat/completions", &second, &Api::Chat.request(MODEL, true)).await;
        assert_eq!(wire.head().await.unwrap().status, 200);
        wires.push(wire);
    }
    Api::Chat.refuses(&gateway.ask_with(&second, Api::Chat, MODEL, true).await, 429, "rate_limit_exceeded");
    // One by being read to its end, one by a client that leaves.
    gate.open_wide();
    for mut wire in wires {
        wire.body().await.unwrap();
    }
    provider.always(Api::Chat.answer());
    eventually("places are free", async || {
        let replies =
            futures::future::join_all((0..3).map(|_| gateway.ask_with(&caller.secret, Api::Chat, MODEL, false)));
        replies.await.iter().all(|reply| reply.head.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_after_the_other_fits_a_limit_of_one() {
    let (provider, gateway) = gateway().await;
    let caller = gateway.admin().caller(json!({}), json!({"maxConcurrentRequests": 1})).await;
    // Over connections of their own: nothing orders them but that each has seen its answer.
    for round in 0..200 {
        let (answer, status) = match round % 4 {
            0 => (Api::Chat.answer(), 200),
            1 => (Api::Chat.stream(), 200),
            2 => (Answer::json(400, &json!({})), 400),
            _ => (Answer::json(500, &json!({})), 500),
        };
        provider.then(answer);
        let reply = gateway.ask_with(&caller.secret, Api::Chat, MODEL, round % 4 == 1).await;
        assert_eq!(reply.head.status, status, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f24_every_way_to_end_frees_the_place() {
    let (provider, gateway) = gateway().await;
    let caller = gateway.admin().caller(json!({"maxConcurrentRequests": 1}), json!({"maxConcurrentRequests": 1})).await;
    let free = async |how: &str| {
        eventually(&format!("the place is free after {how}"), async || {
            let reply = gateway.ask_with(&caller.secret, Api::Chat, MODEL, false).await;
            (reply.head.status == 200).then_some(())
        })
        .await;
    };
    free("nothing").await;
    provider.then(Answer::json(500, &json!({})));
    assert_eq!(gateway.ask_with(&caller.secret, Api::Chat, MODEL, false).await.head.status, 500);
    free("an error of the provider").await;
    let mut wire = gateway.connect().await;
    let body = json!({"model": "no-such-model", "messages": []});
    wire.post("/v1/chat/completions", &caller.secret, &body).await;
    assert_eq!(wire.reply().await.unwrap().head.status, 400);
    free("a refusal").await;
    for reset in [false, true] {
        let gate = Gate::new();
        provider.then(Api::Chat.stream().gated_after(1, &gate));
        let mut wire = gateway.connect().await;
        wire.post("/v1/chat/completions", &caller.secret, &Api::Chat.request(MODEL, true)).await;
        assert_eq!(wire.head().await.unwrap().status, 200);
        if reset {
            wire.reset()
        } else {
            drop(wire)
        }
        gate.open_wide();
        free("a client that left").await;
    }
    // In the middle of its own body.
    let mut wire = gateway.connect().await;
    let key = format!("Bearer {}", caller.secret);
    let headers = [("authorization", &*key), ("content-length", "1000")];
    wire.send(crate::support::wire::request("POST", "/v1/chat/completions", &headers, b"{")).await.unwrap();
    drop(wire);
    free("a body that was cut off").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_counts_once_however_many_attempts_it_takes() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    first.always(Answer::json(503, &json!({})));
    second.always(Api::Chat.answer());
    let mut other = second.entry("second", &["openai_chat"]);
    other["priority"] = json!(1);
    let gateway = Gateway::start([first.entry("first", &["openai_chat"]), other]).await;
    let caller = gateway.admin().caller(json!({}), json!({"rpm": 3, "maxConcurrentRequests": 1})).await;
    for _ in 0..3 {
        let reply = gateway.ask_with(&caller.secret, Api::Chat, MODEL, false).await;
        assert_eq!(reply.head.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        gateway.admin().row_of(reply.head.request_id()).await;
    }
    Api::Chat.refuses(&gateway.ask_with(&caller.secret, Api::Chat, MODEL, false).await, 429, "rate_limit_exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_running_gateway_change_at_once() {
    let (_provider, gateway) = gateway().await;
    let caller = gateway.admin().caller(json!({}), json!({"rpm": 1})).await;
    let path = format!("/keys/{}", caller.key_id);
    let status = async || gateway.ask_with(&caller.secret, Api::Chat, MODEL, false).await.head.status;
    assert_eq!((status().await, status().await), (200, 429));
    gateway.admin().patch(&path, &json!({"rpm": 3})).await;
    assert_eq!((status().await, status().await, status().await), (200, 200, 429));
    gateway.admin().patch(&path, &json!({"rpm": Value::Null})).await;
    assert_eq!((status().await, status().await), (200, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn h26_a_refusal_says_when_to_come_back_only_where_that_is_known() {
    let (provider, gateway) = gateway().await;
    let waiting = |reply: &Reply| {
        let [after, reset] = ["retry-after", "x-ratelimit-reset"].map(|name| reply.head.get(name).map(str::to_owned));
        (after.map(|seconds| seconds.parse::<i64>().unwrap()), reset.map(|second| second.parse::<i64>().unwrap()))
    };
    let limited = gateway.admin().caller(json!({}), json!({"rpm": 1})).await;
    let alone = gateway.admin().caller(json!({}), json!({"maxConcurrentRequests": 1})).await;
    let gate = Gate::new();
    provider.then(Api::Chat.stream().gated_after(1, &gate));
    let mut held = gateway.connect().await;
    held.post("/v1/chat/completions", &alone.secret, &Api::Chat.request(MODEL, true)).await;
    assert_eq!(held.head().await.unwrap().status, 200);
    assert_eq!(gateway.ask_with(&limited.secret, Api::Chat, MODEL, false).await.head.status, 200);
    let confined = gateway.admin().caller(json!({"allowedModels": ["other"]}), json!({})).await;
    for api in Api::ALL {
        // Nothing that time would change.
        let unknown = format!("tg-{}", "x".repeat(43));
        for (key, model, status) in
            [(&unknown, MODEL, 401), (&confined.secret, MODEL, 403), (&gateway.key().to_owned(), "unpriced", 400)]
        {
            let reply = gateway.ask_with(key, api, model, false).await;
            assert_eq!((reply.head.status, waiting(&reply)), (status, (None, None)), "{api:?}: {}", reply.json());
        }
        // When somebody else's request ends, nobody knows; it is worth trying soon.
        let busy = gateway.ask_with(&alone.secret, api, MODEL, false).await;
        assert_eq!((busy.head.status, waiting(&busy)), (429, (Some(1), None)), "{api:?}");
        // When the minute of a request is over, everybody knows.
        let over = gateway.ask_with(&limited.secret, api, MODEL, false).await;
        let (Some(after), Some(reset)) = waiting(&over) else { panic!("{api:?}: {:?}", over.head) };
        assert_eq!(over.head.status, 429);
        assert!((1..=60).contains(&after), "{api:?}: {after}");
        let now = i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
        assert!((now..=now + 61).contains(&reset), "{api:?}: {reset} at {now}");
    }
    gate.open_wide();
    held.body().await.unwrap();
}
