//! A provider that is left alone after failures is probed, so that it is used again before its time is over.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::gateway::Setup;
use crate::support::provider::{Received, UPSTREAM_KEY};
use crate::support::{Answer, Api, Gateway, Provider, eventually};

/// A provider whose circuit stays open for long, and a good one that is asked after it.
struct Pair {
    first: Provider,
    _second: Provider,
    gateway: Gateway,
}

impl Pair {
    async fn start(dialects: &[&str], health: Option<Value>) -> Self {
        let (first, second) = (Provider::start().await, Provider::start().await);
        second.always(Api::Chat.answer());
        let mut preferred = first.entry("first", dialects);
        preferred["circuit"] = json!({"failures": 2, "ratio": 0.5, "window": "60s", "open": "10m", "half_open": 1});
        if let Some(health) = health {
            preferred["health"] = health;
        }
        let mut other = second.entry("second", &["openai_chat"]);
        other["priority"] = json!(1);
        let gateway = Setup::new([preferred, other]).start().await;
        Self { first, _second: second, gateway }
    }

    /// What requests and probes are answered.
    fn says(&self, requests: Answer, probes: u16) {
        let probe = Answer::json(probes, &json!({"data": []}));
        self.first.decide(move |request| if request.method == "GET" { probe.clone() } else { requests.clone() });
    }

    async fn ask(&self) {
        assert_eq!(self.gateway.ask(Api::Chat, false).await.head.status, 200);
    }

    async fn open(&self, probes: u16) {
        self.says(broken(), probes);
        self.ask().await;
        self.ask().await;
        assert_eq!(self.state().await, "open");
    }

    fn probes(&self) -> Vec<Received> {
        self.first.requests().into_iter().filter(|request| request.method == "GET").collect()
    }

    fn requests(&self) -> usize {
        self.first.requests().len() - self.probes().len()
    }

    async fn circuit(&self) -> Value {
        self.gateway.admin().get("/providers").await["items"][0]["circuit"].clone()
    }

    async fn state(&self) -> Value {
        self.circuit().await["state"].clone()
    }

    async fn counted(&self, result: &str) -> f64 {
        self.gateway.metric(&format!(r#"probes_total{{provider="first",result="{result}"}}"#)).await
    }
}

fn broken() -> Answer {
    Answer::json(500, &json!({"error": {"message": "no", "type": "x"}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_works_again_is_used_long_before_its_time_is_over() {
    let pair = Pair::start(&["openai_chat"], Some(json!({"interval": "1s"}))).await;
    pair.open(503).await;
    eventually("a probe has failed", async || (pair.counted("upstream_status").await >= 1.0).then_some(())).await;
    let circuit = pair.circuit().await;
    assert_eq!((&circuit["state"], &circuit["lastProbe"]["status"]), (&json!("open"), &json!(503)), "{circuit}");
    assert_eq!(pair.requests(), 2);
    pair.says(Api::Chat.answer(), 200);
    eventually("a probe has succeeded", async || (pair.state().await == "half_open").then_some(())).await;
    assert_eq!(pair.circuit().await["lastProbe"]["result"], "ok");
    assert!(pair.counted("ok").await >= 1.0);
    pair.ask().await;
    assert_eq!((pair.requests(), pair.state().await), (3, json!("closed")));
    let story: Vec<_> =
        pair.circuit().await["history"].as_array().unwrap().iter().map(|c| c["reason"].clone()).collect();
    assert_eq!(story, ["trials_succeeded", "probe_succeeded", "upstream_status"], "newest first");
    let probe = &pair.probes()[0];
    assert_eq!((&*probe.target, probe.body.len()), ("/v1/models", 0));
    assert_eq!(probe.header("authorization"), Some(&*format!("Bearer {UPSTREAM_KEY}")));
    assert!(!pair.gateway.log().contains(UPSTREAM_KEY));
    // It costs nobody anything, and while all is well nobody is asked.
    eventually("the requests are in the ledger", async || {
        (pair.gateway.admin().get("/usage").await["items"].as_array().unwrap().len() == 3).then_some(())
    })
    .await;
    let sent = pair.probes().len();
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(pair.probes().len(), sent);
    assert_eq!(pair.gateway.admin().get("/usage").await["items"].as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_models_does_not_prove_that_requests_are_served() {
    let pair = Pair::start(&["openai_chat"], Some(json!({"interval": "1s", "path": "/v1/health?deep=no"}))).await;
    pair.open(200).await;
    eventually("a probe has succeeded", async || (pair.state().await == "half_open").then_some(())).await;
    assert_eq!(pair.probes()[0].target, "/v1/health?deep=no");
    pair.ask().await;
    assert_eq!((pair.requests(), pair.state().await), (3, json!("open")));
    // It is not believed again: nobody's request is lost on it every second.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!((pair.probes().len(), pair.state().await), (1, json!("open")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_or_the_provider_has_said_is_not_asked_about() {
    let pair = Pair::start(&["openai_chat"], Some(json!({"interval": "1s"}))).await;
    pair.says(Answer::json(429, &json!({"error": {"message": "later"}})).header("retry-after", "600"), 200);
    pair.ask().await;
    assert_eq!(pair.state().await, "open");
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!((pair.probes().len(), pair.state().await), (0, json!("open")));
    for (verb, state) in [("resetCircuit", "closed"), ("openCircuit", "open")] {
        pair.gateway.admin().ok(Method::POST, &format!("/providers/first:{verb}"), Some(&json!({}))).await;
        assert_eq!(pair.state().await, state);
    }
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!((pair.probes().len(), pair.state().await), (0, json!("open")));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_probed_until_a_new_configuration_says_so_and_never_after_one_that_does_not() {
    let mut pair = Pair::start(&["openai_chat", "anthropic"], None).await;
    pair.open(503).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(pair.probes().len(), 0);
    pair.gateway.rewrite("providers.0.health", json!({"interval": "1s"}));
    pair.gateway.signal("HUP");
    eventually("it is probed", async || (!pair.probes().is_empty()).then_some(())).await;
    pair.gateway.rewrite("providers.0.health", json!({"interval": 0}));
    pair.gateway.rewrite("providers.0.weight", 7);
    pair.gateway.signal("HUP");
    eventually("the configuration is in force", async || {
        (pair.gateway.admin().get("/providers").await["items"][0]["weight"] == 7).then_some(())
    })
    .await;
    let sent = pair.probes().len();
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert!(pair.probes().len() <= sent + 1, "one may have been on its way");
    assert_eq!(pair.state().await, "open");
    pair.gateway.signal("TERM");
    assert!(pair.gateway.ended().await.success());
}
