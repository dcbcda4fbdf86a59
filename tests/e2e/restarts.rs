//! A stop and a start in the middle of the traffic: what was spent before is known after.

#![allow(clippy::print_stdout, reason = "how much was spent is part of the result")]

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::support::admin::Caller;
use crate::support::gateway::Setup;
use crate::support::racing::{Sold, Way, capped, crowd};
use crate::support::{Api, Books, Gate, Gateway, Provider, eventually, spending};

const CAP: i64 = 1_000_000_000;

/// A gateway that ends so long after it was told to, at the latest.
async fn gateway(provider: &Provider, grace: &str) -> Gateway {
    let setup = Setup::new([provider.entry("slow", &["openai_chat"])]).set("shutdown.grace", grace);
    setup.start_spending("worst_case", &["red", "blue"]).await
}

/// Somebody who may spend a dollar on `red`, one on everything else, and two with one key.
async fn limited(gateway: &Gateway) -> (Caller, i64) {
    let admin = gateway.admin();
    let group = admin.model_group("reds", &["red"]).await;
    let caller = admin.caller(json!({"limits": capped(1.0)}), json!({"limits": capped(2.0)})).await;
    admin.limit("user", caller.user_id, group, capped(1.0)).await;
    (caller, group)
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_a_stop_waits_for_are_in_the_budgets_of_the_next_start() {
    let (provider, gate) = (Provider::start().await, Gate::new());
    let held = gate.clone();
    provider.decide(move |request| spending::stream(request, 990).gated_after(2, &held));
    let mut gateway = gateway(&provider, "60s").await;
    let books = Books::of(&gateway).await;
    let (caller, group) = limited(&gateway).await;
    let mut wires = Vec::new();
    for n in 0..20 {
        let mut body = spending::request(["red", "blue"][n % 2], Some(1_000));
        body["stream"] = json!(true);
        let mut wire = gateway.connect().await;
        wire.post(&Api::Chat.path("", true), &caller.secret, &body).await;
        assert_eq!(wire.head().await.unwrap().status, 200);
        wires.push(wire);
    }
    let reserved = gateway.admin().window("user", caller.user_id, &json!(group), "total").await["reservedUsd"].clone();
    assert!(reserved.as_f64().unwrap() >= 0.5, "ten of the worst case: {reserved}");
    gateway.signal("TERM");
    eventually("nothing new is taken", async || {
        tokio::net::TcpStream::connect(gateway.address()).await.is_err().then_some(())
    })
    .await;
    gate.open_wide();
    // Some are read to their end, some left; a stop waits for all.
    for (n, mut wire) in wires.into_iter().enumerate() {
        if n % 5 != 0 {
            wire.body().await.unwrap();
        }
    }
    gateway.restart().await;
    let sums = books.balance(&gateway, &caller).await;
    assert_eq!((sums.rows, sums.nanos, sums.estimated), (20, CAP, 0));
    let used = async |scope: serde_json::Value| {
        gateway.admin().window("user", caller.user_id, &scope, "total").await["usedUsd"].clone()
    };
    assert_eq!((used(json!(group)).await, used(json!("mainline")).await), (json!(0.5), json!(0.5)));
    // What is left is as much as it was.
    let asks = (0..100).map(|n| (Way::Stream, ["red", "blue"][n % 2]));
    crowd(gateway.address(), &caller, asks, 50).await;
    let sums = books.balance(&gateway, &caller).await;
    println!("after the restart: {sums:?}");
    assert!((CAP * 18 / 10..=2 * CAP).contains(&sums.nanos), "{sums:?}");
    for scope in [json!(group), json!("mainline")] {
        assert!(used(scope.clone()).await.as_f64().unwrap() <= 1.0, "{scope}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cap_is_passed_by_crowds_that_are_stopped_again_and_again() {
    // All are waited for; or some are cut off, and charged for what was seen; or the next start finds in the journal what was sold.
    for (signal, grace) in [("TERM", "60s"), ("TERM", "30ms"), ("INT", "60s"), ("KILL", "60s")] {
        let (provider, sold) = (Provider::start().await, Sold::default());
        let till = sold.clone();
        provider.decide(move |request| till.sell(request, rand::random_range(1..=1_000)));
        let mut gateway = gateway(&provider, grace).await;
        let books = Books::of(&gateway).await;
        let (caller, _) = limited(&gateway).await;
        for stops in 1..=3 {
            let asks = (0..300).map(|n| ([Way::Whole, Way::Stream, Way::Leave][n % 3], ["red", "blue"][n / 3 % 2]));
            let (address, over) = (gateway.address(), AtomicBool::new(false));
            let asking = async {
                let ended = crowd(address, &caller, asks, 30).await;
                over.store(true, Ordering::Relaxed);
                ended
            };
            let before = books.sums(&caller).await.rows;
            let restarting = async {
                // Some are written, and others in flight, unless little was left to be spent.
                eventually("some have ended", async || {
                    let some = books.sums(&caller).await.rows >= before + 8;
                    (some || over.load(Ordering::Relaxed)).then_some(())
                })
                .await;
                gateway.signal(signal);
                gateway.restart().await;
            };
            let (ended, ()) = tokio::join!(asking, restarting);
            let sums = books.balance(&gateway, &caller).await;
            println!("{signal}, grace {grace}, {stops} stops: {sums:?}, sold {:?}, {ended:?}", sold.so_far());
            assert!(ended.lost >= 100, "who leaves, and whom the stop has met: {ended:?}");
            assert!(sums.nanos > 0, "{sums:?}");
            assert!(sums.nanos <= 2 * CAP, "{sums:?}");
            for (scope, counts) in [("group", false), ("mainline", true)] {
                let rows = books.rows(&caller).await.into_iter().filter(|row| row.counted_in_user_global == counts);
                let nanos: i64 = rows.map(|row| row.cost_nanos).sum();
                assert!(nanos <= CAP, "{scope}: {nanos}");
            }
            if (signal, grace) == ("TERM", "60s") {
                assert_eq!((sums.nanos, sums.estimated), (sold.so_far().0, 0), "all that was sold is charged");
            }
        }
    }
}
