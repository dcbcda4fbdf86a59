//! A master of a Redis Cluster dies under load, and its replica takes its place.

use std::time::{Duration, Instant};

use crate::harness::MODEL;
use crate::redis_cluster::RedisCluster;
use crate::slots::{all_is_counted, start};
use crate::support::eventually;
use crate::traffic::{Order, Times, Traffic, tally};

/// The cluster has to notice and to vote, the nodes to hear of it.
const WITHIN: Duration = Duration::from_secs(12);

/// What a replica that is milliseconds behind can have missed: a request of each client that may be on its way.
const MISSED: i64 = 4 * 51_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn soak_a_replica_takes_the_place_of_a_master_that_dies_and_all_is_counted() {
    let mut redis = RedisCluster::start(false).await;
    redis.add_replica(1).await;
    let (cluster, callers) = start(&redis).await;
    let pace = Order { pause: Duration::from_millis(10), ..Order::default() };
    let traffic = Traffic::start(&cluster.all(), &callers, 2, pace);
    traffic.passes(60).await;
    redis.masters[1].stop();
    let died = Instant::now();
    eventually("the replica is a master", async || {
        let info: String = redis.replicas[0].call(&["INFO", "replication"]).await;
        info.contains("role:master").then_some(())
    })
    .await;
    let elected = died.elapsed();
    let asking = callers.iter().flat_map(|caller| cluster.nodes.iter().map(move |node| (caller, node)));
    let asking = asking.map(|(caller, node)| {
        eventually("the budget can be asked again", async || {
            (node.spend(caller, MODEL, 50).await.head.status != 503).then_some(())
        })
    });
    futures::future::join_all(asking).await;
    let back = died.elapsed();
    traffic.advances(50).await;
    let mut asked = traffic.stop().await;
    let during = tally(&asked);
    let after = Traffic::start(&cluster.all(), &callers, 2, pace);
    after.advances(100).await;
    let after = after.stop().await;
    println!(
        "elected after {elected:?}, all can be asked after {back:?}; meanwhile {during:?}, {:?}; then {:?}",
        Times::of(&asked),
        tally(&after)
    );
    assert!(back < WITHIN, "{back:?}");
    assert_eq!(tally(&after).unavailable, 0, "nobody is blocked");
    asked.extend(after);
    all_is_counted(&cluster, &callers, tally(&asked), MISSED).await;
}
