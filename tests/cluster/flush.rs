//! Redis forgets everything, again and again while caps are being reached: the ledger knows what was written, and each node
//! what it holds.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseTransaction, TransactionTrait};
use serde_json::json;

use crate::harness::{Cluster, Plan};
use crate::servers::redis::Redis;
use crate::support::admin::Caller;
use crate::support::books::database;
use crate::support::capped::Whose;
use crate::support::{Gateway, scale, spending};
use crate::traffic::{Asked, Order, Tally, Traffic, tally};

/// Some sixty requests.
const CAP: i64 = 3_000_000_000;

/// How long a node that has trouble is left alone.
const TROUBLE: Duration = Duration::from_secs(2);

/// How long the ledger is not written.
const LAG: Duration = Duration::from_secs(10);

/// What else happens while Redis forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum And {
    Nothing,
    /// A node stands still, with requests in flight.
    Paused,
    /// A node dies, with requests in flight.
    Killed,
    /// Nothing can be written into the ledger.
    Lags,
}

/// A ledger that can be read and not written, until it is committed.
async fn lock(node: &Gateway) -> DatabaseTransaction {
    let lock = database(node).await.begin().await.unwrap();
    lock.execute_unprepared("LOCK TABLE usage_ledger IN EXCLUSIVE MODE").await.unwrap();
    lock
}

/// Flushes while two nodes do what they can, until it is over.
async fn flush_for(redis: &Redis, time: Duration) {
    let flushing = async {
        loop {
            redis.call::<()>(&["FLUSHALL"]).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let _ = tokio::time::timeout(time, flushing).await;
}

/// New callers come near their caps on all nodes; then there is trouble, and the caps are reached in the middle of it or
/// just after it, while Redis goes on forgetting.
async fn round(redis: &Redis, cluster: &mut Cluster, and: And) -> (Vec<Caller>, Vec<Asked>) {
    let callers = vec![
        cluster.limited(Whose::User, "total", 3.0).await,
        cluster.limited(Whose::UserGroupForGroup, "5h", 3.0).await,
    ];
    let pace = Order { pause: Duration::from_millis(10), ..Order::default() };
    let others = Traffic::start(&cluster.but(2), &callers, 3, pace);
    // Always in flight, so that what is set aside there is missed if it is forgotten.
    let own = Traffic::start(&[&cluster.nodes[2]], &callers, 3, Order::default());
    own.passes(12).await;
    others.passes(12).await;
    match and {
        And::Nothing => flush_for(redis, TROUBLE).await,
        And::Paused => {
            cluster.nodes[2].signal("STOP");
            flush_for(redis, TROUBLE).await;
            cluster.nodes[2].signal("CONT");
        }
        And::Killed => {
            cluster.nodes[2].kill();
            flush_for(redis, TROUBLE).await;
            cluster.nodes[2].relaunch();
            cluster.nodes[2].ready().await;
        }
        And::Lags => {
            let lock = lock(&cluster.nodes[0]).await;
            flush_for(redis, LAG).await;
            lock.commit().await.unwrap();
        }
    }
    // The caps are reached, and nobody is let past them after the next flush.
    for _ in 0..3 {
        others.is_refused(12).await;
        own.is_refused(6).await;
        redis.call::<()>(&["FLUSHALL"]).await;
    }
    let mut asked = own.stop().await;
    asked.extend(others.stop().await);
    (callers, asked)
}

async fn flushed(and: And) {
    let redis = Redis::start();
    // Long enough for whatever stands still here to come back in time.
    let plan = Plan::new(3, &redis.url()).budgets("lease", json!({"life": "2s", "dead_after": "12s"}));
    let mut cluster = plan.start().await;
    cluster.provider.decide(|request| spending::answer(request).after(Duration::from_millis(60)));
    let rounds = if and == And::Lags { scale(1, 5) } else { scale(2, 20) };
    let (mut rows, mut ended) = (0, Tally::default());
    for round_number in 0..rounds {
        let (callers, asked) = round(&redis, &mut cluster, and).await;
        let found = tally(&asked);
        println!("{and:?}, round {round_number}: {found:?}");
        ended = ended.and(found);
        for caller in &callers {
            let sums = cluster.balance(caller).await;
            println!("{and:?}: {sums:?}");
            rows += sums.rows;
            assert_eq!(cluster.summed(caller).await, sums.nanos);
            assert!(sums.nanos <= CAP, "{sums:?}");
            assert!(sums.nanos >= CAP * 9 / 10, "the cap was never reached: {sums:?}");
        }
    }
    // Each request that a killed node had taken has its row as well.
    assert!((ended.passed..=ended.passed + ended.lost).contains(&rows), "{rows} rows: {ended:?}");
    assert!(if and == And::Killed { ended.lost > 0 } else { ended.lost == 0 }, "{ended:?}");
    cluster.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_redis_is_flushed_while_caps_are_reached_and_none_is_passed() {
    flushed(And::Nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_redis_is_flushed_while_a_node_stands_still_and_no_cap_is_passed() {
    flushed(And::Paused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_redis_is_flushed_when_a_node_has_died_and_no_cap_is_passed() {
    flushed(And::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_redis_is_flushed_while_the_ledger_is_ten_seconds_behind_and_no_cap_is_passed() {
    flushed(And::Lags).await;
}
