//! A crowd that comes at once for a budget that its node knows nothing of: a few questions are asked for all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::Barrier;

use crate::harness::{MODEL, Plan, knows};
use crate::net::Proxy;
use crate::servers::redis::Redis;
use crate::support::admin::Caller;
use crate::support::capped::Whose;
use crate::support::{Api, Gateway, client, scale, spending};
use crate::traffic::{Asked, Times, tally};

/// So many ask at once, over connections that are there already.
async fn crowd(node: &Gateway, caller: &Caller, count: usize, start: Arc<Barrier>) -> Vec<Asked> {
    let url: Arc<str> = format!("{}{}", node.url(), Api::Chat.path(MODEL, false)).into();
    let asking: Vec<_> = (0..count)
        .map(|_| {
            let (url, secret, start) = (Arc::clone(&url), caller.secret.clone(), Arc::clone(&start));
            tokio::spawn(async move {
                let http = client();
                // This opens the connection; there is no such page.
                http.get(&*url).send().await.unwrap().bytes().await.unwrap();
                let body = spending::request(MODEL, Some(1_000));
                start.wait().await;
                let began = Instant::now();
                let response = http.post(&*url).bearer_auth(secret).json(&body).send().await.unwrap();
                let status = response.status().as_u16();
                let body: serde_json::Value = response.json().await.unwrap();
                let code = body["error"]["code"].as_str().unwrap_or_default().to_owned();
                Asked { began, took: began.elapsed(), end: Some((status, code)) }
            })
        })
        .collect();
    futures::future::join_all(asking).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_a_thousand_who_come_at_once_for_a_cold_budget_wait_for_a_few_exchanges() {
    let redis = Redis::start();
    let cluster = Plan::new(2, &redis.url()).start().await;
    let node = &cluster.nodes[1];
    let count = 1_000;
    let free = cluster.admin().caller(json!({}), json!({})).await;
    let mut figures = Vec::new();
    for _ in 0..scale(1, 5) {
        // The other node makes them, so that this one has never heard of the budget.
        let capped =
            crate::support::capped::limited(cluster.admin(), Whose::User, "total", cluster.group, 100_000.0).await;
        for caller in [&free, &capped] {
            knows(node, caller).await;
        }
        for (what, caller) in [("without a cap", &free), ("with a cap", &capped)] {
            let before = node.metric("lease_exchanges_total").await;
            let asked = crowd(node, caller, count, Arc::new(Barrier::new(count))).await;
            let exchanges = node.metric("lease_exchanges_total").await - before;
            println!("{what}: {:?}, {:?}, {exchanges} exchanges", tally(&asked), Times::of(&asked));
            assert_eq!(tally(&asked).passed, count, "{what}");
            figures.push(exchanges);
        }
        cluster.balance(&capped).await;
    }
    for pair in figures.chunks(2) {
        assert!(pair[0] < 1.0, "nobody is asked without a cap: {pair:?}");
        // Whoever comes while others wait for their turn asks for himself and all who have come until then.
        assert!((2.0..=count as f64 / 20.0).contains(&pair[1]), "{pair:?}");
    }
}

/// So many wait for one answer; more than can be in time on a busy machine would only measure that.
const WAITERS: usize = 150;

/// All of them must have come by then: a request waits for a second.
const IN_TIME: Duration = Duration::from_millis(600);

#[tokio::test(flavor = "multi_thread")]
async fn all_who_have_come_while_an_answer_is_under_way_are_served_by_the_next_one() {
    let redis = Redis::start();
    let way = Proxy::to(redis.port(), Duration::from_secs(2), 0).await;
    // A lease is not more than what is asked for.
    let lease = json!({"min": 0.000_001, "fraction": 0.000_001});
    let plan = Plan::over(vec![way.url()]).patience(Duration::from_secs(2)).budgets("lease", lease);
    let cluster = plan.start().await;
    let node = &cluster.nodes[0];
    for _ in 0..10 {
        let caller = cluster.limited(Whose::User, "total", 1_000.0).await;
        node.spends(&caller, MODEL, 1).await;
        cluster.balance(&caller).await;
        let start = Arc::new(Barrier::new(WAITERS + 1));
        let crowd = crowd(node, &caller, WAITERS, Arc::clone(&start));
        let release = async {
            start.wait().await;
            way.hang(true);
            let (began, before) = (Instant::now(), node.metric("lease_exchanges_total").await);
            while node.metric("in_flight").await < WAITERS as f64 && began.elapsed() < IN_TIME {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let all = node.metric("in_flight").await >= WAITERS as f64 && began.elapsed() < IN_TIME;
            way.hang(false);
            (all, began.elapsed(), before)
        };
        let (asked, (all, took, before)) = tokio::join!(crowd, release);
        let exchanges = node.metric("lease_exchanges_total").await - before;
        println!(
            "all waited {all} after {took:?}: {:?}, {:?}, {exchanges} exchanges",
            tally(&asked),
            Times::of(&asked)
        );
        if !all {
            continue;
        }
        assert_eq!(tally(&asked).passed, WAITERS);
        // The one that was under way, one for all the others, and what is told of what they cost.
        assert!((2.0..=6.0).contains(&exchanges), "{exchanges}");
        return;
    }
    panic!("the machine is too busy: never were all there within {IN_TIME:?}");
}
