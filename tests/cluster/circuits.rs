//! What one node finds out of a provider, the others know.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Cluster, MODEL, OTHER_MODEL, Plan};
use crate::redis_cluster::RedisCluster;
use crate::servers::redis::Redis;
use crate::support::admin::Caller;
use crate::support::{Answer, Gateway, Provider, eventually, spending};

/// Within so long all nodes know.
const SOON: Duration = Duration::from_secs(1);

/// Nodes in front of a provider that is asked first, and another one; somebody who may use them.
struct World {
    first: Provider,
    cluster: Cluster,
    caller: Caller,
}

impl World {
    async fn start(redis: &str, nodes: usize, open: &str) -> Self {
        let first = Provider::start().await;
        let mut entry = first.entry("first", &["openai_chat"]);
        entry["circuit"] = json!({"failures": 2, "ratio": 0.5, "window": "60s", "open": open, "half_open": 1});
        let cluster = Plan::new(nodes, redis).budgets("on_authority_failure", "open").preferred(entry).start().await;
        let caller = cluster.admin().caller(json!({}), json!({})).await;
        for node in &cluster.nodes {
            crate::harness::knows(node, &caller).await;
        }
        let world = Self { first, cluster, caller };
        // All listen.
        world.open_by_hand_and_reset().await;
        world
    }

    async fn open_by_hand_and_reset(&self) {
        for (verb, state) in [("openCircuit", "open"), ("resetCircuit", "closed")] {
            eventually("all nodes hear what is done by hand", async || {
                self.by_hand(0, verb).await;
                self.all_are(state).await.then_some(())
            })
            .await;
        }
    }

    async fn by_hand(&self, node: usize, verb: &str) {
        let path = format!("/providers/first:{verb}");
        self.cluster.nodes[node].admin().ok(Method::POST, &path, Some(&json!({}))).await;
    }

    fn works(&self) {
        self.first.decide(spending::answer);
    }

    fn fails(&self) {
        self.first.always(Answer::json(500, &json!({"error": {"message": "no", "type": "x"}})));
    }

    /// A request through this node is answered.
    async fn ask(&self, node: usize) {
        let reply = self.cluster.nodes[node].spend(&self.caller, OTHER_MODEL, 1).await;
        assert_eq!(reply.head.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    }

    async fn all_are(&self, state: &str) -> bool {
        for node in &self.cluster.nodes {
            if circuit(node).await["state"] != state {
                return false;
            }
        }
        true
    }

    /// Waits until the circuit is so on all nodes; no longer than is promised.
    async fn soon_all_are(&self, state: &str) {
        let began = Instant::now();
        eventually(&format!("it is {state} everywhere"), async || self.all_are(state).await.then_some(())).await;
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }

    /// Two failures on the first node.
    async fn open(&self) {
        self.fails();
        self.ask(0).await;
        self.ask(0).await;
        assert_eq!(circuit(&self.cluster.nodes[0]).await["state"], "open");
    }
}

/// The circuit of the first provider on this node.
async fn circuit(node: &Gateway) -> Value {
    let providers = node.admin().get("/providers").await;
    let providers = providers["items"].as_array().unwrap();
    providers.iter().find(|provider| provider["name"] == "first").unwrap()["circuit"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_on_one_node_is_left_alone_by_all_and_used_by_all_after_a_trial_on_one() {
    let redis = Redis::start();
    let world = World::start(&redis.url(), 3, "3s").await;
    world.open().await;
    world.soon_all_are("open").await;
    let asked = world.first.requests().len();
    for node in 0..3 {
        let circuit = circuit(&world.cluster.nodes[node]).await;
        assert_eq!((&circuit["reason"], &circuit["failures"]), (&json!("upstream_status"), &json!(0)), "{circuit}");
        assert_eq!(circuit["history"][0]["told"], node != 0, "{circuit}");
        world.ask(node).await;
    }
    assert_eq!(world.first.requests().len(), asked, "nobody asks it");
    world.works();
    eventually("its time is over where it failed", async || {
        (circuit(&world.cluster.nodes[0]).await["state"] == "half_open").then_some(())
    })
    .await;
    world.ask(0).await;
    assert_eq!(world.first.requests().len(), asked + 1, "a trial");
    world.soon_all_are("closed").await;
    for node in 0..3 {
        world.ask(node).await;
        assert_eq!(world.first.requests().len(), asked + 2 + node);
    }
    // Nobody tells on what it was told: nothing goes on by itself.
    for node in &world.cluster.nodes {
        let story = circuit(node).await["history"].as_array().unwrap().len();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(circuit(node).await["history"].as_array().unwrap().len(), story);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_node_makes_trials_the_others_wait_for_what_they_show() {
    let redis = Redis::start();
    let world = World::start(&redis.url(), 3, "2s").await;
    world.open().await;
    world.soon_all_are("open").await;
    let asked = world.first.requests().len();
    world.first.decide(|request| spending::answer(request).after(Duration::from_millis(800)));
    eventually("a trial is made", async || {
        futures::future::join_all((0..3).map(|node| world.ask(node))).await;
        (world.first.requests().len() > asked).then_some(())
    })
    .await;
    assert_eq!(world.first.requests().len(), asked + 1, "by one node");
    world.soon_all_are("closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_later_knows_what_the_others_know() {
    let redis = Redis::start();
    let mut world = World::start(&redis.url(), 2, "60s").await;
    world.open().await;
    world.soon_all_are("open").await;
    let asked = world.first.requests().len();
    world.cluster.nodes[1].kill();
    world.cluster.nodes[1].restart().await;
    eventually("the new node knows", async || {
        (circuit(&world.cluster.nodes[1]).await["state"] == "open").then_some(())
    })
    .await;
    world.ask(1).await;
    assert_eq!(world.first.requests().len(), asked, "without asking it");
    let keys: Vec<String> = redis.call(&["KEYS", "{tollgate:circuits}:*"]).await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    let lives: i64 = redis.call(&["PTTL", &keys[0]]).await;
    assert!((3_600_000..=3_660_000).contains(&lives), "{lives} ms");
    // What was done by hand too.
    world.by_hand(0, "resetCircuit").await;
    world.soon_all_are("closed").await;
    world.by_hand(0, "openCircuit").await;
    world.soon_all_are("open").await;
    world.cluster.nodes[1].kill();
    world.cluster.nodes[1].restart().await;
    eventually("the new node knows that it was opened by hand", async || {
        (circuit(&world.cluster.nodes[1]).await["reason"] == "by_hand").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_another_one_now_starts_closed_whatever_was_written_down() {
    let redis = Redis::start();
    let mut world = World::start(&redis.url(), 2, "60s").await;
    world.open().await;
    world.soon_all_are("open").await;
    let node = &mut world.cluster.nodes[1];
    node.rewrite("providers.0.api_key", "sk-another");
    node.signal("HUP");
    eventually("it starts closed", async || (circuit(node).await["state"] == "closed").then_some(())).await;
    node.kill();
    node.restart().await;
    world.works();
    let asked = world.first.requests().len();
    world.ask(1).await;
    assert_eq!(world.first.requests().len(), asked + 1);
    assert_eq!(circuit(&world.cluster.nodes[0]).await["state"], "open", "there it is the old one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_on_one_node_closes_what_another_has_found_out_for_itself() {
    let redis = Redis::start();
    let world = World::start(&redis.url(), 2, "60s").await;
    world.open().await;
    world.soon_all_are("open").await;
    world.by_hand(1, "resetCircuit").await;
    world.soon_all_are("closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_node_finds_out_for_itself_and_afterwards_all_know() {
    let mut redis = Redis::start();
    let world = World::start(&redis.url(), 2, "60s").await;
    redis.stop();
    world.open().await;
    world.works();
    let asked = world.first.requests().len();
    world.ask(1).await;
    assert_eq!(world.first.requests().len(), asked + 1, "nobody could tell it");
    assert_eq!(circuit(&world.cluster.nodes[1]).await["state"], "closed");
    let began = Instant::now();
    for node in [0, 1, 0, 1] {
        let reply = world.cluster.nodes[node].spend(&world.caller, MODEL, 1).await;
        assert_eq!(reply.head.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    redis.restart();
    eventually("what was found out meanwhile is told", async || world.all_are("open").await.then_some(())).await;
    // A Redis that hangs keeps nobody waiting either.
    redis.pause();
    world.by_hand(0, "resetCircuit").await;
    assert_eq!(circuit(&world.cluster.nodes[0]).await["state"], "closed");
    redis.resume();
    eventually("and is told once it goes on", async || world.all_are("closed").await.then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_redis_cluster_it_is_the_same() {
    let redis = RedisCluster::start(false).await;
    let mut world = World::start(&redis.url(), 2, "60s").await;
    world.open().await;
    world.soon_all_are("open").await;
    world.cluster.nodes[1].kill();
    world.cluster.nodes[1].restart().await;
    eventually("the new node knows", async || world.all_are("open").await.then_some(())).await;
    world.by_hand(1, "resetCircuit").await;
    world.soon_all_are("closed").await;
}

/// What the nodes have Redis do.
const TELL: &str = include_str!("../../src/provider/circuits/tell.lua");

/// Milliseconds for which everything is remembered here, and how many circuits.
const LIVES: i64 = 60_000;
const MOST: &str = "4";

/// Says this of a circuit; whether it was told.
async fn tell(redis: &Redis, circuit: &str, word: &Value) -> bool {
    let (word, lives) = (word.to_string(), LIVES.to_string());
    redis.call(&["EVAL", TELL, "1", "p", circuit, &word, &lives, MOST, "channel", &word]).await
}

async fn written(redis: &Redis, circuit: &str) -> Option<Value> {
    let text: Option<String> = redis.call(&["HGET", "p", circuit]).await;
    text.map(|text| serde_json::from_str(&text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_down_is_the_latest_and_nothing_that_a_wrong_clock_says() {
    let redis = Redis::start();
    let time: Vec<i64> = redis.call(&["TIME"]).await;
    let now = time[0] * 1_000;
    let opened =
        |at: i64, seconds: i64| json!({"at": at, "open": true, "until": at + seconds * 1_000, "reason": "broken"});
    let closed = |at: i64| json!({"at": at, "open": false, "reason": "trials_succeeded"});
    let by_hand = |at: i64| json!({"at": at, "open": true, "firm": true, "reason": "by_hand"});
    for (word, is_told, what) in [
        (json!("nonsense"), false, "no word"),
        (opened(now + 60_000, 60), false, "a wrong clock"),
        (opened(now - 100, 60), true, "the first"),
        (opened(now - 100, 60), false, "the same"),
        (opened(now - 200, 600), false, "an older one"),
        (opened(now - 100, 70), true, "a longer one at the same time"),
        (closed(now - 100), false, "closed at the same time"),
        (closed(now - 90), true, "closed later"),
        (opened(now - 95, 60), false, "opened before that"),
        (opened(now - 80, 60), true, "opened after that"),
        (by_hand(now - 85), true, "opened by hand, when others did not know"),
        (opened(now - 70, 60), false, "nothing holds against that"),
        (closed(now - 70), false, "nor that"),
        (by_hand(now - 60), true, "but what is done by hand again"),
    ] {
        assert_eq!(tell(&redis, "provider", &word).await, is_told, "{what}");
        if is_told {
            assert_eq!(written(&redis, "provider").await, Some(word), "{what}");
        }
    }
    let lives: i64 = redis.call(&["PTTL", "p"]).await;
    assert!((1..=LIVES).contains(&lives), "{lives}");
    // All are closed by hand: what was before is gone and does not come back.
    tell(&redis, "model:old", &opened(now - 55, 60)).await;
    tell(&redis, "model:new", &opened(now - 40, 60)).await;
    let reset = json!({"at": now - 50, "open": false, "reason": "by_hand"});
    assert!(tell(&redis, "reset", &reset).await);
    assert!(!tell(&redis, "reset", &reset).await, "once");
    assert!(!tell(&redis, "provider", &by_hand(now - 50)).await);
    assert_eq!(written(&redis, "provider").await, None);
    assert_eq!(written(&redis, "model:old").await, None);
    assert_eq!(written(&redis, "model:new").await, Some(opened(now - 40, 60)));
    assert_eq!(written(&redis, "reset").await, Some(json!(now - 50)));
    // There is room for so many; what is over makes room.
    for n in 0..20 {
        assert!(tell(&redis, &format!("model:{n}"), &closed(now - 30 + n)).await);
    }
    let count: i64 = redis.call(&["HLEN", "p"]).await;
    assert!(count <= 5, "{count}");
    assert_eq!(written(&redis, "model:new").await, Some(opened(now - 40, 60)));
    // What cannot be read is written anew.
    redis.call::<()>(&["HSET", "p", "provider", "nonsense"]).await;
    assert!(tell(&redis, "provider", &opened(now, 60)).await);
}
