//! No cap is passed, however answers come, fail and are left: every dollar that a provider has sold is in the ledger once,
//! and budgets know it.

#![allow(clippy::print_stdout, reason = "how much was spent is part of the result")]

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::admin::Caller;
use crate::support::books::nanos;
use crate::support::gateway::Setup;
use crate::support::ports::Port;
use crate::support::provider::refusing;
use crate::support::racing::{Sold, Way, capped, crowd, failure};
use crate::support::{Books, Gateway, Provider};

const CAP: i64 = 1_000_000_000;
const REQUESTS: usize = 200;
const AT_ONCE: usize = 50;

/// Tokens that make an answer cost 0.05 USD.
const FULL: u64 = 990;

/// A gateway in front of these providers, with prices for `red`, which is in a group, and `blue`, which is in none; the
/// group's id.
async fn gateway(providers: Vec<Value>, drain: &str) -> (Gateway, i64) {
    let setup = Setup::new(providers).set("on_client_abort.drain", drain);
    let gateway = setup.start_spending("worst_case", &["red", "blue"]).await;
    let group = gateway.admin().model_group("reds", &["red"]).await;
    (gateway, group)
}

/// One provider that sells answers of 0.05 USD.
async fn seller(sold: Sold) -> (Provider, Sold) {
    let provider = Provider::start().await;
    let till = sold.clone();
    provider.decide(move |request| till.sell(request, FULL));
    (provider, sold)
}

/// Somebody who may spend a dollar: as user, as key, on the model group as user, and as key.
async fn limited(gateway: &Gateway, group: i64) -> [Caller; 4] {
    let admin = gateway.admin();
    let (limits, none) = (json!({"limits": capped(1.0)}), json!({}));
    let user = admin.caller(limits.clone(), none.clone()).await;
    let key = admin.caller(none.clone(), limits).await;
    let user_on_group = admin.caller(none.clone(), none.clone()).await;
    admin.limit("user", user_on_group.user_id, group, capped(1.0)).await;
    let key_on_group = admin.caller(none.clone(), none).await;
    admin.limit("key", key_on_group.key_id, group, capped(1.0)).await;
    [user, key, user_on_group, key_on_group]
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_pass_no_cap_and_all_of_it_can_be_used() {
    let (provider, sold) = seller(Sold::default()).await;
    let (gateway, group) = gateway(vec![provider.entry("slow", &["openai_chat"])], "30s").await;
    let books = Books::of(&gateway).await;
    let mut spent = 0;
    for (caller, whose) in limited(&gateway, group).await.iter().zip(["user", "key", "user, group", "key, group"]) {
        let ended = crowd(gateway.address(), caller, [(Way::Stream, "red"); REQUESTS], AT_ONCE).await;
        let sums = books.balance(&gateway, caller).await;
        println!("streams, {whose}: {sums:?}, {ended:?}");
        assert_eq!((sums.rows, ended.lost), (ended.passed, 0), "{whose}");
        assert!(sums.nanos <= CAP, "{whose}: {sums:?}");
        assert!(sums.nanos >= CAP * 9 / 10, "{whose}: {sums:?}");
        spent += sums.nanos;
        assert_eq!(sold.so_far().0, spent, "{whose}: all that was sold is charged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_streams_anywhere_pass_no_cap() {
    // Answers are read on to their end, or given up at once and estimated.
    for (drain, pace) in [("30s", 4), ("0s", 20)] {
        let (provider, sold) = seller(Sold::at(Duration::from_millis(pace))).await;
        let (gateway, group) = gateway(vec![provider.entry("slow", &["openai_chat"])], drain).await;
        let books = Books::of(&gateway).await;
        let (mut spent, mut estimated) = (0, 0);
        for (caller, whose) in limited(&gateway, group).await.iter().zip(["user", "key", "user, group", "key, group"]) {
            let ended = crowd(gateway.address(), caller, [(Way::Leave, "red"); REQUESTS], AT_ONCE).await;
            let sums = books.balance(&gateway, caller).await;
            println!("left, drain {drain}, {whose}: {sums:?}, {ended:?}");
            assert!(sums.nanos <= CAP, "{whose}: {sums:?}");
            assert!(
                ended.lost == REQUESTS && sums.nanos > 0,
                "{whose}: all leave, and some have paid: {ended:?}, {sums:?}"
            );
            (spent, estimated) = (spent + sums.nanos, estimated + sums.estimated);
            assert!(sold.so_far().0 == spent || drain == "0s", "{whose}: whoever leaves has paid");
        }
        assert_eq!(estimated > 0, drain == "0s", "{estimated} estimated where the drain is {drain}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_cap_is_not_passed_by_a_crowd_and_nobody_notices() {
    let (limited, sold_there) = seller(Sold::default()).await;
    let (other, sold_elsewhere) = seller(Sold::default()).await;
    let [mut first, mut second] = [limited.entry("limited", &["openai_chat"]), other.entry("other", &["openai_chat"])];
    first["limits"] = capped(1.0);
    second["priority"] = json!(1);
    let (gateway, _) = gateway(vec![first, second], "30s").await;
    let books = Books::of(&gateway).await;
    let callers = [gateway.admin().caller(json!({}), json!({})).await, gateway.caller().clone()];
    let asks = || (0..REQUESTS).map(|n| ([Way::Whole, Way::Stream][n % 2], ["red", "blue"][n / 2 % 2]));
    let [one, two] = callers.each_ref().map(|caller| crowd(gateway.address(), caller, asks(), AT_ONCE / 2));
    let ended = tokio::join!(one, two);
    assert_eq!((ended.0.passed, ended.1.passed), (REQUESTS, REQUESTS), "{ended:?}");
    let mut there = 0;
    for caller in &callers {
        gateway.admin().spent(caller.user_id, "all", REQUESTS).await;
        let rows = books.rows(caller).await.into_iter().filter(|row| row.provider == "limited");
        there += rows.map(|row| row.cost_nanos).sum::<i64>();
    }
    println!("a provider's cap: {there} there, {} elsewhere", sold_elsewhere.so_far().0);
    assert_eq!(sold_there.so_far().0, there);
    assert!((CAP * 9 / 10..=CAP).contains(&there), "{there}");
    gateway.metric_is("in_flight", 0.0).await;
    let window = gateway.admin().get("/budgets/provider/limited").await["items"][0]["windows"][0].clone();
    assert_eq!((nanos(&window["usedUsd"]), nanos(&window["reservedUsd"])), (there, 0), "{window}");
}

/// Providers that refuse, mostly fail, and answer, in this order. What is asked for as `outside-in` is in no group at
/// the first two and in one at the last, `inside-out` the other way round.
async fn failing(sold: &Sold) -> (Vec<Provider>, Vec<Value>, Port) {
    let (moody, good) = (Provider::start().await, Provider::start().await);
    let [first, second] = [sold.clone(), sold.clone()];
    moody.decide(move |request| if rand::random_ratio(1, 4) { first.sell(request, tokens()) } else { failure() });
    good.decide(move |request| second.sell(request, tokens()));
    let (port, refused) = refusing("refuses", &["openai_chat"]);
    let mut entries = vec![refused, moody.entry("moody", &["openai_chat"]), good.entry("good", &["openai_chat"])];
    let redirects = [("blue", "red"), ("blue", "red"), ("red", "blue")];
    for ((priority, entry), (outside_in, inside_out)) in entries.iter_mut().enumerate().zip(redirects) {
        entry["priority"] = json!(priority);
        entry["redirects"] = json!({"outside-in": outside_in, "inside-out": inside_out});
    }
    (vec![moody, good], entries, port)
}

/// Of an answer: any number that the request allows.
fn tokens() -> u64 {
    rand::random_range(1..=1_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn failovers_between_groups_pass_no_cap() {
    let sold = Sold::default();
    let (_providers, entries, _port) = failing(&sold).await;
    let (gateway, group) = gateway(entries, "30s").await;
    let (admin, books) = (gateway.admin(), Books::of(&gateway).await);
    let mut spent = 0;
    for round in 0..3 {
        // The group's budget, the mainline and the key's must all hold.
        let caller = admin.caller(json!({"limits": capped(1.0)}), json!({"limits": capped(1.6)})).await;
        admin.limit("user", caller.user_id, group, capped(1.0)).await;
        let models = ["outside-in", "inside-out", "red", "blue"];
        let asks = (0..REQUESTS).map(|n| ([Way::Whole, Way::Stream][n % 2], models[n / 2 % 4]));
        let ended = crowd(gateway.address(), &caller, asks, AT_ONCE).await;
        let sums = books.balance(&gateway, &caller).await;
        let [mainline, reds] = by_group(&books, &caller).await;
        println!("failovers {round}: {sums:?}, mainline {mainline}, group {reds}, {ended:?}");
        assert!(mainline <= CAP && reds <= CAP && mainline + reds <= CAP * 16 / 10, "{round}: {mainline} {reds}");
        assert!(mainline > 0 && reds > 0, "{round}: both pay: {mainline} {reds}");
        assert_eq!((sums.rows, ended.lost), (ended.passed, 0), "{round}");
        spent += sums.nanos;
        assert_eq!(sold.so_far().0, spent, "{round}: what was sold is charged once, and failures cost nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_mixed_on_one_user_passes_no_cap() {
    let sold = Sold::default();
    let (_providers, entries, _port) = failing(&sold).await;
    let (mut gateway, group) = gateway(entries, "30s").await;
    let admin = gateway.admin().clone();
    let books = Books::of(&gateway).await;
    let mut spent = 0;
    let mut last = None;
    for round in 0..3 {
        let caller = admin.caller(json!({}), json!({"limits": capped(1.0)})).await;
        admin.limit("user", caller.user_id, group, capped(0.4)).await;
        let ways = [Way::Whole, Way::Stream, Way::Leave];
        let models = ["outside-in", "inside-out", "red", "blue"];
        let asks = (0..2 * REQUESTS).map(|n| (ways[n % 3], models[n / 3 % 4]));
        let ended = crowd(gateway.address(), &caller, asks, AT_ONCE).await;
        let sums = books.balance(&gateway, &caller).await;
        let [mainline, reds] = by_group(&books, &caller).await;
        println!("mixed {round}: {sums:?}, mainline {mainline}, group {reds}, {ended:?}");
        assert_eq!(ended.lost, 2 * REQUESTS / 3, "{round}: nobody but who leaves: {ended:?}");
        assert!(reds <= CAP * 4 / 10, "{round}: the group's cap: {reds}");
        assert!(mainline + reds <= CAP, "{round}: the key's cap: {mainline} and {reds}");
        spent += sums.nanos;
        assert_eq!(sold.so_far().0, spent, "{round}");
        last = Some((caller, sums));
    }
    // What another process reads from the ledger is the same.
    let (caller, sums) = last.unwrap();
    gateway.signal("TERM");
    gateway.restart().await;
    assert_eq!(books.balance(&gateway, &caller).await, sums);
}

/// What of the user's spend the mainline has paid, and what the group.
async fn by_group(books: &Books, caller: &Caller) -> [i64; 2] {
    let rows = books.rows(caller).await;
    let sum = |mainline: bool| {
        rows.iter().filter(|row| row.counted_in_user_global == mainline).map(|row| row.cost_nanos).sum()
    };
    [sum(true), sum(false)]
}
