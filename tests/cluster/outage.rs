//! Redis dies under load, or hangs, and comes back: `open` lets everybody through, `closed` nobody who would have to be
//! paid for, and afterwards nothing is counted twice and nothing is blocked.

use std::time::{Duration, Instant};

use crate::harness::{MODEL, OTHER_MODEL, Plan};
use crate::servers::redis::Redis;
use crate::support::capped::{self, Whose};
use crate::support::{eventually, scale};
use crate::traffic::{Asked, Order, Times, Traffic, tally};

/// How Redis goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Dies,
    Hangs,
}

/// How long a node waits for an answer; what half of the requests, and the slowest, may take longer than before. The slowest has to find out: two answers that
/// do not come.
const PATIENCE: Duration = Duration::from_millis(50);
const ADDED_TO_HALF: Duration = Duration::from_millis(30);
/// A refusal takes no more than this.
const REFUSED_WITHIN: Duration = Duration::from_millis(50);
const ADDED_AT_MOST: Duration = Duration::from_millis(400);

fn between(asked: &[Asked], from: Instant, to: Instant) -> Option<Times> {
    let during: Vec<_> = asked.iter().filter(|asked| (from..to).contains(&asked.began)).collect();
    (!during.is_empty()).then(|| Times::of(during))
}

async fn open_lets_through(end: End) {
    let mut redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).budgets("on_authority_failure", "open").patience(PATIENCE).start().await;
    let callers = [
        cluster.limited(Whose::User, "total", 1_000.0).await,
        cluster.limited(Whose::Key, "daily", 1_000.0).await,
        cluster.limited(Whose::UserForGroup, "5h", 1_000.0).await,
    ];
    let away = Duration::from_secs(scale(3, 60) as u64);
    let pace = Order { pause: Duration::from_millis(10), ..Order::default() };
    let traffic = Traffic::start(&cluster.all(), &callers, 2, pace);
    traffic.passes(100).await;
    let gone = Instant::now();
    match end {
        End::Dies => redis.stop(),
        End::Hangs => redis.pause(),
    }
    tokio::time::sleep(away).await;
    let back = Instant::now();
    match end {
        End::Dies => redis.restart(),
        End::Hangs => redis.resume(),
    }
    traffic.passes(100).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = traffic.stop().await;
    let ended = tally(&asked);
    let moment = Duration::from_millis(500);
    let before = between(&asked, asked[0].began, gone - moment).unwrap_or_else(|| Times::of(&asked[..20]));
    let at_death = between(&asked, gone - Duration::from_millis(60), gone + moment).unwrap();
    let during = between(&asked, gone + moment, back).unwrap();
    let after = between(&asked, back, Instant::now()).unwrap();
    println!("{end:?}: {ended:?}");
    println!("before   {before:?}\nat death {at_death:?}\naway     {during:?}\nback     {after:?}");
    println!("unenforced {}", cluster.metric("unenforced_violations_total").await);
    assert_eq!(ended.passed, asked.len(), "no request fails: {ended:?}");
    for (when, times) in [("at death", at_death), ("away", during), ("back", after)] {
        assert!(times.p50.saturating_sub(before.p50) < ADDED_TO_HALF, "{when}: {times:?}");
        assert!(times.max.saturating_sub(before.p50) < ADDED_AT_MOST, "{when}: {times:?}");
    }
    let mut rows = 0;
    for caller in &callers {
        rows += cluster.balance(caller).await.rows;
    }
    assert_eq!(rows, ended.passed);
    cluster.audit();
    for caller in &callers {
        assert_eq!(capped::ask(&cluster.all(), caller, MODEL, Some(1_000), 30).await, 30, "nothing stays blocked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_redis_dies_under_load_and_open_lets_every_request_through_without_delay() {
    open_lets_through(End::Dies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_redis_hangs_under_load_and_open_lets_every_request_through() {
    open_lets_through(End::Hangs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_closed_refuses_at_once_while_redis_is_away_and_goes_on_when_it_is_back() {
    let mut redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).patience(PATIENCE).start().await;
    let callers = [
        // Small enough for what a node holds to be spent in a moment, and never all of it.
        cluster.limited(Whose::User, "total", 40.0).await,
        cluster.limited(Whose::UserGroupForGroup, "daily", 40.0).await,
    ];
    let free = cluster.admin().caller(serde_json::json!({}), serde_json::json!({})).await;
    for node in cluster.all() {
        assert_eq!(node.spend(&free, OTHER_MODEL, 50).await.head.status, 200);
    }
    let pace = Order { pause: Duration::from_millis(10), ..Order::default() };
    let traffic = Traffic::start(&cluster.all(), &callers, 3, pace);
    traffic.passes(30).await;
    redis.stop();
    let gone = Instant::now();
    // What is held is spent first.
    for node in cluster.all() {
        for caller in &callers {
            eventually("the lease is spent", async || {
                let reply = node.spend(caller, MODEL, 50).await;
                (reply.head.status == 503).then_some(())
            })
            .await;
        }
    }
    let spent_after = gone.elapsed();
    let from = Instant::now();
    traffic.advances(100).await;
    for node in cluster.all() {
        let reply = node.spend(&free, OTHER_MODEL, 50).await;
        assert_eq!(reply.head.status, 200, "whoever has no budget needs no authority");
    }
    let to = Instant::now();
    redis.restart();
    let restarted = Instant::now();
    traffic.passes(60).await;
    let asked = traffic.stop().await;
    let ended = tally(&asked);
    let refused: Vec<_> = asked.iter().filter(|asked| (from..to).contains(&asked.began)).cloned().collect();
    let times = Times::of(&refused);
    let first = asked.iter().find(|asked| asked.began > restarted && matches!(asked.end, Some((200, _)))).unwrap();
    println!(
        "leases were spent after {spent_after:?}; refusals {times:?}; {ended:?}; the first passed {:?} after the return",
        first.began - restarted
    );
    assert!(refused.iter().all(|asked| matches!(&asked.end, Some((503, _)))), "{:?}", tally(&refused));
    assert!(times.p50 < REFUSED_WITHIN && times.p99 < REFUSED_WITHIN * 6, "{times:?}");
    let mut rows = 0;
    for caller in &callers {
        rows += cluster.balance(caller).await.rows;
    }
    assert!(rows >= ended.passed && ended.lost == 0, "{rows} rows, {ended:?}");
    for caller in &callers {
        assert_eq!(capped::ask(&cluster.all(), caller, MODEL, Some(1_000), 30).await, 30, "nothing stays blocked");
    }
    cluster.audit();
}
