//! A provider that keeps failing, or says when to come back, is left alone; one that works again is not.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::gateway::{MODEL, Setup};
use crate::support::provider::End;
use crate::support::{Answer, Api, Gateway, Provider, eventually};

/// A second model that is priced.
const OTHER: &str = "other-model";

/// A provider with a sensitive circuit, and a good one that is asked after it.
struct Pair {
    first: Provider,
    second: Provider,
    gateway: Gateway,
}

impl Pair {
    async fn start(open: &str) -> Self {
        let (first, second) = (Provider::start().await, Provider::start().await);
        second.always(Api::Chat.answer());
        let mut preferred = first.entry("first", &["openai_chat"]);
        preferred["circuit"] = json!({"failures": 3, "ratio": 0.5, "window": "60s", "open": open, "half_open": 1});
        let mut other = second.entry("second", &["openai_chat"]);
        other["priority"] = json!(1);
        let gateway = Setup::new([preferred, other]).priced(OTHER).start().await;
        Self { first, second, gateway }
    }

    /// The reasons of the attempts of one request for this model, which is answered.
    async fn ask(&self, model: &str) -> Vec<Value> {
        let reply = self.gateway.ask_with(self.gateway.key(), Api::Chat, model, false).await;
        assert_eq!(reply.head.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        let path = format!("/requests/{}", reply.head.request_id());
        eventually("the request's detail", async || {
            let (status, detail) = self.gateway.admin().call(Method::GET, &path, None).await;
            let attempts = || detail["detail"]["attempts"].as_array().expect("attempts");
            (status == 200).then(|| attempts().iter().map(|attempt| attempt["reason"].clone()).collect())
        })
        .await
    }

    /// The first provider's circuit, as it is shown.
    async fn circuit(&self) -> Value {
        self.gateway.admin().get("/providers").await["items"][0]["circuit"].clone()
    }

    async fn state(&self) -> Value {
        self.circuit().await["state"].clone()
    }

    async fn change(&self, verb: &str, body: Value) -> Value {
        self.gateway.admin().ok(Method::POST, &format!("/providers/first:{verb}"), Some(&body)).await["circuit"].clone()
    }

    /// What an explanation says about the first provider.
    async fn explained(&self) -> Value {
        let path = format!("/explain?userId={}&model={MODEL}", self.gateway.caller().user_id);
        let explained = self.gateway.admin().get(&path).await;
        let candidates = explained["candidates"].as_array().unwrap();
        candidates.iter().find(|candidate| candidate["provider"] == "first").unwrap()["excluded"].clone()
    }
}

fn error(status: u16) -> Answer {
    Answer::json(status, &json!({"error": {"message": format!("the provider says {status}"), "type": "x"}}))
}

fn no_such_model() -> Answer {
    let message = format!("The model `{MODEL}` does not exist");
    Answer::json(
        404,
        &json!({"error": {"message": message, "type": "invalid_request_error", "code": "model_not_found"}}),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_keeps_failing_is_left_alone_until_a_trial_succeeds() {
    let pair = Pair::start("1s").await;
    for answer in [error(500), Answer::silence(End::Reset), error(529)] {
        pair.first.then(answer);
        assert_eq!(pair.ask(MODEL).await.len(), 2, "failed over");
    }
    let circuit = pair.circuit().await;
    assert_eq!((&circuit["state"], &circuit["reason"]), (&json!("open"), &json!("upstream_status")), "{circuit}");
    pair.gateway.metric_is(r#"circuit_state{provider="first"}"#, 2.0).await;
    let asked = pair.first.requests().len();
    assert_eq!(pair.ask(MODEL).await, ["circuit_open", "ok"]);
    assert_eq!(pair.explained().await, "circuit_open");
    assert_eq!(pair.first.requests().len(), asked, "not asked while it is open");
    // One trial fails and one succeeds.
    for (answer, reasons, then) in
        [(error(500), &["upstream_status", "ok"][..], "open"), (Api::Chat.answer(), &["ok"], "closed")]
    {
        eventually("its time is over", async || (pair.state().await == "half_open").then_some(())).await;
        pair.first.then(answer);
        assert_eq!(pair.ask(MODEL).await, reasons);
        assert_eq!(pair.state().await, then);
    }
    let story: Vec<_> =
        pair.circuit().await["history"].as_array().unwrap().iter().map(|c| c["state"].clone()).collect();
    assert_eq!(story, ["closed", "half_open", "open", "half_open", "open"], "newest first");
    assert_eq!(pair.explained().await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_does_wrong_opens_nothing() {
    let pair = Pair::start("60s").await;
    for status in [400, 404, 409, 413, 422, 451] {
        for _ in 0..5 {
            pair.first.then(error(status));
            assert_eq!(pair.gateway.ask(Api::Chat, false).await.head.status, status);
        }
    }
    let circuit = pair.circuit().await;
    assert_eq!((&circuit["state"], &circuit["failures"]), (&json!("closed"), &json!(0)), "{circuit}");
    assert_eq!(pair.second.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_says_when_to_come_back_is_left_alone_until_then() {
    let pair = Pair::start("1s").await;
    pair.first.then(error(429).header("retry-after", "3600"));
    assert_eq!(pair.ask(MODEL).await, ["upstream_status", "ok"]);
    assert_eq!(pair.ask(MODEL).await, ["circuit_open", "ok"]);
    assert_eq!(pair.first.requests().len(), 1);
    pair.change("resetCircuit", json!({})).await;
    pair.first.then(Api::Chat.answer());
    assert_eq!(pair.ask(MODEL).await, ["ok"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_are_left_alone_the_client_is_told_when_to_come_back() {
    let only = Provider::start().await;
    let gateway = Gateway::start([only.entry("only", &["openai_chat"])]).await;
    only.then(error(429).header("retry-after", "30"));
    let first = gateway.ask(Api::Chat, false).await;
    assert_eq!((first.head.status, first.head.get("retry-after")), (429, Some("30")), "as it came");
    let refused = gateway.ask(Api::Chat, false).await;
    Api::Chat.refuses(&refused, 503, "no_provider_available");
    let wait: u64 = refused.head.get("retry-after").unwrap().parse().unwrap();
    assert!((20..=30).contains(&wait), "{wait}");
    assert_eq!(only.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_are_left_alone_the_client_is_told_which_and_until_when() {
    let providers = [Provider::start().await, Provider::start().await];
    let entries = ["one", "two"].iter().zip(&providers).map(|(name, provider)| provider.entry(name, &["openai_chat"]));
    let gateway = Gateway::start(entries).await;
    providers[0].then(error(429).header("retry-after", "300"));
    gateway.admin().ok(Method::POST, "/providers/two:openCircuit", Some(&json!({}))).await;
    assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 429);
    let refused = gateway.ask(Api::Chat, false).await;
    Api::Chat.refuses(&refused, 503, "no_provider_available");
    let wait: u64 = refused.head.get("retry-after").unwrap().parse().unwrap();
    assert!((280..=300).contains(&wait), "{wait}");
    let error: Value = serde_json::from_slice::<Value>(&refused.body).unwrap()["error"].clone();
    let mut left_alone = error["details"]["leftAlone"].as_array().unwrap().clone();
    left_alone.sort_by_key(|one| one["provider"].to_string());
    assert_eq!((&left_alone[0]["provider"], &left_alone[1]["provider"]), (&json!("one"), &json!("two")), "{error}");
    let at: jiff::Timestamp = left_alone[0]["retriedAt"].as_str().unwrap().parse().unwrap();
    let left = at.as_second() - jiff::Timestamp::now().as_second();
    assert!((270..=301).contains(&left), "{left}");
    assert_eq!(left_alone[1]["retriedAt"], Value::Null, "nobody knows: {error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(&format!("one is tried again at {at}")) && message.contains("two, until"), "{message}");
    assert_eq!((providers[0].requests().len(), providers[1].requests().len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_a_provider_does_not_have_is_asked_for_elsewhere_and_the_others_are_not() {
    let pair = Pair::start("60s").await;
    pair.first.then(no_such_model());
    assert_eq!(pair.ask(MODEL).await, ["upstream_status", "ok"]);
    assert_eq!(pair.ask(MODEL).await, ["model_circuit_open", "ok"]);
    assert_eq!(pair.explained().await, "model_circuit_open");
    pair.first.then(Api::Chat.answer());
    assert_eq!(pair.ask(OTHER).await, ["ok"]);
    let circuit = pair.circuit().await;
    assert_eq!(circuit["state"], "closed");
    assert_eq!((&circuit["models"][0]["model"], &circuit["models"][0]["state"]), (&json!(MODEL), &json!("open")));
    pair.change("resetCircuit", json!({})).await;
    pair.first.then(Api::Chat.answer());
    assert_eq!(pair.ask(MODEL).await, ["ok"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_account_is_left_alone_and_the_client_does_not_notice() {
    let pair = Pair::start("60s").await;
    let message = "Your credit balance is too low to access the API";
    pair.first.then(Answer::json(400, &json!({"error": {"message": message, "type": "invalid_request_error"}})));
    assert_eq!(pair.ask(MODEL).await, ["upstream_status", "ok"]);
    assert_eq!(pair.ask(OTHER).await, ["circuit_open", "ok"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_opened_by_hand_gets_nothing_until_it_is_reset() {
    let pair = Pair::start("1s").await;
    let opened = pair.change("openCircuit", json!({})).await;
    assert_eq!(
        (&opened["state"], &opened["reason"], &opened["until"]),
        (&json!("open"), &json!("by_hand"), &json!(null))
    );
    assert_eq!(pair.ask(MODEL).await, ["circuit_open", "ok"]);
    assert_eq!(pair.change("resetCircuit", json!({})).await["state"], "closed");
    pair.first.then(Api::Chat.answer());
    assert_eq!(pair.ask(MODEL).await, ["ok"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_circuits_but_of_another_account() {
    let mut pair = Pair::start("60s").await;
    pair.change("openCircuit", json!({})).await;
    let reload = async |pair: &mut Pair, field: &str, value: Value| {
        let mut providers = pair.gateway.config()["providers"].clone();
        providers[0][field] = value;
        pair.gateway.reload("providers", providers).await;
    };
    reload(&mut pair, "weight", json!(7)).await;
    assert_eq!(pair.state().await, "open");
    reload(&mut pair, "api_key", json!("another-key")).await;
    assert_eq!(pair.state().await, "closed");
}
