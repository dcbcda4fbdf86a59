//! Nodes whose wall clocks differ by seconds.

use crate::harness::{MODEL, Plan, knows};
use crate::servers::redis::Redis;
use crate::support::capped::{self, Whose};

/// How far ahead the clock of each node is when it starts, in milliseconds.
const AHEAD: [i64; 3] = [-3_000, 0, 3_000];

const CAP: i64 = 1_000_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_whose_clocks_differ_by_seconds_share_a_cap() {
    let redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).clocks(&AHEAD).start().await;
    let caller = cluster.limited(Whose::User, "total", 1.0).await;
    for node in &cluster.nodes {
        knows(node, &caller).await;
    }
    let passed = capped::ask(&cluster.all(), &caller, MODEL, Some(1_000), 60).await;
    let sums = cluster.balance(&caller).await;
    println!("{passed} passed: {sums:?}");
    assert!((CAP * 9 / 10..=CAP).contains(&sums.nanos), "{sums:?}");
    assert_eq!(sums.rows, passed);
    cluster.audit();
}
