//! What a node says about its Redis when it starts.

use crate::harness::Plan;
use crate::servers::ports::Port;
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;
use crate::support::capped::Whose;
use crate::support::{Provider, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_may_forget_budgets_to_save_memory_is_refused_with_an_explanation() {
    let (postgres, provider) = (Postgres::start(), Provider::start().await);
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let redis = Redis::start_with(&["--maxmemory-policy", policy]);
        let mut node = Plan::new(1, &redis.url()).setup(0, &postgres, &provider).spawn();
        let status = node.ended().await;
        let log = node.log();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("maxmemory-policy") && log.contains("noeviction") && log.contains(policy), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_start_and_serve_without_a_redis_and_say_so() {
    // A port that nobody listens on.
    let port = Port::take();
    let redis = format!("redis://{}", port.address());
    let cluster = Plan::new(2, &redis).budgets("on_authority_failure", "open").start().await;
    let caller = crate::support::capped::limited(cluster.admin(), Whose::User, "total", cluster.group, 1.0).await;
    for node in &cluster.nodes {
        eventually("the node serves", async || {
            let reply = node.spend(&caller, "cheap-model", 50).await;
            (reply.head.status == 200).then_some(())
        })
        .await;
        let log = node.log();
        assert!(log.contains("Redis is away"), "it says what is missing: {log}");
    }
}
