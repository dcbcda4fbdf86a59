//! A node that stands still while the others go on: what it holds stays its own, and it spends nothing that is not.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::json;

use crate::harness::{MODEL, Plan};
use crate::inside;
use crate::servers::redis::Redis;
use crate::support::books::database;
use crate::support::capped::Whose;
use crate::support::{eventually, scale};
use crate::traffic::{Order, Traffic, tally};

const CAP: i64 = 5_000_000_000;

/// Stops the first node with requests in flight, or with none, lets the others spend all they can for so long, and lets
/// it go on.
async fn paused(plan: Plan, pause: Duration, in_flight: bool) {
    // The provider's answers wait for the node, however long it stands still.
    let patience = json!({"connect": "300s", "first_byte": "300s", "idle": "300s"});
    let mut cluster = plan.set("providers.0.timeouts", patience).start().await;
    let caller = cluster.limited(Whose::User, "total", 5.0).await;
    let callers = std::slice::from_ref(&caller);
    let own = Traffic::start(&[&cluster.nodes[0]], callers, 4, Order::default());
    own.passes(12).await;
    let mut asked = Vec::new();
    let own = if in_flight {
        Some(own)
    } else {
        asked.extend(own.stop().await);
        None
    };
    cluster.nodes[0].signal("STOP");
    let stopped = Instant::now();
    let pace = Order { pause: Duration::from_millis(20), ..Order::default() };
    let others = Traffic::start(&cluster.but(0), callers, 8, pace);
    // They are refused long before the end.
    tokio::time::sleep(pause.saturating_sub(stopped.elapsed())).await;
    let before = cluster.books.sums(&caller).await;
    cluster.nodes[0].signal("CONT");
    let own = own.unwrap_or_else(|| Traffic::start(&[&cluster.nodes[0]], callers, 4, pace));
    own.advances(20).await;
    others.advances(20).await;
    for traffic in [own, others] {
        asked.extend(traffic.stop().await);
    }
    let ended = tally(&asked);
    let sums = cluster.balance(&caller).await;
    println!(
        "paused for {pause:?}, in flight {in_flight}: {} before it went on, then {sums:?}, {ended:?}",
        before.nanos
    );
    assert!(sums.nanos <= CAP, "{sums:?}");
    assert!(sums.nanos >= CAP * 9 / 10, "{sums:?}");
    assert!(before.nanos >= CAP * 6 / 10, "the others could spend meanwhile: {before:?}");
    assert!(ended.refused > 0, "{ended:?}");
    assert_eq!((sums.rows, ended.lost), (ended.passed, 0), "{ended:?}");
    assert_eq!(cluster.summed(&caller).await, sums.nanos);
    assert!(cluster.nodes[0].is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_a_node_that_stood_still_with_requests_in_flight_passes_no_cap() {
    let redis = Redis::start();
    paused(Plan::new(3, &redis.url()), Duration::from_secs(scale(8, 60) as u64), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stood_still_for_longer_than_it_may_live_spends_nothing_that_it_kept() {
    let redis = Redis::start();
    paused(Plan::new(3, &redis.url()).short_lived(), Duration::from_secs(7), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stands_still_in_the_middle_of_a_write_does_not_keep_the_others_from_writing() {
    let redis = Redis::start();
    let cluster = Plan::new(2, &redis.url()).start().await;
    let caller = cluster.limited(Whose::User, "total", 1_000.0).await;
    let db = database(&cluster.nodes[0]).await;
    // It has written everything but how far it is when it is stopped.
    let inc = inside::life(&db, "node 1").await.inc;
    let lock = db.begin().await.unwrap();
    lock.execute_unprepared(&format!("SELECT FROM gateway_nodes WHERE inc = {inc} FOR UPDATE")).await.unwrap();
    cluster.nodes[1].spends(&caller, MODEL, 50).await;
    let waits = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%applied_lsn%'";
    let waits = sea_orm::Statement::from_string(db.get_database_backend(), waits);
    eventually("it waits", async || db.query_one_raw(waits.clone()).await.unwrap().map(drop)).await;
    cluster.nodes[1].signal("STOP");
    lock.rollback().await.unwrap();
    // The sums that it has locked are those of the same user.
    let stopped = Instant::now();
    cluster.nodes[0].spends(&caller, MODEL, 50).await;
    eventually("the other one writes", async || (cluster.books.sums(&caller).await.rows == 1).then_some(())).await;
    println!("written {:?} after the first node was stopped", stopped.elapsed());
    cluster.nodes[1].signal("CONT");
    let sums = cluster.balance(&caller).await;
    assert_eq!(sums.rows, 2, "what it could not write is written when it goes on: {sums:?}");
    cluster.audit();
}
