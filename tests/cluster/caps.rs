//! Caps that fall and budgets that begin anew while every node holds a part of them and streams are open.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Cluster, MODEL, OTHER_MODEL, Plan};
use crate::servers::redis::Redis;
use crate::streams::Streams;
use crate::support::books::nanos;
use crate::support::capped::{self, Whose};
use crate::support::eventually;
use crate::traffic::{Order, Traffic, tally};

/// What is kept without a request to spend it is given back within this time after a cap was lowered.
const GIVEN_BACK: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_that_falls_from_100_to_1_binds_three_nodes_that_hold_leases_of_it() {
    let redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).start().await;
    for whose in [Whose::User, Whose::UserForGroup] {
        let caller = cluster.limited(whose, "total", 100.0).await;
        for node in cluster.all() {
            for _ in 0..2 {
                node.spends(&caller, MODEL, 50).await;
            }
        }
        let held = cluster.metric("lease_outstanding_usd").await;
        let lowered = json!({"total": {"usd": 1}});
        match whose {
            Whose::User => {
                cluster.admin().patch(&format!("/users/{}", caller.user_id), &json!({"limits": lowered})).await;
            }
            _ => {
                cluster.admin().limit("user", caller.user_id, cluster.group, lowered).await;
            }
        }
        let written = Instant::now();
        tokio::time::sleep(GIVEN_BACK.saturating_sub(written.elapsed())).await;
        let passed = capped::ask(&cluster.all(), &caller, MODEL, Some(1_000), 100).await;
        let sums = cluster.balance(&caller).await;
        println!("{whose:?}: {held} USD were held when the cap fell; {passed} passed afterwards: {sums:?}");
        assert!(held > 1.0, "this is about leases that are more than the new cap: {held}");
        assert!(sums.nanos <= 1_000_000_000, "{sums:?}");
        assert!(sums.nanos >= 900_000_000, "{sums:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_that_falls_under_load_lets_nobody_pass_a_second_later() {
    let redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).start().await;
    let caller = cluster.limited(Whose::User, "total", 100.0).await;
    let pace = Order { pause: Duration::from_millis(20), ..Order::default() };
    let traffic = Traffic::start(&cluster.all(), std::slice::from_ref(&caller), 6, pace);
    traffic.passes(60).await;
    let lowered = json!({"limits": {"total": {"usd": 1}}});
    cluster.admin().patch(&format!("/users/{}", caller.user_id), &lowered).await;
    let written = Instant::now();
    traffic.advances(100).await;
    tokio::time::sleep((GIVEN_BACK * 2).saturating_sub(written.elapsed())).await;
    traffic.advances(100).await;
    let asked = traffic.stop().await;
    let sums = cluster.balance(&caller).await;
    let late = asked.iter().filter(|asked| asked.began > written + GIVEN_BACK);
    let late: Vec<_> = late.filter(|asked| matches!(asked.end, Some((200, _)))).collect();
    let last = asked.iter().rev().find(|asked| matches!(asked.end, Some((200, _)))).unwrap();
    println!(
        "{sums:?}; {:?}; the last passed {:?} after",
        tally(&asked),
        last.began.saturating_duration_since(written)
    );
    assert!(late.is_empty(), "passed later than a second after the cap fell: {late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_in_the_middle_of_a_minute_begins_anew_on_every_node_and_takes_open_streams_along() {
    let redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).start().await;
    let mut streams = Streams::of(&cluster.provider, |answer| answer);
    for (whose, window, model) in
        [(Whose::User, "total", OTHER_MODEL), (Whose::UserForGroup, "5h", MODEL), (Whose::User, "daily", OTHER_MODEL)]
    {
        reset(&cluster, &mut streams, whose, window, model).await;
    }
}

async fn reset(cluster: &Cluster, streams: &mut Streams, whose: Whose, window: &str, model: &str) {
    let caller = cluster.limited(whose, window, 1.0).await;
    streams.open_on(&cluster.all(), &caller, model).await;
    // To the cap.
    let before = capped::ask(&cluster.all(), &caller, model, Some(1_000), 40).await;
    assert!((14..=16).contains(&before), "{before} beside three streams");
    cluster.admin().post(&format!("/users/{}:resetLimits", caller.user_id), &json!({})).await;
    let written = Instant::now();
    for node in cluster.all() {
        eventually("it begins anew", async || (node.spend(&caller, model, 50).await.head.status == 200).then_some(()))
            .await;
    }
    let took = written.elapsed();
    streams.finish().await;
    let sums = cluster.balance(&caller).await;
    let scope = if whose == Whose::User { json!("mainline") } else { json!(cluster.group) };
    let used = nanos(&cluster.admin().window("user", caller.user_id, &scope, window).await["usedUsd"]);
    println!("{window} of {whose:?}: anew on all nodes after {took:?}; {sums:?}, of which {used} count");
    assert_eq!(used, 6 * 50_000_000, "three streams and three requests");
    assert!(took < GIVEN_BACK, "{took:?}");
    // What is left of the new era, and not more.
    let after = capped::ask(&cluster.all(), &caller, model, Some(1_000), 40).await;
    cluster.balance(&caller).await;
    assert!((12..=14).contains(&after), "{after} beside six");
    let used = nanos(&cluster.admin().window("user", caller.user_id, &scope, window).await["usedUsd"]);
    assert!(used <= 1_000_000_000, "{used}");
}
