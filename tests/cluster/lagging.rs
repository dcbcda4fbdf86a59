//! Redis dies, and a replica that has not heard everything becomes the master: what was told since is told again, and no
//! more is granted twice than was granted since.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{MODEL, PATIENCE, Plan};
use crate::net::Proxy;
use crate::servers::redis::Redis;
use crate::support::capped::{self, Whose};
use crate::support::{eventually, scale};
use crate::traffic::{Order, Traffic, tally};
use crate::witness::{Witness, of_user};

const CAP: i64 = 2_000_000_000;

/// A replica that has heard all that its master knows.
async fn replica_of(master: &Redis) -> Redis {
    let replica = Redis::start_with(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
    eventually("the replica hears its master", async || {
        let info: String = replica.call(&["INFO", "replication"]).await;
        info.contains("master_link_status:up").then_some(())
    })
    .await;
    replica
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_a_replica_that_lags_becomes_the_master_and_grants_twice_what_was_granted_since_at_most() {
    for turn in 0..scale(2, 10) {
        failover(turn).await;
    }
}

async fn failover(turn: usize) {
    let mut master = Redis::start();
    let replica = replica_of(&master).await;
    let mut ways = Vec::new();
    for n in 0..3 {
        ways.push(Proxy::to(master.port(), PATIENCE, n).await);
    }
    let cluster = Plan::over(ways.iter().map(Proxy::url).collect()).start().await;
    let rich = [
        cluster.limited(Whose::User, "total", 1_000.0).await,
        cluster.limited(Whose::KeyForGroup, "5h", 1_000.0).await,
        cluster.limited(Whose::UserGroupForGroup, "daily", 1_000.0).await,
    ];
    let poor = cluster.limited(Whose::User, "total", CAP as f64 / 1e9).await;
    let (budget, known, successor) = (of_user(&poor), Witness::of(&master.url()), Witness::of(&replica.url()));
    let pace = Order { pause: Duration::from_millis(10), ..Order::default() };
    let traffic = Traffic::start(&cluster.all(), &rich, 2, pace);
    assert_eq!(capped::ask(&cluster.all(), &poor, MODEL, Some(1_000), 6).await, 6);
    traffic.passes(30).await;
    // As if the way between them was cut: it hears nothing more.
    replica.call::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    let cut = Instant::now();
    let before = successor.granted(budget).await;
    assert!(before > 0, "it knows the budget");
    // Meanwhile it is spent: all of it, or half.
    let times = if turn.is_multiple_of(2) { 60 } else { 15 };
    let mut passed = 6 + capped::ask(&cluster.all(), &poor, MODEL, Some(1_000), times).await;
    tokio::time::sleep(Duration::from_millis(1_500).saturating_sub(cut.elapsed())).await;
    for way in &ways {
        way.close(true);
    }
    let lag = cut.elapsed();
    // Nothing is granted any more.
    let twice = known.granted(budget).await - before;
    let forgotten = known.audit(budget).await.unwrap().windows[0].spent;
    master.stop();
    let died = Instant::now();
    for way in &ways {
        way.lead_to(replica.port());
        way.close(false);
    }
    passed += cluster.knows_what_is_left(&poor, MODEL).await;
    let back = died.elapsed();
    traffic.passes(60).await;
    // At first a node answers from what it has in hand or last heard; who then asks the new master may be told to try again.
    for _ in 0..3 {
        passed += cluster.knows_what_is_left(&poor, MODEL).await;
    }
    let ended = tally(&traffic.stop().await);
    let sums = cluster.balance(&poor).await;
    let over = sums.nanos - CAP;
    println!(
        "cut off for {lag:?} while {twice} was granted and {forgotten} was known as spent; asked again after {back:?}; \
         {sums:?} of {CAP}: {over} too much; others: {ended:?}"
    );
    assert_eq!(sums.rows, passed);
    assert!(twice > 300_000_000, "this is about what is granted meanwhile: {twice}");
    assert!(over <= twice, "{over} of {twice}");
    assert!(sums.nanos >= CAP * 9 / 10, "what is left can be had: {sums:?}");
    assert_eq!((ended.refused, ended.lost), (0, 0), "{ended:?}");
    let mut rows = 0;
    for caller in &rich {
        rows += cluster.balance(caller).await.rows;
    }
    assert_eq!(rows, ended.passed);
    cluster.audit();
    // Nothing stays blocked.
    let more = json!({"limits": {"total": {"usd": (sums.nanos + 1_000_000_000) as f64 / 1e9}}});
    cluster.admin().patch(&format!("/users/{}", poor.user_id), &more).await;
    cluster.agree(&cluster.all(), ("user", poor.user_id)).await;
    let more = capped::ask(&cluster.all(), &poor, MODEL, Some(1_000), 40).await;
    assert!((18..=20).contains(&more), "{more} more passed");
    let after = Traffic::start(&cluster.all(), &rich, 3, pace);
    after.passes(40).await;
    let after = tally(&after.stop().await);
    assert_eq!((after.refused, after.unavailable, after.lost), (0, 0, 0), "{after:?}");
    for caller in &rich {
        cluster.balance(caller).await;
    }
}
