//! Redis and the database are away together, and come back one after the other: caps hold on what each node knows, and in
//! the end everything is counted once.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Cluster, MODEL, Plan};
use crate::inside;
use crate::servers::redis::Redis;
use crate::support::capped::{self, Whose};
use crate::support::eventually;
use crate::traffic::{Asked, Order, Tally, Traffic, tally};

const CAP: i64 = 12_000_000_000;

/// What a request here costs.
const COST: i64 = 50_000_000;

const PACE: Order = Order { model: MODEL, max_tokens: 1_000, pause: Duration::from_millis(20) };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Redis,
    Postgres,
}

/// Both nodes are asked so often, one after the other; how that ended.
async fn ask(cluster: &Cluster, asked: &mut Vec<Asked>, caller: &[crate::support::admin::Caller]) -> Tally {
    let mut all = Vec::new();
    for node in cluster.all() {
        let traffic = Traffic::start(&[node], caller, 4, PACE);
        traffic.advances(140).await;
        all.extend(traffic.stop().await);
    }
    let ended = tally(&all);
    asked.extend(all);
    ended
}

async fn away(on_failure: &str, first: First) {
    let mut redis = Redis::start();
    let plan = Plan::new(2, &redis.url()).budgets("on_authority_failure", on_failure);
    let mut cluster = plan.patience(Duration::from_millis(100)).start().await;
    let caller = [cluster.limited(Whose::User, "total", 12.0).await];
    let mut asked = Vec::new();
    // Each may use its part of what is free: it must know of the other.
    inside::all_know_each_other(&cluster).await;
    let traffic = Traffic::start(&cluster.all(), &caller, 3, PACE);
    traffic.passes(60).await;
    cluster.postgres.stop();
    redis.stop();
    traffic.advances(10).await;
    asked.extend(traffic.stop().await);
    let during = ask(&cluster, &mut asked, &caller).await;
    println!("{on_failure}: before {:?}, away {during:?}", tally(&asked[..asked.len() - 280]));
    match first {
        First::Redis => redis.restart(),
        First::Postgres => cluster.postgres.restart(),
    }
    let half = ask(&cluster, &mut asked, &caller).await;
    println!("{on_failure}: {first:?} is back: {half:?}");
    match first {
        First::Redis => cluster.postgres.restart(),
        First::Postgres => redis.restart(),
    }
    let back = Instant::now();
    // Whatever else is to happen does so before the books are read: who is asked for is counted.
    eventually("budgets can be asked for", async || {
        let mut all = true;
        for node in cluster.all() {
            let traffic = Traffic::start(&[node], &caller, 1, PACE);
            traffic.advances(1).await;
            let ended = traffic.stop().await;
            all &= tally(&ended).unavailable == 0;
            asked.extend(ended);
        }
        all.then_some(())
    })
    .await;
    println!("{on_failure}: both are back, and can be asked after {:?}", back.elapsed());
    let passed = capped::ask(&cluster.all(), &caller[0], MODEL, Some(1_000), 260).await;
    let ended = tally(&asked);
    let sums = cluster.balance(&caller[0]).await;
    println!("{on_failure}, {first:?} first: {ended:?}, {passed} in the end; {sums:?} of {CAP}");
    assert!(sums.nanos <= CAP, "no node uses more than its part of what was free: {sums:?}");
    assert!(sums.nanos >= CAP * 98 / 100, "nothing stays blocked: {sums:?}");
    assert_eq!((sums.rows, ended.lost), (ended.passed + passed, 0), "each is charged once");
    assert_eq!(cluster.summed(&caller[0]).await, sums.nanos);
    match on_failure {
        "open" => {
            assert_eq!((during.unavailable, half.unavailable), (0, 0), "open refuses nobody for want of an answer");
            assert!(during.passed > 100, "each node has used its part: {during:?}");
            assert!(during.refused > 0, "and no more: {during:?}");
        }
        _ => {
            // A lease is a twentieth of the cap; what a waiting request needs comes with it.
            let leases = usize::try_from(2 * CAP / 20 / COST).unwrap() + 12;
            assert!(during.passed + half.passed <= leases, "closed spends what was held: {during:?}, then {half:?}");
            assert!(during.unavailable > 0 && half.unavailable > 0, "{during:?}, then {half:?}");
        }
    }
    assert!(cluster.metric("unenforced_violations_total").await.abs() < f64::EPSILON, "all were known");
    cluster.audit();
    let more = json!({"limits": {"total": {"usd": 13}}});
    cluster.admin().patch(&format!("/users/{}", caller[0].user_id), &more).await;
    cluster.agree(&cluster.all(), ("user", caller[0].user_id)).await;
    for node in cluster.all() {
        node.spends(&caller[0], MODEL, 50).await;
    }
    cluster.balance(&caller[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_open_redis_comes_back_before_the_database_and_no_cap_was_passed() {
    away("open", First::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_open_the_database_comes_back_before_redis_and_no_cap_was_passed() {
    away("open", First::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_closed_redis_comes_back_before_the_database_and_only_leases_were_spent() {
    away("closed", First::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_closed_the_database_comes_back_before_redis_and_only_leases_were_spent() {
    away("closed", First::Postgres).await;
}
