//! A provider that is away while caps run out on several nodes: whoever is tried next is admitted to his own budgets, what both
//! have in common is set aside once, and what the first would have cost is given back.

use serde_json::json;

use crate::harness::{MODEL, Plan};
use crate::servers::redis::Redis;
use crate::support::capped::{self, AT_ONCE, Whose};
use crate::support::provider::refusing;
use crate::support::{eventually, scale, spending};

const CAP: i64 = 1_000_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn soak_a_failover_at_the_cap_passes_no_cap_on_three_nodes_and_what_is_left_can_be_used() {
    let redis = Redis::start();
    let (_port, mut away) = refusing("away", &["openai_chat"]);
    // What it may cost is little: a few requests at once would pass it, if they cost anything.
    away["limits"] = json!({"total": {"usd": 0.3}});
    let limits = json!({"total": {"usd": 1}});
    let cluster =
        Plan::new(3, &redis.url()).limited([("limited-model".to_owned(), limits)]).preferred(away).start().await;
    let times = scale(120, 1_200);
    for whose in [Whose::User, Whose::Key, Whose::UserForGroup] {
        let caller = cluster.limited(whose, "daily", 1.0).await;
        let passed = capped::ask(&cluster.all(), &caller, MODEL, Some(1_000), times).await;
        let sums = cluster.balance(&caller).await;
        println!("{whose:?}: {passed} of {times} passed, {sums:?}");
        assert!((CAP * 9 / 10..=CAP).contains(&sums.nanos), "{whose:?}: {sums:?}");
        assert_eq!(sums.rows, passed);
    }
    let caller = cluster.admin().caller(json!({}), json!({})).await;
    let (body, nobody) = (spending::request("limited-model", Some(1_000)), (503, "no_provider_available"));
    let passed = capped::ask_unless(&cluster.all(), &caller.secret, &body, times, AT_ONCE, nobody).await;
    println!("the provider that answers: {passed} of {times} passed");
    assert!((18..=20).contains(&passed), "{passed}");
    eventually("all nodes count what was charged, and nothing is set aside", async || {
        let spent = cluster.counted_of("limited-model").await;
        let away = cluster.counted_of("away").await;
        (spent == [(passed as i64 * 50_000_000, 0); 3] && away == [(0, 0); 3]).then_some(())
    })
    .await;
    cluster.audit();
}
