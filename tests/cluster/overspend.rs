//! A cap is a cap on three nodes too: however many ask at once, whatever window and whoever's budget it is.

use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Cluster, MODEL, Plan};
use crate::servers::redis::Redis;
use crate::support::capped::{self, AT_ONCE, WHOSE, Whose};
use crate::support::{eventually, scale, spending};

const CAP: f64 = 1.0;

/// Windows, and how they start anew where there are two ways.
const WINDOWS: [(&str, Option<&str>); 7] = [
    ("5h", Some("rolling")),
    ("5h", Some("fixed")),
    ("daily", Some("fixed")),
    ("daily", Some("rolling")),
    ("weekly", None),
    ("monthly", None),
    ("total", None),
];

fn requests() -> usize {
    scale(100, 200)
}

fn limits((window, reset): (&str, Option<&str>)) -> Value {
    match reset {
        Some(reset) => json!({window: {"usd": CAP, "reset": reset}}),
        None => json!({window: {"usd": CAP}}),
    }
}

/// Every window of everybody's budget; in a short run every window of one, and two of everybody.
fn races() -> Vec<(Whose, (&'static str, Option<&'static str>))> {
    let all = WHOSE.into_iter().flat_map(|whose| WINDOWS.map(|window| (whose, window)));
    let short = |&(whose, (_, reset)): &(Whose, (&str, Option<&str>))| {
        scale(0, 1) == 1 || whose == Whose::User || reset == Some("fixed")
    };
    all.filter(short).collect()
}

fn assert_used_up(what: &str, usd: f64) {
    assert!(usd <= CAP + 1e-9, "{what}: {usd} USD passed a cap of {CAP}");
    assert!(usd >= 0.9 - 1e-9, "{what}: only {usd} USD of {CAP} could be used");
}

async fn nothing_was_wrong(cluster: &Cluster, paid: usize) {
    assert_eq!(cluster.provider.requests().len(), paid, "what was refused reached no provider");
    assert!(cluster.metric("unenforced_violations_total").await.abs() < f64::EPSILON);
    assert!(cluster.metric("budget_drift_usd").await.abs() < f64::EPSILON);
    cluster.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_with_worst_case_three_nodes_pass_no_cap_and_all_of_it_can_be_used() {
    let redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).start().await;
    let mut paid = 0;
    for (whose, window) in races() {
        let caller = cluster.limited_by(whose, limits(window)).await;
        let began = Instant::now();
        let passed = capped::ask(&cluster.all(), &caller, MODEL, Some(1_000), requests()).await;
        let took = began.elapsed();
        let usd = cluster.admin().spent(caller.user_id, "all", passed).await;
        let what = format!("{window:?} of {whose:?}");
        println!("{what}: {usd:.2} USD, {passed} of {} passed in {took:?}", requests());
        assert_used_up(&what, usd);
        cluster.balance(&caller).await;
        paid += passed;
    }
    nothing_was_wrong(&cluster, paid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_with_worst_case_three_nodes_pass_no_cap_of_a_provider_and_all_of_it_can_be_used() {
    let redis = Redis::start();
    let name = |(window, reset): (&str, Option<&str>)| format!("{window}-{}", reset.unwrap_or("only"));
    let providers = WINDOWS.map(|window| (name(window), limits(window)));
    let cluster = Plan::new(3, &redis.url()).limited(providers).start().await;
    let mut paid = 0;
    for name in WINDOWS.map(name) {
        let caller = cluster.admin().caller(json!({}), json!({})).await;
        let (body, nobody) = (spending::request(&name, Some(1_000)), (503, "no_provider_available"));
        let began = Instant::now();
        let passed = capped::ask_unless(&cluster.all(), &caller.secret, &body, requests(), AT_ONCE, nobody).await;
        let took = began.elapsed();
        let usd = cluster.admin().spent(caller.user_id, "all", passed).await;
        println!("provider {name}: {usd:.2} USD, {passed} of {} passed in {took:?}", requests());
        assert_used_up(&name, usd);
        eventually("every node knows what was spent", async || {
            (cluster.counted_of(&name).await == [((usd * 1e9).round() as i64, 0); 3]).then_some(())
        })
        .await;
        paid += passed;
    }
    nothing_was_wrong(&cluster, paid).await;
}
