//! A node that has taken its share and then does nothing, or has never heard of a budget: the others can spend all the same.

use std::time::{Duration, Instant};

use tollgate::limit::{BudgetId, Scope};

use crate::harness::{Cluster, MODEL, Plan};
use crate::servers::redis::Redis;
use crate::support::admin::Caller;
use crate::support::capped::{self, Whose};
use crate::support::spending;
use crate::traffic::{Order, Traffic, tally};
use crate::witness::{Witness, of_user};

const CAP: f64 = 10.0;

/// What was granted of a budget and not spent by so many requests, in nano-dollars.
async fn granted_to_nobody(redis: &Redis, cluster: &Cluster, whose: Whose, caller: &Caller, passed: usize) -> i64 {
    let scope = if whose == Whose::User { Scope::Mainline } else { Scope::ModelGroup(cluster.group) };
    let budget = BudgetId { scope, ..of_user(caller) };
    Witness::of(&redis.url()).granted(budget).await - passed as i64 * spending::cost_nanos(990)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_node_keeps_nothing_that_the_busy_ones_need() {
    let redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).start().await;
    for whose in [Whose::User, Whose::UserGroupForGroup] {
        let caller = cluster.limited(whose, "total", CAP).await;
        let idle = &cluster.nodes[0];
        let mut passed = capped::ask(&[idle], &caller, MODEL, Some(1_000), 20).await;
        assert_eq!(passed, 20);
        // A lease that is nearly used up proves nothing: then there is another one after the next request.
        let mut held = granted_to_nobody(&redis, &cluster, whose, &caller, passed).await;
        while held < 100_000_000 {
            idle.spends(&caller, MODEL, 50).await;
            passed += 1;
            assert!(passed < 40, "it takes no leases");
            held = granted_to_nobody(&redis, &cluster, whose, &caller, passed).await;
        }
        // At once: what is idle is given back when it is asked for, or within a second.
        passed += capped::ask(&cluster.but(0), &caller, MODEL, Some(1_000), 260).await;
        let sums = cluster.balance(&caller).await;
        println!("{whose:?}: {sums:?} of {CAP} USD, while the idle node held {held} at first");
        assert_eq!(sums.rows, passed);
        assert!(sums.nanos as f64 <= CAP * 1e9, "{sums:?}");
        assert!(sums.nanos as f64 >= CAP * 0.99e9, "{sums:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_the_other_nodes_have_never_used_is_granted_at_once_also_while_they_are_busy() {
    let redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).start().await;
    let busy = cluster.limited(Whose::User, "total", 1_000.0).await;
    let traffic =
        Traffic::start(&cluster.all(), &[busy], 2, Order { pause: Duration::from_millis(20), ..Order::default() });
    traffic.passes(20).await;
    // Redis knows none of these since it was started, a moment ago.
    let (mut capped, mut free) = (Vec::new(), Vec::new());
    for turn in 0..6 {
        for (limits, took) in
            [(serde_json::json!({"total": {"usd": 1}}), &mut capped), (serde_json::json!({}), &mut free)]
        {
            let caller = cluster.admin().caller(serde_json::json!({"limits": limits}), serde_json::json!({})).await;
            let began = Instant::now();
            let reply = cluster.nodes[turn % 3].spend(&caller, MODEL, 50).await;
            took.push(began.elapsed());
            assert_eq!(reply.head.status, 200, "after {:?}: {}", began.elapsed(), String::from_utf8_lossy(&reply.body));
            took.sort_unstable();
        }
    }
    println!("they took {capped:?}, and without a cap {free:?}");
    // Far less than a request may wait for what others hold.
    assert!(capped[3] < free[3] + Duration::from_millis(300), "{capped:?}, and without a cap {free:?}");
    assert_eq!(tally(&traffic.stop().await).unavailable, 0);
}
