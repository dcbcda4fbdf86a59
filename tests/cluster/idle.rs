//! A node that has taken its share and then does nothing: the others can spend all the same.

use crate::harness::{MODEL, Plan};
use crate::servers::redis::Redis;
use crate::support::capped::{self, Whose};

const CAP: f64 = 10.0;

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_node_keeps_nothing_that_the_busy_ones_need() {
    let redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).start().await;
    for whose in [Whose::User, Whose::UserGroupForGroup] {
        let caller = cluster.limited(whose, "total", CAP).await;
        let idle = &cluster.nodes[0];
        let mut passed = capped::ask(&[idle], &caller, MODEL, Some(1_000), 20).await;
        assert_eq!(passed, 20);
        let held = idle.metric("lease_outstanding_usd").await;
        // At once: what is idle is given back when it is asked for, or within a second.
        passed += capped::ask(&cluster.but(0), &caller, MODEL, Some(1_000), 260).await;
        let sums = cluster.balance(&caller).await;
        println!("{whose:?}: {sums:?} of {CAP} USD, while the idle node held {held} USD at first");
        assert_eq!(sums.rows, passed);
        assert!(sums.nanos as f64 <= CAP * 1e9, "{sums:?}");
        assert!(sums.nanos as f64 >= CAP * 0.99e9, "{sums:?}");
    }
}
