//! What budgets cost that are used now and then, and one that is busy, and how often they are read from the ledger.

use std::time::Duration;

use crate::harness::{Cluster, MODEL, Plan};
use crate::servers::redis::Redis;
use crate::support::capped::Whose;
use crate::support::{scale, spending};
use crate::traffic::{Order, Traffic, tally};

/// Budgets that are used once a second, by one node after the other.
const BUDGETS: usize = 20;
const NOW_AND_THEN: Order = Order { model: MODEL, max_tokens: 1_000, pause: Duration::from_secs(1) };

/// As often as the machine takes easily.
const BUSY: Order = Order { model: MODEL, max_tokens: 1_000, pause: Duration::from_millis(20) };

/// The most exchanges per request of a busy budget that is far from its cap.
const OF_BUSY: f64 = 0.1;

/// The same of one that each node uses every few seconds: it is asked for, given back, and what it cost is told.
const OF_IDLE: f64 = 3.5;

const SEEDS: &str = "lease_exchanges_total{result=\"seed\"";

/// Exchanges so far, and how many of them found a budget that had to be read from the ledger.
async fn exchanges(cluster: &Cluster) -> (f64, f64) {
    (cluster.metric("lease_exchanges_total").await, cluster.metric(SEEDS).await)
}

fn time() -> Duration {
    Duration::from_secs(scale(10, 60) as u64)
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_a_busy_budget_is_seldom_asked_for_idle_ones_are_taken_and_given_back_and_none_is_read_without_need() {
    let mut redis = Redis::start();
    let mut cluster = Plan::new(3, &redis.url()).start().await;
    cluster.provider.decide(spending::answer);
    let busy = cluster.limited(Whose::User, "total", 100_000.0).await;
    let before = exchanges(&cluster).await;
    let traffic = Traffic::start(&cluster.all(), std::slice::from_ref(&busy), 4, BUSY);
    tokio::time::sleep(time()).await;
    let ended = tally(&traffic.stop().await);
    let per_busy = (exchanges(&cluster).await.0 - before.0) / ended.passed as f64;
    println!("a busy one, {} requests: {per_busy:.4} exchanges per request", ended.passed);

    let mut callers = Vec::new();
    for _ in 0..BUDGETS {
        callers.push(cluster.limited(Whose::User, "total", 1_000.0).await);
    }
    let before = exchanges(&cluster).await;
    let idle = Traffic::start(&cluster.all(), &callers, 1, NOW_AND_THEN);
    tokio::time::sleep(time()).await;
    let idle = tally(&idle.stop().await);
    let of_idle = exchanges(&cluster).await.0 - before.0;
    let per_idle = of_idle / idle.passed as f64;
    println!("{BUDGETS} budgets, {} requests: {per_idle:.2} exchanges per request", idle.passed);

    // A node that starts finds all of them in Redis.
    let idle = Traffic::start(&cluster.all(), &callers, 1, NOW_AND_THEN);
    idle.passes(BUDGETS).await;
    let before = exchanges(&cluster).await.1 - cluster.nodes[2].metric(SEEDS).await;
    cluster.nodes[2].signal("TERM");
    cluster.nodes[2].restart().await;
    idle.passes(BUDGETS * 4).await;
    let of_node = exchanges(&cluster).await.1 - before;
    // Redis finds none of them when it starts.
    redis.stop();
    redis.restart();
    idle.passes(BUDGETS * 4).await;
    let of_redis = exchanges(&cluster).await.1 - before - of_node;
    let ended = tally(&idle.stop().await);
    println!("{of_node} seeds after the start of a node, {of_redis} after that of Redis; {ended:?}");
    assert!(per_idle <= OF_IDLE, "{per_idle}");
    assert!(per_busy <= OF_BUSY, "{per_busy}");
    assert!(of_node <= 0.0, "{of_node} seeds of budgets that Redis knows");
    // Each node may find a budget gone, and now and then at the moment at which another one seeds it.
    let most = BUDGETS * (cluster.nodes.len() + 1);
    assert!((BUDGETS as f64..=most as f64).contains(&of_redis), "{of_redis} seeds of {BUDGETS} budgets on three nodes");
    for caller in &callers {
        cluster.balance(caller).await;
    }
}
