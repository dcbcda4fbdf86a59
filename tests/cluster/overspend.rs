//! A cap is a cap on three nodes too: however many ask at once, whatever window and whoever's budget it is.

use crate::harness::{Cluster, MODEL, Plan};
use crate::servers::redis::Redis;
use crate::support::capped::{self, WHOSE, WINDOWS, Whose};
use crate::support::scale;

const CAP: f64 = 1.0;
const REQUESTS: usize = 200;

/// Every window of everybody's budget; in a short run every window of two, and one of everybody.
fn races() -> Vec<(Whose, &'static str)> {
    let all = WHOSE.into_iter().flat_map(|whose| WINDOWS.map(|window| (whose, window)));
    let short = |&(whose, window): &(Whose, &str)| {
        scale(0, 1) == 1 || window == "daily" || [Whose::User, Whose::UserGroupForGroup].contains(&whose)
    };
    all.filter(short).collect()
}

async fn race(cluster: &Cluster, whose: Whose, window: &str) -> usize {
    let caller = cluster.limited(whose, window, CAP).await;
    let began = std::time::Instant::now();
    let passed = capped::ask(&cluster.all(), &caller, MODEL, Some(1_000), REQUESTS).await;
    let took = began.elapsed();
    let usd = cluster.admin().spent(caller.user_id, "all", passed).await;
    println!("{window} of {whose:?}: {usd:.2} USD, {passed} of {REQUESTS} passed in {took:?}");
    assert!(usd <= CAP + 1e-9, "{window} of {whose:?}: {usd} USD passed a cap of {CAP}");
    assert!(usd >= 0.9 - 1e-9, "{window} of {whose:?}: only {usd} USD of {CAP} could be used");
    cluster.balance(&caller).await;
    passed
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_with_worst_case_three_nodes_pass_no_cap_and_all_of_it_can_be_used() {
    let redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).start().await;
    let mut paid = 0;
    for (whose, window) in races() {
        paid += race(&cluster, whose, window).await;
    }
    assert_eq!(cluster.provider.requests().len(), paid, "what was refused reached no provider");
    assert!(cluster.metric("unenforced_violations_total").await.abs() < f64::EPSILON);
    assert!(cluster.metric("budget_drift_usd").await.abs() < f64::EPSILON);
}
