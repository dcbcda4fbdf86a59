//! The database is away: budgets that Redis knows go on, those that it has forgotten wait, and caps cannot be changed.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::harness::{Cluster, MODEL, OTHER_MODEL, Plan};
use crate::servers::redis::Redis;
use crate::support::admin::Caller;
use crate::support::capped::{self, Whose};
use crate::support::{Api, eventually};
use crate::traffic::{Order, Traffic, tally};
use crate::witness::{Witness, of_user};

/// What a request here costs.
const COST: i64 = 50_000_000;

const PACE: Order = Order { model: MODEL, max_tokens: 1_000, pause: Duration::from_millis(30) };

/// All that can still be spent is spent, no more than the cap, and the books are right.
async fn up_to_the_cap(cluster: &Cluster, caller: &Caller, cap: i64) {
    cluster.knows_what_is_left(caller, MODEL).await;
    capped::ask(&cluster.all(), caller, MODEL, Some(1_000), usize::try_from(cap / COST).unwrap() + 20).await;
    let sums = cluster.balance(caller).await;
    println!("in the end {sums:?} of {cap}");
    assert!(sums.nanos <= cap, "{sums:?}");
    assert!(sums.nanos >= cap * 98 / 100, "nothing stays blocked: {sums:?}");
    assert_eq!(sums.estimated, 0);
    cluster.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_flushed_while_the_database_is_away_and_nothing_is_granted_before_it_is_back() {
    const CAP: i64 = 12_000_000_000;
    let redis = Redis::start();
    let mut cluster = Plan::new(3, &redis.url()).start().await;
    let free = cluster.admin().caller(json!({}), json!({})).await;
    // Whoever knows of the later write has heard of the earlier one, and remembers the key from now on.
    let caller = cluster.limited(Whose::User, "total", 12.0).await;
    for node in cluster.all() {
        node.spends(&free, OTHER_MODEL, 50).await;
    }
    let witness = Witness::of(&redis.url());
    let traffic = Traffic::start(&cluster.all(), std::slice::from_ref(&caller), 4, PACE);
    traffic.passes(30).await;
    cluster.postgres.stop();
    traffic.passes(30).await;
    // What is granted between these two is less than a lease of each node.
    let held = witness.held(of_user(&caller)).await;
    redis.call::<()>(&["FLUSHALL"]).await;
    let flushed = Instant::now();
    for node in cluster.all() {
        eventually("what it held is spent", async || {
            (node.spend(&caller, MODEL, 50).await.head.status == 503).then_some(())
        })
        .await;
    }
    let spent_after = flushed.elapsed();
    for node in cluster.all() {
        let began = Instant::now();
        Api::Chat.refuses(&node.spend(&caller, MODEL, 50).await, 503, "budget_unavailable");
        assert!(began.elapsed() < Duration::from_secs(3), "refused after {:?}", began.elapsed());
        node.spends(&free, OTHER_MODEL, 50).await;
    }
    traffic.advances(30).await;
    let asked = traffic.stop().await;
    let after = tally(&asked.iter().filter(|asked| asked.began > flushed).cloned().collect::<Vec<_>>());
    println!("they held {held} nano-dollars, spent after {spent_after:?}; since the flush {after:?}");
    let leases = 3 * CAP / 20;
    let passed = i64::try_from(after.passed).unwrap() * COST;
    assert!(passed <= held + leases, "{passed} passed");
    assert_eq!((after.refused, after.lost), (0, 0), "nobody knows that there is nothing left: {after:?}");
    assert!(after.unavailable > 0);

    cluster.postgres.restart();
    let back = Instant::now();
    for node in cluster.all() {
        eventually("it goes on", async || (node.spend(&caller, MODEL, 50).await.head.status == 200).then_some(()))
            .await;
    }
    println!("all nodes go on {:?} after the database's return", back.elapsed());
    up_to_the_cap(&cluster, &caller, CAP).await;
    assert!(cluster.metric("unenforced_violations_total").await.abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_cannot_be_changed_while_the_database_is_away_and_the_one_before_holds() {
    const CAP: i64 = 3_000_000_000;
    let redis = Redis::start();
    let mut cluster = Plan::new(2, &redis.url()).start().await;
    let caller = cluster.limited(Whose::User, "total", 3.0).await;
    let user = format!("/users/{}", caller.user_id);
    let more = json!({"limits": {"total": {"usd": 6}}});
    for hangs in [false, true] {
        for node in cluster.all() {
            node.spends(&caller, MODEL, 50).await;
        }
        if hangs {
            cluster.postgres.pause();
        } else {
            cluster.postgres.stop();
        }
        for node in cluster.all() {
            let began = Instant::now();
            let (status, problem) = node.admin().call(Method::PATCH, &user, Some(&more)).await;
            println!("hangs {hangs}: {status} after {:?}: {problem}", began.elapsed());
            assert_eq!((status, &problem["code"]), (503, &json!("unavailable")), "{problem}");
        }
        if hangs {
            // To the cap, as it is: Redis knows it.
            let passed = capped::ask(&cluster.all(), &caller, MODEL, Some(1_000), 80).await;
            println!("{passed} more passed, and then nobody");
            assert!(passed <= 56, "{passed} beside the first four");
            cluster.postgres.resume();
        } else {
            cluster.postgres.restart();
        }
        let is_back = async || (node_is_back(&cluster, &user).await).then_some(());
        eventually("the database answers", is_back).await;
    }
    up_to_the_cap(&cluster, &caller, CAP).await;
    for node in cluster.all() {
        let window = node.admin().window("user", caller.user_id, &json!("mainline"), "total").await;
        assert_eq!(window["limitUsd"], 3, "nothing of what was refused is done later: {window}");
    }
    cluster.admin().patch(&user, &more).await;
    cluster.agree(&cluster.all(), ("user", caller.user_id)).await;
    up_to_the_cap(&cluster, &caller, 2 * CAP).await;
}

async fn node_is_back(cluster: &Cluster, path: &str) -> bool {
    for node in cluster.all() {
        if node.admin().call(Method::GET, path, None).await.0 != 200 {
            return false;
        }
    }
    true
}
