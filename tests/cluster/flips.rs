//! Five hours that are fixed, and rolling, and fixed again while three nodes spend: whichever holds counts what the rows say.

use std::time::Duration;

use serde_json::json;

use crate::edits::{Clock, answer};
use crate::harness::{MODEL, OTHER_MODEL, Plan, axis};
use crate::servers::redis::Redis;
use crate::support::capped::{self, Whose};
use crate::support::{eventually, scale};
use crate::traffic::{Order, Traffic, tally};

const MODES: [&str; 2] = ["rolling", "fixed"];

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_changes_its_mode_under_load_counts_what_was_charged_and_keeps_its_cap() {
    let redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).start().await;
    let caller = cluster.limited_by(Whose::User, json!({"5h": {"usd": 1_000, "reset": "fixed"}})).await;
    let limits = async |usd: f64, reset: &str| {
        let limits = json!({"limits": {"5h": {"usd": usd, "reset": reset}}});
        cluster.admin().patch(&format!("/users/{}", caller.user_id), &limits).await;
    };
    // Every node knows that it is so now.
    let told = async |reset: &str| {
        eventually("all nodes know the mode", async || {
            for node in cluster.all() {
                let window = node.admin().window("user", caller.user_id, &json!("mainline"), "5h").await;
                if window["reset"] != reset {
                    return None;
                }
            }
            Some(())
        })
        .await;
    };
    let pace = Order { model: OTHER_MODEL, pause: Duration::from_millis(10), ..Order::default() };
    let traffic = Traffic::start(&cluster.all(), std::slice::from_ref(&caller), 6, pace);
    for turn in 0..scale(8, 40) {
        limits(1_000.0, MODES[turn % 2]).await;
        traffic.passes(9).await;
    }
    let ended = tally(&traffic.stop().await);
    assert_eq!((ended.refused, ended.unavailable, ended.lost), (0, 0, 0), "{ended:?}");
    let mut spent = 0;
    for reset in MODES {
        limits(1_000.0, reset).await;
        told(reset).await;
        let sums = cluster.balance(&caller).await;
        println!("{reset}: {ended:?}, {sums:?}");
        assert_eq!(sums.rows, ended.passed);
        spent = sums.nanos;
    }

    // A dollar more, for which all nodes compete while the mode goes on changing.
    let cap = spent + 1_000_000_000;
    limits(cap as f64 / 1e9, "rolling").await;
    cluster.agree(&cluster.all(), axis(Whose::User, &caller)).await;
    let flips = async {
        for turn in 0..6 {
            limits(cap as f64 / 1e9, MODES[turn % 2]).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let all = cluster.all();
    let (first, ()) = tokio::join!(capped::ask(&all, &caller, MODEL, Some(1_000), 90), flips);
    let rest = capped::ask(&all, &caller, MODEL, Some(1_000), 40).await;
    let sums = cluster.balance(&caller).await;
    println!("{first} and {rest} passed for a dollar more: {sums:?} of {cap}");
    assert!((cap - 100_000_000..=cap).contains(&sums.nanos), "{sums:?} of {cap}");
    // Whoever has used up the one has used up the other.
    let mut clock = Clock::default();
    for reset in MODES {
        limits((cap - 60_000_000) as f64 / 1e9, reset).await;
        told(reset).await;
        clock.holds_on(reset, &all, 402, async |node| answer(node, &caller, MODEL).await).await;
    }
    cluster.audit();
}
