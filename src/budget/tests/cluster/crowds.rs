//! Crowds on several nodes that need two budgets each: nobody keeps the last of one from those who have the other.

#![allow(clippy::print_stdout, reason = "what is measured is the result")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::sleep;

use super::super::world::{key, only, usd, user};
use super::node::{Node, plan};
use super::{ALL, Cluster};
use crate::budget::ReserveError;
use crate::limit::Window;
use crate::money::Usd;

const NODES: usize = 3;
/// On each node, of each of two keys.
const CROWD: usize = 20;
/// What an earlier life has charged.
const BEFORE: &str = "1.2";

/// A request that needs 0.06 and costs 0.05. Whether it passes.
async fn serve(cluster: &Cluster, node: &Node, of_key: i64, passed: &AtomicU64) {
    let net = &cluster.net;
    let (plan, charged) = plan(&cluster.limits, 1, of_key);
    sleep(Duration::from_millis(net.draw(0..5))).await;
    match node.budgets.reserve(&plan, usd("0.06"), net.now()).await {
        Ok(reservation) => {
            sleep(Duration::from_millis(net.draw(1..30))).await;
            let lsn = net.books.charge(node.inc, &charged, net.now(), usd("0.05"));
            reservation.settle(lsn, net.now(), usd("0.05"));
            passed.fetch_add(1, Ordering::SeqCst);
        }
        Err(ReserveError::Denied(denied)) => {
            let short = denied.all().all(|denial| charged.contains(&denial.budget));
            assert!(short, "{denied:?}");
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// So many requests of the user pass, some of each of his keys.
async fn crowd(seed: u64, of_user: &str, of_key: &str) -> u64 {
    let mut cluster = Cluster::new(seed, ALL);
    cluster.net.calm.store(true, Ordering::SeqCst);
    let left = |more: &str| only(Window::Total, usd(BEFORE) + usd(more));
    cluster.limits = BTreeMap::from([(user(1), left(of_user)), (key(1), left(of_key)), (key(2), left(of_key))]);
    cluster.nodes = (0..NODES).map(|_| cluster.start()).collect();
    let passed = AtomicU64::new(0);
    let requests = (0..NODES * CROWD * 2).map(|at| {
        let of_key = if at < NODES * CROWD { 1 } else { 2 };
        serve(&cluster, &cluster.nodes[at % NODES], of_key, &passed)
    });
    join_all(requests).await;
    cluster.net.wrong().expect("nothing is overspent");
    for budget in [user(1), key(1), key(2)] {
        let spent = cluster.net.books.spent(budget, &cluster.limits[&budget], cluster.net.now())[0].1;
        assert!(spent <= cluster.limits[&budget].windows[0].base, "{budget:?}: {spent}");
    }
    // What is left over is nobody's.
    sleep(Duration::from_secs(15)).await;
    for budget in [user(1), key(1), key(2)] {
        let audit = cluster.net.authority().audit_now(budget).expect("it is known");
        assert_eq!(super::held(&audit), Usd::ZERO, "{budget:?}: {audit:?}");
    }
    passed.into_inner()
}

#[tokio::test(start_paused = true)]
async fn crowds_that_need_a_user_and_his_key_spend_what_both_allow() {
    let (mut least, mut all) = (u64::MAX, 0);
    for seed in 0..20 {
        // Of a dollar, all but what is less than a request needs.
        let passed = crowd(seed, "1", "1").await;
        least = least.min(passed);
        all += passed;
    }
    println!("{least} of 19 at least, {all} of {}", 20 * 19);
    assert!(least >= 18, "{least} of 19");
}

#[tokio::test(start_paused = true)]
async fn crowds_of_two_keys_spend_what_their_user_has_left() {
    let mut least = u64::MAX;
    for seed in 100..120 {
        let passed = crowd(seed, "0.8", "0.5").await;
        least = least.min(passed);
    }
    println!("{least} of 15 at least");
    assert!(least >= 14, "{least} of 15");
}
