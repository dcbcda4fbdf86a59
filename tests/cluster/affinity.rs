//! A conversation goes to the same provider from whichever node it is asked.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Cluster, Plan};
use crate::servers::redis::Redis;
use crate::support::admin::Caller;
use crate::support::gateway::{MODEL, price};
use crate::support::leaving::DIALECTS;
use crate::support::talks::{Talk, Way, provider};
use crate::support::{Provider, eventually};

/// Enough that not all go to the right provider by chance.
const TALKS: usize = 20;

/// Two nodes in front of two equal providers, and somebody who may use them.
async fn two_nodes(redis: &Redis, patience: Duration) -> (Cluster, [Provider; 2], Caller) {
    let providers = [provider("a").await, provider("b").await];
    let entries = json!([providers[0].entry("a", &DIALECTS), providers[1].entry("b", &DIALECTS)]);
    let cluster = Plan::new(2, &redis.url())
        .budgets("on_authority_failure", "open")
        .patience(patience)
        .set("providers", entries)
        .start()
        .await;
    cluster.admin().put(&format!("/prices/{MODEL}"), &price()).await;
    let caller = cluster.admin().caller(json!({}), json!({})).await;
    eventually("the other node knows the price", async || {
        let answer = Talk::new(Way::CacheKey, "a first one").say(&cluster.nodes[1], &caller.secret).await;
        (answer.2 == 200).then_some(())
    })
    .await;
    (cluster, providers, caller)
}

fn talks(name: &str) -> Vec<Talk> {
    let way = |n: usize| Way::ALL[n % Way::ALL.len()];
    (0..TALKS).map(|n| Talk::new(way(n), &format!("{name} {n}"))).collect()
}

/// All say something more; where they went.
async fn turn(talks: &mut [Talk], cluster: &Cluster, node: usize, caller: &Caller) -> Vec<String> {
    let mut all = Vec::new();
    for talk in talks {
        all.push(talk.goes_to(&cluster.nodes[node], &caller.secret).await);
    }
    all
}

/// Conversations that are written down.
async fn written(redis: &Redis) -> Vec<String> {
    let keys: Vec<String> = redis.call(&["KEYS", "{tollgate:affinity}:*"]).await;
    keys.into_iter().filter(|key| !key.ends_with(":secret")).collect()
}

/// Waits until new conversations that begin on one node go on where they were on the other.
async fn are_followed(cluster: &Cluster, caller: &Caller, name: &str) {
    let mut round = 0;
    eventually("conversations are followed", async || {
        round += 1;
        let mut talks = talks(&format!("{name}, round {round}"));
        let first = turn(&mut talks, cluster, 0, caller).await;
        (turn(&mut talks, cluster, 1, caller).await == first).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_node_follows_the_first_and_so_does_one_that_starts_later() {
    let redis = Redis::start();
    let (mut cluster, _providers, caller) = two_nodes(&redis, Duration::from_millis(500)).await;
    are_followed(&cluster, &caller, "begun").await;
    let before = written(&redis).await.len();
    let mut talks = talks("talk");
    let first = turn(&mut talks, &cluster, 0, &caller).await;
    assert!(first.contains(&"a".to_owned()) && first.contains(&"b".to_owned()), "{first:?}");
    assert_eq!(turn(&mut talks, &cluster, 0, &caller).await, first);
    eventually("all are written down", async || (written(&redis).await.len() == before + TALKS).then_some(())).await;
    for node in [1, 0, 1] {
        assert_eq!(turn(&mut talks, &cluster, node, &caller).await, first, "node {node}");
    }
    let written = written(&redis).await;
    assert_eq!(written.len(), before + TALKS, "it is the same conversation on both");
    let lives: i64 = redis.call(&["PTTL", &written[0]]).await;
    assert!((3_000_000..=3_600_000).contains(&lives), "{lives} ms");

    // Nobody has told it anything: it asks.
    cluster.nodes[1].kill();
    cluster.nodes[1].restart().await;
    eventually("the new node has found its way", async || {
        let mut probe = talks[0].clone();
        (probe.goes_to(&cluster.nodes[1], &caller.secret).await == first[0]).then_some(())
    })
    .await;
    assert_eq!(turn(&mut talks[1..], &cluster, 1, &caller).await, first[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_nothing_fails_and_nothing_waits_and_it_is_shared_again_afterwards() {
    let patience = Duration::from_millis(500);
    let mut redis = Redis::start();
    let (cluster, _providers, caller) = two_nodes(&redis, patience).await;
    for hangs in [true, false] {
        if hangs {
            redis.pause();
        } else {
            redis.stop();
        }
        let mut talks = talks(&format!("away, hangs: {hangs}"));
        let first = turn(&mut talks, &cluster, 0, &caller).await;
        let began = Instant::now();
        // The other node does not know them: it asks once, in vain, and not again.
        turn(&mut talks, &cluster, 1, &caller).await;
        let asking = began.elapsed();
        let began = Instant::now();
        assert_eq!(turn(&mut talks, &cluster, 0, &caller).await, first, "each node knows its own");
        let knowing = began.elapsed();
        assert!(asking < knowing + 3 * patience, "hangs: {hangs}: {asking:?}, {knowing:?}");
        if hangs {
            redis.resume();
        } else {
            redis.restart();
        }
        are_followed(&cluster, &caller, &format!("back, hangs: {hangs}")).await;
    }
}
