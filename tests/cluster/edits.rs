//! What is written on one node holds on the others within a second.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Cluster, MODEL, OTHER_MODEL, Plan};
use crate::servers::redis::Redis;
use crate::support::Gateway;
use crate::support::admin::Caller;

const WITHIN: Duration = Duration::from_secs(1);

/// Others know within a second; this is how long that took, with the answer that shows it.
#[derive(Default)]
pub struct Clock(Vec<(String, Duration)>);

impl Clock {
    /// Waits until every other node answers so.
    async fn holds(&mut self, what: &str, cluster: &Cluster, caller: &Caller, model: &str, status: u16) {
        self.holds_on(what, &cluster.but(0), status, async |node: &Gateway| answer(node, caller, model).await).await;
    }

    /// Waits until each of these nodes is found so. Whatever was written has just been answered.
    pub async fn holds_on<T: PartialEq + Debug>(
        &mut self,
        what: &str,
        nodes: &[&Gateway],
        expected: T,
        probe: impl AsyncFn(&Gateway) -> T,
    ) {
        let written = Instant::now();
        let holds = async |node: &Gateway| {
            let mut story = Vec::new();
            loop {
                let asked = Instant::now();
                let found = probe(node).await;
                if found == expected {
                    return;
                }
                let after = asked - written;
                story.push((after, found));
                assert!(after < WITHIN, "{what}: not {expected:?} {after:?} after: {story:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // At the same time: whoever is asked last has had no more time than the others.
        futures::future::join_all(nodes.iter().map(|node| holds(node))).await;
        self.0.push((what.to_owned(), written.elapsed()));
    }

    /// Prints how long everything took.
    pub fn tell(self) {
        for (what, took) in self.0 {
            println!("{what}: {took:?}");
        }
    }
}

pub async fn answer(node: &Gateway, caller: &Caller, model: &str) -> u16 {
    node.spend(caller, model, 50).await.head.status
}

pub fn capped(usd: f64) -> Value {
    json!({"total": {"usd": usd}})
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_on_one_node_holds_on_the_others_within_a_second() {
    let redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).start().await;
    let admin = cluster.admin();
    let mut clock = Clock::default();
    let caller = cluster.limited(crate::support::capped::Whose::User, "total", 0.06).await;
    let user = format!("/users/{}", caller.user_id);
    assert_eq!(answer(&cluster.nodes[1], &caller, OTHER_MODEL).await, 200);
    clock.holds("a cap that is used up", &cluster, &caller, OTHER_MODEL, 402).await;

    admin.patch(&user, &json!({"limits": capped(100.0)})).await;
    clock.holds("a higher cap of a user", &cluster, &caller, OTHER_MODEL, 200).await;
    admin.patch(&user, &json!({"limits": capped(0.05)})).await;
    clock.holds("a lower cap of a user", &cluster, &caller, OTHER_MODEL, 402).await;
    admin.patch(&user, &json!({"limits": Value::Null})).await;
    clock.holds("no cap any more", &cluster, &caller, OTHER_MODEL, 200).await;
    let key = format!("/keys/{}", caller.key_id);
    admin.patch(&key, &json!({"limits": capped(0.01)})).await;
    clock.holds("a cap of a key", &cluster, &caller, OTHER_MODEL, 402).await;
    admin.post(&format!("/users/{}:resetLimits", caller.user_id), &json!({})).await;
    clock.holds("the reset of a user leaves his key", &cluster, &caller, OTHER_MODEL, 402).await;
    admin.patch(&key, &json!({"limits": Value::Null})).await;

    let limit = admin.limit("user", caller.user_id, cluster.group, capped(0.01)).await;
    clock.holds("a limit on a model group", &cluster, &caller, MODEL, 402).await;
    let boost = json!({"userId": caller.user_id, "modelGroupId": cluster.group, "window": "total", "usd": 100,
        "startsAt": "2026-01-01T00:00:00Z", "expiresAt": "2999-01-01T00:00:00Z", "reason": "a fair"});
    let boost = admin.post("/quota-boosts", &boost).await["id"].clone();
    clock.holds("a boost", &cluster, &caller, MODEL, 200).await;
    admin.delete(&format!("/quota-boosts/{boost}")).await;
    clock.holds("the end of a boost", &cluster, &caller, MODEL, 402).await;
    admin.delete(&format!("/model-limits/{limit}")).await;
    clock.holds("no limit on the model group any more", &cluster, &caller, MODEL, 200).await;

    let members = admin.user_group("painters", &[]).await;
    admin.limit("user_group", members, cluster.group, capped(0.01)).await;
    let member = format!("/user-groups/{members}/members/{}", caller.user_id);
    admin.put(&member, &json!({})).await;
    clock.holds("who joins a user group", &cluster, &caller, MODEL, 402).await;
    admin.delete(&member).await;
    clock.holds("who leaves a user group", &cluster, &caller, MODEL, 200).await;

    admin.patch(&user, &json!({"enabled": false})).await;
    clock.holds("a user who is disabled", &cluster, &caller, MODEL, 401).await;
    admin.patch(&user, &json!({"enabled": true})).await;
    clock.holds("a user who is enabled", &cluster, &caller, MODEL, 200).await;
    let rotated = admin.ok(Method::POST, &format!("/keys/{}:rotate", caller.key_id), None).await;
    let new = Caller { secret: rotated["secret"].as_str().unwrap().to_owned(), ..caller.clone() };
    clock.holds("a secret that was replaced", &cluster, &caller, MODEL, 401).await;
    clock.holds("the new secret", &cluster, &new, MODEL, 200).await;
    admin.delete(&key).await;
    clock.holds("a key that was deleted", &cluster, &new, MODEL, 401).await;
    clock.tell();
}
