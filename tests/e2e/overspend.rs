//! A cap is a cap: however many ask at once, whatever window and whoever's budget it is.

#![allow(clippy::print_stdout, reason = "how much was spent is part of the result")]

use std::time::Duration;

use serde_json::json;

use crate::support::admin::Caller;
use crate::support::capped::{self, AT_ONCE, WHOSE, WINDOWS, Whose, limited};
use crate::support::gateway::Setup;
use crate::support::{Admin, Gateway, Provider, spending};

const MODEL: &str = "dear-model";
const CAP: f64 = 1.0;

const REQUESTS: usize = 200;

async fn gateway(reservation: &str) -> (Provider, Gateway, i64) {
    let provider = Provider::start().await;
    provider.decide(|request| spending::answer(request).after(Duration::from_millis(30)));
    let setup = Setup::new([provider.entry("slow", &["openai_chat"])]);
    let gateway = setup.start_spending(reservation, &[MODEL]).await;
    let group = gateway.admin().model_group("dear", &[MODEL]).await;
    (provider, gateway, group)
}

/// Asks so often, so many at once; how many passed.
async fn ask(gateway: &Gateway, caller: &Caller, max_tokens: Option<u64>, times: usize) -> usize {
    capped::ask(&[gateway], caller, MODEL, max_tokens, times).await
}

/// Every window of everybody's budget, one after the other on one node; `check` is told what each spent.
async fn race(reservation: &str, max_tokens: Option<u64>, check: impl Fn(&str, f64)) {
    let (provider, gateway, group) = gateway(reservation).await;
    let mut paid = 0;
    for whose in WHOSE {
        for window in WINDOWS {
            let caller = limited(gateway.admin(), whose, window, group, CAP).await;
            let passed = ask(&gateway, &caller, max_tokens, REQUESTS).await;
            let usd = gateway.admin().spent(caller.user_id, "all", passed).await;
            let what = format!("{reservation}, {window} of {whose:?}, max_tokens {max_tokens:?}");
            println!("{what}: {usd:.2} USD, {passed} of {REQUESTS} passed");
            check(&what, usd);
            paid += passed;
        }
    }
    assert_eq!(provider.requests().len(), paid, "what was refused reached no provider");
    gateway.metric_is("unenforced_violations_total", 0.0).await;
    gateway.metric_is("estimates_exceeded_total", 0.0).await;
}

fn holds(what: &str, usd: f64) {
    assert!(usd <= CAP + 1e-9, "{what}: {usd} USD passed a cap of {CAP}");
    assert!(usd >= 0.9 - 1e-9, "{what}: only {usd} USD of {CAP} could be used");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_worst_case_no_cap_is_passed_and_all_of_it_can_be_used() {
    race("worst_case", Some(1_000), holds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_worst_case_no_cap_is_passed_where_requests_do_not_say_how_long_the_answer_may_be() {
    race("worst_case", None, holds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_expected_a_cap_is_passed_by_no_more_than_the_estimates_were_wrong() {
    // What a request is expected to cost before anything is learnt: a quarter of a token per byte, 1 000 tokens.
    for max_tokens in [None, Some(1_000)] {
        race("expected", max_tokens, |what, usd| {
            // The prompt was taken for fewer tokens than it had: in each of those in flight.
            let error = AT_ONCE as f64 * 500.0 / 1e6;
            println!("{what}: passed by {:.4} USD, estimates were wrong by {error:.4} at most", (usd - CAP).max(0.0));
            assert!(usd <= CAP + error, "{what}: {usd} USD");
            assert!(usd >= 0.9 - 1e-9, "{what}: only {usd} USD of {CAP} could be used");
        })
        .await;
    }
}

/// What is expected of a model that nobody has used, and what its answers really cost: twice as much.
const EXPECTED: f64 = 0.02;
const COST: f64 = 0.04;

/// Twice as many as the cap has room for.
const CROWD: usize = 100;

/// By how much a cap may be passed at most. What is spent and what is set aside is never more than the cap when a request
/// is admitted, so at most `CAP / EXPECTED` have set something aside at once, however many ask. When the last that is
/// admitted and those beside it have ended, the cap is passed by no more than each of them cost beyond what it had set
/// aside. Without reservations all that ask before the cap is reached would pass: `CROWD * COST`, four times as much.
fn most_passed_by() -> f64 {
    (CAP / EXPECTED).floor().min(CROWD as f64) * (COST - EXPECTED)
}

/// A new model in a group of its own, which answers 2 000 tokens where 1 000 are expected.
async fn unknown_model(admin: &Admin, model: &str) -> i64 {
    let price = json!({"inputUsdPerMillion": 0, "outputUsdPerMillion": 20, "maxOutputTokens": 50_000});
    admin.put(&format!("/prices/{model}"), &price).await;
    admin.model_group(model, &[model]).await
}

async fn answers_of_twice_the_expected_length(reservation: &str) -> (Provider, Gateway) {
    let provider = Provider::start().await;
    provider.decide(|request| spending::whole(request, 2_000).after(Duration::from_millis(200)));
    let setup = Setup::new([provider.entry("slow", &["openai_chat"])]);
    let gateway = setup.start_spending(reservation, &[]).await;
    (provider, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_expected_a_cap_is_passed_by_no_more_than_the_requests_in_flight_were_underestimated() {
    let (_provider, gateway) = answers_of_twice_the_expected_length("expected").await;
    let mut most = 0.0_f64;
    for (of, whose) in WHOSE.into_iter().enumerate() {
        for (at, window) in WINDOWS.into_iter().enumerate() {
            let model = format!("unknown-{of}-{at}");
            let group = unknown_model(gateway.admin(), &model).await;
            let caller = limited(gateway.admin(), whose, window, group, CAP).await;
            let passed = capped::ask_for(&[&gateway], &caller, &model, Some(4_000), REQUESTS, CROWD).await;
            let usd = gateway.admin().spent(caller.user_id, "all", passed).await;
            let (by, bound) = (usd - CAP, most_passed_by());
            println!("{window} of {whose:?}: {usd:.2} USD, passed by {by:.2} of {bound:.2}; {passed} requests passed");
            assert!(by <= bound + 1e-9, "{window} of {whose:?}: {usd} USD passed a cap of {CAP} by more than {bound}");
            assert!(usd >= 0.9 - 1e-9, "{window} of {whose:?}: only {usd} USD of {CAP} could be used");
            most = most.max(by);
        }
    }
    assert!(most > COST, "this is about estimates that are too low, and the caps were passed by {most} at most");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_key_has_taught_about_a_model_holds_for_the_next() {
    let (_provider, gateway) = answers_of_twice_the_expected_length("expected").await;
    let group = unknown_model(gateway.admin(), MODEL).await;
    for (whose, most) in [(Whose::User, most_passed_by()), (Whose::KeyForGroup, 0.0)] {
        let caller = limited(gateway.admin(), whose, "total", group, CAP).await;
        let passed = capped::ask_for(&[&gateway], &caller, MODEL, Some(4_000), REQUESTS, CROWD).await;
        let usd = gateway.admin().spent(caller.user_id, "all", passed).await;
        println!("{whose:?}: {usd:.2} USD, {passed} of {REQUESTS} passed");
        assert!(usd <= CAP + most + 1e-9, "{whose:?}: {usd} USD");
        assert!(usd >= 0.9, "{whose:?}: {usd} USD");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h08_nobody_is_refused_while_the_cap_can_pay() {
    for reservation in ["expected", "worst_case"] {
        let (_provider, gateway, group) = gateway(reservation).await;
        for whose in WHOSE {
            let caller = limited(gateway.admin(), whose, "daily", group, 100.0).await;
            // 0.50 each: 12 are used when the bursts begin, 87 when they are over.
            for burst in [24, 50, 50, 50] {
                let asked = ask(&gateway, &caller, Some(10_000), burst).await;
                assert_eq!(asked, burst, "{reservation}, {whose:?}");
            }
            assert!((gateway.admin().spent(caller.user_id, "all", 174).await - 87.0).abs() < 1e-9);
            // What is left pays for some of the last burst.
            let last = ask(&gateway, &caller, Some(10_000), 50).await;
            assert!((25..=26).contains(&last), "{reservation}, {whose:?}: {last} of the 26 that 13 USD pay for");
        }
    }
}
