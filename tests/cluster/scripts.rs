//! Redis forgets its scripts, which is no reason to refuse anybody.

use std::time::{Duration, Instant};

use crate::harness::Plan;
use crate::servers::redis::Redis;
use crate::support::capped::Whose;
use crate::support::scale;
use crate::traffic::{Order, Times, Traffic, tally};

#[tokio::test(flavor = "multi_thread")]
async fn scripts_are_flushed_under_load_and_nobody_notices() {
    let redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).start().await;
    let callers =
        [cluster.limited(Whose::User, "total", 4.0).await, cluster.limited(Whose::Key, "daily", 1_000.0).await];
    let traffic = Traffic::start(&cluster.all(), &callers, 4, Order::default());
    traffic.passes(20).await;
    let (began, mut flushes) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(scale(3, 30) as u64) {
        redis.call::<()>(&["SCRIPT", "FLUSH", "SYNC"]).await;
        flushes += 1;
        traffic.advances(5).await;
    }
    let asked = traffic.stop().await;
    let ended = tally(&asked);
    println!("{flushes} flushes of scripts: {ended:?}, {:?}", Times::of(&asked));
    assert_eq!((ended.unavailable, ended.lost), (0, 0), "{ended:?}");
    let mut rows = 0;
    for caller in &callers {
        rows += cluster.balance(caller).await.rows;
    }
    assert_eq!(rows, ended.passed);
    assert!(cluster.books.sums(&callers[0]).await.nanos <= 4_000_000_000);
    assert!(flushes > 20, "{flushes}");
}
