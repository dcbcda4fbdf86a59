//! A node that stands still while the others go on: what it holds stays its own, and it spends nothing that is not.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::json;

use crate::harness::{Cluster, MODEL, PATIENCE, Plan};
use crate::inside;
use crate::net::Proxy;
use crate::servers::redis::Redis;
use crate::support::books::database;
use crate::support::capped::{self, Whose};
use crate::support::{Api, eventually, scale};
use crate::traffic::{Order, Traffic, tally};

const CAP: i64 = 5_000_000_000;

/// What a request costs.
const COST: i64 = 50_000_000;

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
    let before = others.passed_so_far();
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
        "paused for {pause:?}, in flight {in_flight}: {before} passed before it went on, then {sums:?}, {ended:?}"
    );
    assert!(sums.nanos <= CAP, "{sums:?}");
    assert!(sums.nanos >= CAP * 9 / 10, "{sums:?}");
    assert!(before as i64 * COST >= CAP * 6 / 10, "the others could spend meanwhile: {before}");
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
async fn a_node_that_stood_still_for_longer_than_it_may_live_goes_on_and_passes_no_cap() {
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

/// Stops a node that keeps a lease, and lets it go on when it cannot ask anybody; how many of its next requests pass.
async fn spent_alone_after(pause: Duration, cluster: &Cluster, way: &Proxy) -> usize {
    let node = &cluster.nodes[0];
    let caller = cluster.limited(Whose::User, "total", 100.0).await;
    let passed = capped::ask_for(&[node], &caller, MODEL, Some(1_000), 5, 1).await;
    assert_eq!(passed, 5);
    node.signal("STOP");
    way.close(true);
    tokio::time::sleep(pause).await;
    node.signal("CONT");
    let mut spent = 0;
    for _ in 0..10 {
        let reply = node.spend(&caller, MODEL, 50).await;
        match reply.head.status {
            200 => spent += 1,
            _ => Api::Chat.refuses(&reply, 503, "budget_unavailable"),
        }
    }
    way.close(false);
    eventually("it can ask again", async || (node.spend(&caller, MODEL, 50).await.head.status == 200).then_some(()))
        .await;
    cluster.balance(&caller).await;
    println!("{spent} of 10 passed after {pause:?}");
    spent
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_kept_is_spent_without_asking_only_by_one_that_cannot_be_taken_for_dead() {
    let redis = Redis::start();
    let way = Proxy::to(redis.port(), PATIENCE, 1).await;
    let plan = Plan::over(vec![way.url(), redis.url()]).short_lived();
    let cluster = plan.start().await;
    assert_eq!(spent_alone_after(Duration::from_millis(200), &cluster, &way).await, 10, "it is its own");
    assert_eq!(spent_alone_after(Duration::from_secs(5), &cluster, &way).await, 0, "others may think it dead");
}
