//! Redis forgets everything, again and again and under load: the ledger knows, and each node knows what it holds.

use std::time::Duration;

use crate::harness::Plan;
use crate::servers::redis::Redis;
use crate::support::capped::Whose;
use crate::support::scale;
use crate::traffic::{Order, Traffic, tally};

const CAP: i64 = 6_000_000_000;

/// What else happens to a node while Redis forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum And {
    Nothing,
    Paused,
    Killed,
}

async fn flushed(and: And) {
    let redis = Redis::start();
    // Long enough for whatever stands still here to come back in time.
    let plan = Plan::new(3, &redis.url()).budgets("lease", serde_json::json!({"life": "2s", "dead_after": "12s"}));
    let mut cluster = plan.start().await;
    let callers = [
        cluster.limited(Whose::User, "total", 6.0).await,
        cluster.limited(Whose::UserGroupForGroup, "5h", 1_000.0).await,
    ];
    let pace = Order { pause: Duration::from_millis(10), ..Order::default() };
    let mut lost = 0;
    let mut asked = Vec::new();
    let others = Traffic::start(&cluster.but(2), &callers, 3, pace);
    for _ in 0..scale(3, 20) {
        let own = Traffic::start(&[&cluster.nodes[2]], &callers, 2, pace);
        own.passes(4).await;
        others.passes(10).await;
        match and {
            And::Nothing => {}
            And::Paused => cluster.nodes[2].signal("STOP"),
            And::Killed => cluster.nodes[2].kill(),
        }
        redis.call::<()>(&["FLUSHALL"]).await;
        others.advances(10).await;
        // In the middle of the seeding.
        redis.call::<()>(&["FLUSHALL"]).await;
        match and {
            And::Nothing => {}
            And::Paused => {
                tokio::time::sleep(Duration::from_secs(2)).await;
                cluster.nodes[2].signal("CONT");
            }
            And::Killed => {
                cluster.nodes[2].relaunch();
                cluster.nodes[2].ready().await;
            }
        }
        others.passes(10).await;
        own.passes(4).await;
        asked.extend(own.stop().await);
    }
    // To the cap, whatever is left.
    others.passes(60).await;
    asked.extend(others.stop().await);
    let rest = Traffic::start(&cluster.all(), &callers[..1], 8, Order::default());
    rest.advances(300).await;
    asked.extend(rest.stop().await);
    let ended = tally(&asked);
    lost += ended.lost;
    let mut rows = 0;
    for caller in &callers {
        let sums = cluster.balance(caller).await;
        println!("{and:?}: {sums:?}");
        rows += sums.rows;
        assert_eq!(cluster.summed(caller).await, sums.nanos);
    }
    println!("{and:?}: {ended:?}");
    let capped = cluster.books.sums(&callers[0]).await;
    assert!(capped.nanos <= CAP, "{capped:?}");
    assert!(capped.nanos >= CAP * 9 / 10, "{capped:?}");
    // Each request that a killed node had taken has its row as well.
    assert!((ended.passed..=ended.passed + lost).contains(&rows), "{rows} rows: {ended:?}");
    assert!(and == And::Killed || lost == 0, "{ended:?}");
    cluster.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_redis_is_flushed_under_load_and_no_cap_is_passed() {
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
