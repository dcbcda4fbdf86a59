//! Redis comes back with what it knew some time ago: what was told since is told again, once.

use std::time::Duration;

use tollgate::limit::{Axis, BudgetId, Scope};

use crate::harness::{MODEL, Plan};
use crate::servers::redis::Redis;
use crate::support::capped::Whose;
use crate::support::{eventually, scale};
use crate::traffic::{Order, Traffic, tally};
use crate::witness::Witness;

#[tokio::test(flavor = "multi_thread")]
async fn soak_an_old_dump_of_redis_is_restored_and_nothing_is_lost_or_charged_twice() {
    const CAP: i64 = 6_000_000_000;
    let mut redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).start().await;
    let callers = [
        cluster.limited(Whose::User, "total", 1_000.0).await,
        cluster.limited(Whose::KeyForGroup, "5h", 1_000.0).await,
        cluster.limited(Whose::UserForGroup, "daily", 6.0).await,
    ];
    let capped = BudgetId { axis: Axis::User, owner: callers[2].user_id, scope: Scope::ModelGroup(cluster.group) };
    let witness = Witness::of(&redis.url());
    let pace = Order { pause: Duration::from_millis(5), ..Order::default() };
    let traffic = Traffic::start(&cluster.all(), &callers, 3, pace);
    traffic.passes(30).await;
    let granted = witness.granted(capped).await;
    redis.call::<()>(&["SAVE"]).await;
    let dump = redis.dump();
    assert!(dump.exists());
    tokio::time::sleep(Duration::from_secs(scale(3, 30) as u64)).await;
    let before = eventually("the cap is used up", async || {
        Some(cluster.books.sums(&callers[2]).await).filter(|sums| sums.nanos > CAP * 9 / 10)
    })
    .await;
    let resent = cluster.metric("lease_exchanges_total{result=\"resend\"").await;
    redis.stop();
    redis.restart();
    let info: String = redis.call(&["INFO", "persistence"]).await;
    let loaded = info.lines().find_map(|line| line.strip_prefix("rdb_last_load_keys_loaded:")).unwrap();
    assert!(loaded.trim() != "0", "it knows what it knew then: {info}");
    traffic.passes(60).await;
    let ended = tally(&traffic.stop().await);
    let mut rows = 0;
    for caller in &callers {
        let sums = cluster.balance(caller).await;
        println!("{sums:?}");
        rows += sums.rows;
    }
    println!("{ended:?}");
    assert_eq!((rows, ended.lost), (ended.passed, 0), "{ended:?}");
    let resent = cluster.metric("lease_exchanges_total{result=\"resend\"").await - resent;
    assert!(resent > 0.0, "Redis was told again what it did not know any more");
    let drift = cluster.metric("budget_drift_usd").await;
    assert!(drift.abs() < f64::EPSILON, "and nobody had to correct it: {drift} USD");
    // Whatever was granted since the dump was granted within the cap, and can be granted once more: no more than that.
    let sums = cluster.books.sums(&callers[2]).await;
    println!(
        "the cap {CAP}: {granted} were granted when the dump was made, {} were written before it was restored, {} in \
         the end; it can be passed by {}, and was by {}; {resent} answers said where Redis was",
        before.nanos,
        sums.nanos,
        CAP - granted,
        sums.nanos - CAP,
    );
    assert!(granted < CAP / 2, "most of the cap was used up since the dump");
    assert!(sums.nanos <= CAP + (CAP - granted), "{sums:?}");
    for node in cluster.all() {
        node.spends_too_much(&callers[2], MODEL, 50).await;
    }
    cluster.audit();
    // Nothing that was held before is held for ever.
    let after = Traffic::start(&cluster.all(), &callers[..2], 3, pace);
    after.passes(40).await;
    let after = tally(&after.stop().await);
    assert_eq!((after.refused, after.unavailable, after.lost), (0, 0, 0), "{after:?}");
    for caller in &callers {
        cluster.balance(caller).await;
    }
}
