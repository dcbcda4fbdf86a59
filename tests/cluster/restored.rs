//! Redis comes back with what it knew some time ago: what was told since is told again, once.

use std::time::Duration;

use crate::harness::Plan;
use crate::servers::redis::Redis;
use crate::support::capped::Whose;
use crate::support::scale;
use crate::traffic::{Order, Traffic, tally};

#[tokio::test(flavor = "multi_thread")]
async fn soak_an_old_dump_of_redis_is_restored_and_nothing_is_lost_or_doubled() {
    let mut redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).start().await;
    let callers = [
        cluster.limited(Whose::User, "total", 1_000.0).await,
        cluster.limited(Whose::KeyForGroup, "5h", 1_000.0).await,
        cluster.limited(Whose::UserForGroup, "daily", 3.0).await,
    ];
    let pace = Order { pause: Duration::from_millis(5), ..Order::default() };
    let traffic = Traffic::start(&cluster.all(), &callers, 3, pace);
    traffic.passes(30).await;
    redis.call::<()>(&["SAVE"]).await;
    let dump = redis.dump();
    assert!(dump.exists());
    tokio::time::sleep(Duration::from_secs(scale(3, 30) as u64)).await;
    traffic.passes(30).await;
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
    println!("{ended:?}, drift {} USD", cluster.metric("budget_drift_usd").await);
    assert_eq!((rows, ended.lost), (ended.passed, 0), "{ended:?}");
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
