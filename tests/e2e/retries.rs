//! How often and how long providers are asked again, and what a client is told in the end.

#![allow(clippy::print_stdout, reason = "what is measured is the result")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::gateway::{MODEL, Setup};
use crate::support::provider::End;
use crate::support::{Answer, Api, Gate, Gateway, Provider};

const CHAT: [&str; 1] = ["openai_chat"];

fn failing(status: u16) -> Answer {
    Answer::json(status, &json!({"error": {"message": format!("the provider says {status}"), "type": "x"}}))
}

/// Providers that are asked in this order.
fn in_order(providers: &[&Provider]) -> Vec<Value> {
    let entries = providers.iter().enumerate().map(|(place, provider)| {
        let mut entry = provider.entry(&format!("p{place}"), &CHAT);
        entry["priority"] = json!(place);
        entry
    });
    entries.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_not_amplified_and_still_nobody_fails_who_can_be_served_elsewhere() {
    let (failing_one, good) = (Provider::start().await, Provider::start().await);
    failing_one.always(failing(500));
    good.always(Api::Chat.answer());
    let mut providers = in_order(&[&failing_one, &good]);
    providers[0]["attempts"] = json!(5);
    let gateway = Setup::new(providers).set("routing.retry_budget", 0.1).start().await;
    let began = Instant::now();
    const REQUESTS: usize = 100;
    let replies = futures::future::join_all((0..REQUESTS).map(|_| gateway.ask(Api::Chat, false))).await;
    assert!(replies.iter().all(|reply| reply.head.status == 200));
    let (asked, seconds) = (failing_one.requests().len(), began.elapsed().as_secs());
    println!("{asked} attempts for {REQUESTS} requests in {seconds} s");
    // A tenth of the requests, and ten that are always allowed; on a slow machine once more in every ten seconds.
    let most = usize::try_from(20 * (1 + seconds / 9)).unwrap();
    assert!(asked > REQUESTS, "it is asked again at all");
    assert!(asked <= REQUESTS + most, "{asked} attempts");
    assert_eq!(good.requests().len(), REQUESTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_all_attempts_and_says_so() {
    let (silent, good) = (Provider::start().await, Provider::start().await);
    silent.always(Answer::silence(End::Hang));
    good.always(Api::Chat.answer());
    let mut providers = in_order(&[&silent, &good]);
    providers[0]["attempts"] = json!(3);
    let gateway = Setup::new(providers).set("routing.deadline", "700ms").start().await;
    let began = Instant::now();
    let reply = gateway.ask(Api::Chat, false).await;
    let took = began.elapsed();
    Api::Chat.refuses(&reply, 503, "no_provider_available");
    assert!(String::from_utf8_lossy(&reply.body).contains("time"), "{:?}", reply.body);
    assert!(took >= Duration::from_millis(650) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!((silent.requests().len(), good.requests().len()), (1, 0), "there is no time for another attempt");
    gateway.metric_is(r#"attempts_total{outcome="deadline",provider="p0"}"#, 1.0).await;
    assert_eq!(gateway.admin().rows_of(reply.head.request_id()).await, [json!(null); 0], "a refusal costs nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_the_time_is_for_the_next_and_an_answer_that_has_begun_may_take_longer() {
    let (silent, good) = (Provider::start().await, Provider::start().await);
    silent.always(Answer::silence(End::Hang));
    let mut providers = in_order(&[&silent, &good]);
    providers[0]["timeouts"]["first_byte"] = json!("300ms");
    let gateway = Setup::new(providers).set("routing.deadline", "2s").start().await;
    let gate = Gate::new();
    // More than its first word comes before the gate.
    good.then(Api::Chat.stream().gated_after(3, &gate));
    let mut wire = gateway.connect().await;
    wire.post("/v1/chat/completions", gateway.key(), &Api::Chat.request(MODEL, true)).await;
    let head = wire.head().await.unwrap();
    assert_eq!(head.status, 200);
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    gate.open_wide();
    assert_eq!(wire.body().await.unwrap(), Api::Chat.stream().body());
    let told = gateway.admin().reasons_of(head.request_id()).await;
    assert_eq!(told, ["first_byte_timeout", "ok"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_takes_too_long_as_a_whole_is_left_for_another() {
    let (slow, good) = (Provider::start().await, Provider::start().await);
    // Its head comes at once, its body never.
    slow.always(Api::Chat.answer().cut(120, End::Hang));
    good.always(Api::Chat.answer());
    let mut providers = in_order(&[&slow, &good]);
    providers[0]["timeouts"]["total"] = json!("400ms");
    let gateway = Gateway::start(providers).await;
    let reply = gateway.ask(Api::Chat, false).await;
    assert_eq!((reply.head.status, reply.body), (200, Api::Chat.answer().body()));
    assert_eq!(gateway.admin().reasons_of(reply.head.request_id()).await, ["total_timeout", "ok"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_have_failed_the_client_gets_the_answer_that_tells_it_most() {
    let providers = [Provider::start().await, Provider::start().await, Provider::start().await];
    let gateway = Gateway::start(in_order(&providers.each_ref())).await;
    let page = || Answer::bytes(502, "text/html", "<html>Bad Gateway</html>");
    let own_account = || {
        Answer::json(401, &json!({"error": {"message": "Incorrect API key", "code": "invalid_api_key", "type": "x"}}))
    };
    let come_back = || failing(429).header("retry-after", "7");
    let empty = || Answer::bytes(200, "application/json", "");
    let cases: [([Answer; 3], usize); 6] = [
        ([come_back(), page(), own_account()], 0),
        ([page(), failing(500), own_account()], 1),
        ([own_account(), empty(), page()], 2),
        ([page(), own_account(), empty()], 0),
        ([failing(500), failing(503), empty()], 1),
        ([failing(503), failing(500), come_back()], 2),
    ];
    for (number, (answers, best)) in cases.into_iter().enumerate() {
        for (provider, answer) in providers.iter().zip(&answers) {
            provider.then(answer.clone());
        }
        for place in 0..3 {
            let path = format!("/providers/p{place}:resetCircuit");
            gateway.admin().ok(reqwest::Method::POST, &path, None).await;
        }
        let reply = gateway.ask(Api::Chat, false).await;
        assert_eq!(reply.body, answers[best].body(), "case {number}: {}", String::from_utf8_lossy(&reply.body));
        let retry_after = answers[best].body() == come_back().body();
        assert_eq!(reply.head.get("retry-after"), retry_after.then_some("7"), "case {number}");
        assert_eq!(gateway.admin().reasons_of(reply.head.request_id()).await.len(), 3, "case {number}");
        let row = gateway.admin().row_of(reply.head.request_id()).await;
        assert_eq!((&row["status"], &row["costUsd"]), (&json!(reply.head.status), &json!(0)), "case {number}: {row}");
    }
}
