//! A Redis Cluster whose slots move and whose masters die, under load.

use std::time::{Duration, Instant};

use crate::harness::{Cluster, MODEL, Plan};
use crate::redis_cluster::RedisCluster;
use crate::support::admin::Caller;
use crate::support::capped::Whose;
use crate::support::{eventually, scale};
use crate::traffic::{Order, Tally, Times, Traffic, tally};

/// Every budget can be asked for again so soon after its master is back.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// Nodes at a Redis Cluster, and callers whose budgets are spread over it.
pub async fn start(redis: &RedisCluster) -> (Cluster, Vec<Caller>) {
    let cluster = Plan::new(3, &redis.url()).start().await;
    let mut callers = Vec::new();
    for turn in 0..8 {
        let (whose, window, usd) = match turn % 4 {
            0 => (Whose::User, "total", 1_000.0),
            1 => (Whose::KeyForGroup, "5h", 1_000.0),
            2 => (Whose::UserGroupForGroup, "daily", 1_000.0),
            _ => (Whose::Key, "monthly", 3.0),
        };
        callers.push(cluster.limited(whose, window, usd).await);
    }
    (cluster, callers)
}

/// The rows, the sums and what Redis counts agree.
pub async fn all_is_counted(cluster: &Cluster, callers: &[Caller], ended: Tally, granted_twice: i64) {
    let mut rows = 0;
    for caller in callers {
        let sums = cluster.balance(caller).await;
        rows += sums.rows;
    }
    // The test itself has asked as well.
    assert!(rows >= ended.passed && ended.lost == 0, "{rows} rows, {ended:?}");
    for caller in callers.iter().skip(3).step_by(4) {
        let sums = cluster.books.sums(caller).await;
        assert!(sums.nanos <= 3_000_000_000 + granted_twice, "{sums:?}");
    }
    cluster.audit();
}

/// The slots that hold budgets now.
async fn used(redis: &RedisCluster) -> Vec<u16> {
    let mut slots = Vec::new();
    for master in &redis.masters {
        let keys: Vec<String> = master.call(&["KEYS", "{tg:*}:b:*"]).await;
        for key in keys {
            slots.push(redis.slot_of(&key).await);
        }
    }
    slots.sort_unstable();
    slots.dedup();
    slots
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_slots_move_under_load_and_nobody_is_refused_for_it() {
    let redis = RedisCluster::start(false).await;
    let (cluster, callers) = start(&redis).await;
    let pace = Order { pause: Duration::from_millis(10), ..Order::default() };
    let traffic = Traffic::start(&cluster.all(), &callers, 2, pace);
    traffic.passes(20).await;
    let (mut moves, mut keys) = (0, 0);
    for round in 0..scale(1, 5) {
        for slot in used(&redis).await {
            let to = (redis.owner_of(slot).await + 1 + round % 2) % 3;
            keys += redis.move_slot(slot, to, Duration::from_millis(30)).await;
            moves += 1;
        }
    }
    traffic.advances(50).await;
    let asked = traffic.stop().await;
    let ended = tally(&asked);
    println!("{moves} slots with {keys} keys moved: {ended:?}, {:?}", Times::of(&asked));
    assert!(moves >= 4 && keys > moves, "{moves} slots, {keys} keys");
    all_is_counted(&cluster, &callers, ended, 0).await;
    assert_eq!(ended.unavailable, 0, "{ended:?}");
}

async fn a_master_dies(keeps: bool) {
    let mut redis = RedisCluster::start(keeps).await;
    let (cluster, callers) = start(&redis).await;
    let pace = Order { pause: Duration::from_millis(10), ..Order::default() };
    let mut ended = Vec::new();
    for victim in [1, 0] {
        let traffic = Traffic::start(&cluster.all(), &callers, 2, pace);
        traffic.passes(20).await;
        redis.masters[victim].stop();
        tokio::time::sleep(Duration::from_secs(2)).await;
        traffic.advances(20).await;
        redis.masters[victim].restart();
        redis.is_well().await;
        let back = Instant::now();
        for caller in &callers {
            for node in cluster.all() {
                eventually("the budget can be asked again", async || {
                    (node.spend(caller, MODEL, 50).await.head.status != 503).then_some(())
                })
                .await;
            }
        }
        let took = back.elapsed();
        ended.extend(traffic.stop().await);
        let after = Traffic::start(&cluster.all(), &callers, 2, pace);
        after.advances(100).await;
        let after = after.stop().await;
        println!(
            "master {victim}, keeps {keeps}: all can be asked {took:?} after its return, then {:?}",
            tally(&after)
        );
        assert!(took < BACK_WITHIN, "{took:?}");
        assert_eq!(tally(&after).unavailable, 0, "nobody is blocked");
        ended.extend(after);
    }
    let tallied = tally(&ended);
    println!("keeps {keeps}: {tallied:?}, {:?}", Times::of(&ended));
    all_is_counted(&cluster, &callers, tallied, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_a_master_that_dies_and_comes_back_with_what_it_knew_is_asked_again() {
    a_master_dies(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_a_master_that_dies_and_comes_back_empty_is_told_again() {
    a_master_dies(false).await;
}
