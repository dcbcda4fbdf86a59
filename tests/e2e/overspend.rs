//! A cap is a cap: however many ask at once, whatever window and whoever's budget it is.

#![allow(clippy::print_stdout, reason = "how much was spent is part of the result")]

use std::time::Duration;

use serde_json::json;

use crate::support::admin::Caller;
use crate::support::capped::{self, AT_ONCE, WHOSE, WINDOWS, Whose, limited};
use crate::support::gateway::Setup;
use crate::support::{Gateway, Provider, spending};

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
    assert!(gateway.metric("unenforced_violations_total").await.abs() < f64::EPSILON);
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

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_many_times_the_expected_length_pass_a_cap_by_no_more_than_they_were_underestimated() {
    let (_provider, gateway, group) = gateway("expected").await;
    let price = json!({"inputUsdPerMillion": 1, "outputUsdPerMillion": 10, "maxOutputTokens": 50_000});
    gateway.admin().put(&format!("/prices/{MODEL}"), &price).await;
    // 5 000 tokens where 1 000 are expected of a model that nobody has used yet: 0.05 where 0.01 are set aside.
    let mut passed_by = Vec::new();
    for whose in [Whose::User, Whose::KeyForGroup] {
        let caller = limited(gateway.admin(), whose, "total", group, CAP).await;
        let passed = ask(&gateway, &caller, Some(5_000), REQUESTS).await;
        let usd = gateway.admin().spent(caller.user_id, "all", passed).await;
        println!("{whose:?}: {usd:.2} USD, {passed} of {REQUESTS} passed");
        assert!(usd <= CAP + AT_ONCE as f64 * 0.041, "{whose:?}: {usd} USD");
        assert!(usd >= 0.9, "{whose:?}: {usd} USD");
        passed_by.push(usd - CAP);
    }
    assert!(passed_by[0] > 0.05, "this is about estimates that are too low: {passed_by:?}");
    // Of the second key nothing is known, but of the model.
    assert!(passed_by[1] <= 0.051, "{passed_by:?}");
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
