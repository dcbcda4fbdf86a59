//! Requests per minute and concurrent requests hold over all nodes, and refuse nobody for whom there is room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::harness::{Cluster, OTHER_MODEL, Plan};
use crate::servers::redis::Redis;
use crate::streams::Streams;
use crate::support::admin::Caller;
use crate::support::{Api, Gateway, eventually, scale, spending};
use crate::traffic::{Order, Times, Traffic, tally};

/// So long the provider takes.
const ANSWER: Duration = Duration::from_millis(30);

/// A place that was given back must be free for others within this time on a machine that does nothing else.
const FREE_AFTER: Duration = Duration::from_millis(10);

/// On a machine that does other things, once in so many times it may take some more, but never so much.
const ONE_IN: usize = 50;
const JITTER: Duration = Duration::from_millis(100);

/// Of nodes that are short-lived.
const DEAD_AFTER: Duration = Duration::from_secs(5);

const PLENTY: Order = Order { model: OTHER_MODEL, max_tokens: 100, pause: Duration::ZERO };

async fn ask(node: &Gateway, caller: &Caller) -> u16 {
    let reply = node.spend(caller, OTHER_MODEL, 5).await;
    match reply.head.status {
        200 => {}
        _ => Api::Chat.refuses(&reply, 429, "rate_limit_exceeded"),
    }
    reply.head.status
}

/// Somebody new with these fields of his user or of his key, whom every node knows.
async fn caller(cluster: &Cluster, of_key: bool, fields: &Value) -> Caller {
    let (user, key) = if of_key { (json!({}), fields.clone()) } else { (fields.clone(), json!({})) };
    cluster.admin().caller(user, key).await
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_per_minute_are_exact_over_three_nodes() {
    let redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).start().await;
    for rpm in [1, 2, 5] {
        for of_key in [false, true] {
            // One after the other, on one node after the other.
            let slow = caller(&cluster, of_key, &json!({"rpm": rpm})).await;
            let mut statuses = Vec::new();
            for turn in 0..rpm + 4 {
                statuses.push(ask(&cluster.nodes[turn % 3], &slow).await);
            }
            println!("rpm {rpm} of a key {of_key}, one after the other: {statuses:?}");
            let expected: Vec<_> = (0..rpm + 4).map(|turn| if turn < rpm { 200 } else { 429 }).collect();
            assert_eq!(statuses, expected, "rpm {rpm} of a key: {of_key}");
            // All at once.
            let fast = caller(&cluster, of_key, &json!({"rpm": rpm})).await;
            let asks = (0..30).map(|turn| ask(&cluster.nodes[turn % 3], &fast));
            let passed = futures::future::join_all(asks).await.into_iter().filter(|status| *status == 200).count();
            println!("rpm {rpm} of a key {of_key}, 30 at once: {passed} passed");
            assert_eq!(passed, rpm, "of a key: {of_key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_refused_for_money_do_not_count_for_the_minute_of_any_node() {
    let redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).start().await;
    let poor = caller(&cluster, false, &json!({"rpm": 3, "limits": {"total": {"usd": 0.001}}})).await;
    for turn in 0..6 {
        cluster.nodes[turn % 3].spends_too_much(&poor, OTHER_MODEL, 50).await;
    }
    let rich = json!({"limits": {"total": {"usd": 10}}});
    cluster.admin().patch(&format!("/users/{}", poor.user_id), &rich).await;
    cluster.agree(&cluster.all(), ("user", poor.user_id)).await;
    let mut statuses = Vec::new();
    for turn in 0..5 {
        statuses.push(ask(&cluster.nodes[turn % 3], &poor).await);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
}

/// How often a place that had been given back for so long was refused, of how many times.
async fn turns(cluster: &Cluster, caller: &Caller) -> (usize, usize) {
    let (mut late, mut slowest) = (0, Duration::ZERO);
    let turns = scale(60, 1_000);
    for turn in 0..turns {
        let freed = Instant::now();
        tokio::time::sleep(FREE_AFTER).await;
        let mut refusals = 0;
        while ask(&cluster.nodes[turn % 3], caller).await != 200 {
            refusals += 1;
            slowest = slowest.max(freed.elapsed());
            assert!(freed.elapsed() < FREE_AFTER + JITTER, "turn {turn}: refused {:?} after", freed.elapsed());
        }
        late += usize::from(refusals > 0);
    }
    println!("{late} of {turns} were refused {FREE_AFTER:?} after the release, at most {slowest:?}");
    (late, turns)
}

#[tokio::test(flavor = "multi_thread")]
async fn places_for_three_nodes_are_never_taken_twice_and_free_when_they_were_given_back() {
    let redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).start().await;
    for (places, of_key) in [(1, false), (1, true), (2, false), (5, true)] {
        println!("{places} places, of a key {of_key}");
        let caller = caller(&cluster, of_key, &json!({"maxConcurrentRequests": places})).await;
        // All but one are taken, on one node after the other.
        let mut streams = Streams::of(&cluster.provider, |answer| answer);
        for turn in 1..places {
            streams.open(&cluster.nodes[turn % 3], &caller, OTHER_MODEL).await;
        }
        let (late, turns) = turns(&cluster, &caller).await;
        assert!(late * ONE_IN <= turns, "{late} of {turns} were refused although there was a place");
        streams.finish().await;
        crowd(&cluster, caller, places).await;
    }
}

/// All at once: no more of them are at the provider at the same moment than there are places, and not fewer.
async fn crowd(cluster: &Cluster, caller: Caller, places: usize) {
    let arrivals: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = Arc::clone(&arrivals);
    cluster.provider.decide(move |request| {
        seen.lock().push(Instant::now());
        spending::answer(request).after(ANSWER)
    });
    let crowd = Traffic::start(&cluster.all(), &[caller], 9, Order { pause: FREE_AFTER, ..PLENTY });
    crowd.passes(scale(20, 500) * places).await;
    let asked = crowd.stop().await;
    let arrivals = arrivals.lock();
    // So long after a request the one comes that has to wait for its place, and so long the last that has not.
    let closest = |by: usize| arrivals.windows(by + 1).map(|among| among[by] - among[0]).min().unwrap();
    println!(
        "{places} places: {:?}, {:?}, the closest arrivals {:?}",
        tally(&asked),
        Times::of(&asked),
        closest(places)
    );
    assert!(closest(places) >= ANSWER, "{} at once: {:?}", places + 1, closest(places));
    assert!(places == 1 || closest(places - 1) < ANSWER, "never {places} at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_place_of_a_node_that_was_killed_is_free_when_the_node_counts_as_dead() {
    let redis = Redis::start();
    let mut cluster = Plan::new(3, &redis.url()).short_lived().start().await;
    let caller = caller(&cluster, false, &json!({"maxConcurrentRequests": 1})).await;
    let mut streams = Streams::of(&cluster.provider, |answer| answer);
    streams.open(&cluster.nodes[0], &caller, OTHER_MODEL).await;
    for node in cluster.but(0) {
        assert_eq!(ask(node, &caller).await, 429, "it is taken");
    }
    cluster.nodes[0].kill();
    let killed = Instant::now();
    assert_eq!(ask(&cluster.nodes[1], &caller).await, 429, "nobody knows yet");
    eventually("the place is free", async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        (ask(&cluster.nodes[1], &caller).await == 200).then_some(())
    })
    .await;
    let took = killed.elapsed();
    println!("free {took:?} after the kill");
    // It was last heard of at most a third of that time before it died.
    assert!((DEAD_AFTER * 2 / 3..DEAD_AFTER + Duration::from_secs(1)).contains(&took), "{took:?}");
    eventually("on the other node too", async || (ask(&cluster.nodes[2], &caller).await == 200).then_some(())).await;
}
