//! Two nodes that each hold the last of what the other one needs too: both are served.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Cluster, MODEL, OTHER_MODEL, Plan};
use crate::servers::redis::Redis;
use crate::support::admin::Caller;
use crate::support::scale;
use crate::witness::{Witness, of_key, of_user};

/// Of the user, and of his key.
const CAP: f64 = 0.25;

/// A lease, in US dollars: most of a cap.
const LEASE: f64 = 0.2;

/// What each of the two requests costs, in thousandths of a dollar.
const COST: u64 = 100;

/// A user whose key has a cap like his own; and another key of his without one.
async fn poor(cluster: &Cluster) -> [Caller; 2] {
    let admin = cluster.admin();
    let limits = json!({"limits": {"total": {"usd": CAP}}});
    let caller = admin.caller(limits.clone(), limits).await;
    // Whoever asks for a model of the group with the key spends of the key's budget and not of the user's.
    admin.limit("user", caller.user_id, cluster.group, json!({"total": {"usd": 1_000}})).await;
    let (key_id, secret) = admin.key(caller.user_id, json!({})).await;
    let spare = Caller { user_id: caller.user_id, key_id, secret };
    cluster.agree(&cluster.all(), ("user", caller.user_id)).await;
    cluster.agree(&cluster.all(), ("key", caller.key_id)).await;
    [caller, spare]
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_the_last_of_a_user_and_whoever_holds_the_last_of_his_key_are_both_served() {
    let redis = Redis::start();
    let lease = json!({"min": LEASE, "idle_return": "2s"});
    let cluster = Plan::new(2, &redis.url()).budgets("lease", lease).start().await;
    let witness = Witness::of(&redis.url());
    let [a, b] = [&cluster.nodes[0], &cluster.nodes[1]];
    let (mut times, mut exchanges) = (Vec::new(), 0.0);
    let mut callers = Vec::new();
    for turn in 0..scale(50, 500) {
        let [caller, spare] = poor(&cluster).await;
        a.spends(&spare, OTHER_MODEL, 1).await;
        b.spends(&caller, MODEL, 1).await;
        let users = witness.holders(of_user(&caller)).await;
        let keys = witness.holders(of_key(&caller)).await;
        let ([of_user], [of_key]) = (users.as_slice(), keys.as_slice()) else { panic!("{users:?}, {keys:?}") };
        assert_ne!(of_user.inc, of_key.inc, "each has one of them");
        for has in [of_user, of_key] {
            assert!(has.kept.nanos() as f64 > LEASE * 0.9e9, "nearly all: {has:?}");
        }
        let before = cluster.metric("lease_exchanges_total").await;
        let began = Instant::now();
        let (first, second) = tokio::join!(a.spend(&caller, OTHER_MODEL, COST), b.spend(&caller, OTHER_MODEL, COST));
        times.push(began.elapsed());
        exchanges += cluster.metric("lease_exchanges_total").await - before;
        for (node, reply) in [("a", first), ("b", second)] {
            let body = String::from_utf8_lossy(&reply.body);
            assert_eq!(reply.head.status, 200, "turn {turn}, node {node}, after {:?}: {body}", times.last());
        }
        callers.push(caller);
    }
    for caller in &callers {
        let sums = cluster.balance(caller).await;
        assert_eq!((sums.rows, sums.nanos), (4, 202_000_000), "{sums:?}");
    }
    times.sort_unstable();
    let [middle, most] = [times[times.len() / 2], times[times.len() - 1]];
    let exchanges = exchanges / times.len() as f64;
    println!(
        "{} swaps took {middle:?} in the middle and {most:?} at most, and {exchanges} exchanges each",
        times.len()
    );
    assert!(most < Duration::from_secs(3), "{most:?}");
    // They do not take it from each other for ever: four are the least.
    assert!(exchanges <= 30.0, "{exchanges}");
}
