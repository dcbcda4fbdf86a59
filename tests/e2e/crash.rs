//! The process dies at any moment, and no charge is lost or made twice.

#![allow(clippy::print_stdout, reason = "what became of the requests is part of the result")]

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use crate::servers::postgres::Postgres;
use crate::support::accounts::Accounts;
use crate::support::dialects::cost_of_row;
use crate::support::gateway::Setup;
use crate::support::leaving::begin;
use crate::support::load::{self, CLIENTS, Load};
use crate::support::{Answer, Api, Gate, Provider, scale, seed, spending};

/// Kills the gateway again and again under load, and does the accounts.
async fn kill_at_random(database: &str, reservation: &str, times: usize, setup: impl FnOnce(Setup) -> Setup) {
    let seed = seed();
    let database = format!("{database}, {reservation}");
    println!("{database}: TOLLGATE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let provider = Provider::start().await;
    provider.decide(load::answer);
    let setup = setup(Setup::new([provider.entry("upstream", &["openai_chat"])]));
    let (mut gateway, callers) = load::gateway(setup, reservation).await;
    let load = Load::start(&gateway, &callers);
    let (mut kills, mut slowest) = (0, Duration::ZERO);
    for _ in 0..times {
        load.advances(CLIENTS).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..400))).await;
        gateway.kill();
        kills += 1;
        if random.random() {
            // In the middle of its start, perhaps of its recovery.
            gateway.relaunch();
            tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
            gateway.kill();
            kills += 1;
        }
        let start = Instant::now();
        gateway.relaunch();
        gateway.ready().await;
        slowest = slowest.max(start.elapsed());
    }
    load.advances(CLIENTS).await;
    let mut asked = load.stop().await;
    gateway.metric_is("ledger_pending_records", 0.0).await;
    let accounts = Accounts::read(&gateway).await;
    let figures = accounts.tally(&asked, &provider);
    println!("{database}: {kills} kills, {} requests, {figures:?}, slowest start {slowest:?}", asked.len());
    assert!(figures.not_sent <= kills * CLIENTS, "each client has one request on its way when the gateway dies");
    assert!(figures.interrupted > 0, "this is about requests whose end nobody knows");
    accounts.match_budgets(&gateway, &callers).await;
    assert_eq!(gateway.journals().len(), 1, "those of the dead are gone: {:?}", gateway.journals());

    let load = Load::start_after(&gateway, &callers, &asked);
    load.advances(CLIENTS * 2).await;
    let more = load.stop().await;
    assert!(more.iter().all(|asked| asked.is_answered()), "no budget is blocked");
    asked.extend(more);
    let drift = gateway.metric("budget_drift_usd").await;
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await.code(), Some(0));
    let accounts = Accounts::read(&gateway).await;
    let after = accounts.tally(&asked, &provider);
    assert_eq!((after.interrupted, after.not_sent), (figures.interrupted, figures.not_sent));
    assert!(drift.abs() < f64::EPSILON, "no budget was ever counted otherwise than the ledger says: {drift} USD");
    assert!(gateway.journals().is_empty(), "a clean end leaves nothing: {:?}", gateway.journals());
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_killed_at_random_nothing_is_lost_or_charged_twice_on_sqlite() {
    kill_at_random("SQLite", "worst_case", scale(8, 50), |setup| setup).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_killed_at_random_nothing_is_lost_or_charged_twice_on_postgresql() {
    let postgres = Postgres::start();
    let url = postgres.url("postgres");
    kill_at_random("PostgreSQL", "worst_case", scale(8, 50), |setup| setup.set("database.url", url)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_what_a_crash_interrupts_costs_what_is_expected_of_such_requests() {
    kill_at_random("SQLite", "expected", scale(4, 20), |setup| setup).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_what_a_crash_interrupts_costs_the_same_where_nothing_is_set_aside() {
    kill_at_random("SQLite", "none", scale(4, 20), |setup| setup).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_grows_dearer_than_expected_costs_what_was_seen_of_it_also_without_a_cap() {
    const MODEL: &str = "long-winded";
    const MOST: i64 = 2_000;
    let (provider, gate) = (Provider::start().await, Gate::new());
    let held = gate.clone();
    // More text than the model's longest answer, all of it in the first event.
    provider.decide(move |request| {
        let delta = json!([{"index": 0, "delta": {"content": "word ".repeat(4_000)}, "finish_reason": null}]);
        let chunk = json!({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": MODEL,
            "choices": delta, "usage": null});
        let rest = spending::stream(request, 10).body();
        Answer::sse([format!("data: {chunk}\n\n").into_bytes().into(), rest]).gated_after(1, &held)
    });
    let setup = Setup::new([provider.entry("upstream", &["openai_chat"])]);
    let mut gateway = setup.start_spending("none", &[MODEL]).await;
    let mut body = spending::request(MODEL, None);
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let mut wire = gateway.connect().await;
    wire.post(&Api::Chat.path(MODEL, true), gateway.key(), &body).await;
    let head = wire.head().await.unwrap();
    wire.at_least(20_000).await;
    gateway.kill();
    gateway.restart().await;
    let row = gateway.admin().row_of(head.request_id()).await;
    assert_eq!((&row["outcome"], &row["estimated"]), (&json!("interrupted"), &json!(true)), "{row}");
    let prompt = i64::try_from(body.to_string().len()).unwrap().div_euclid(4) * 1_000;
    let known = (prompt + MOST * 50_000 * 4 / 5)..=(prompt + 1_000 + MOST * 50_000);
    assert!(known.contains(&cost_of_row(&row)), "{known:?}: {row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_interrupts_costs_nothing_where_the_configuration_says_so() {
    let (provider, gate) = (Provider::start().await, Gate::new());
    let setup =
        Setup::new([provider.entry("upstream", &["openai_chat"])]).set("ledger", json!({"interrupted": "zero"}));
    let mut gateway = setup.start().await;
    provider.always(Api::Chat.stream().gated_after(2, &gate));
    let (mut wire, id) = begin(&gateway, Api::Chat, 2).await;
    gateway.kill();
    wire.body().await.expect_err("cut off");
    gateway.restart().await;
    let row = gateway.admin().row_of(&id).await;
    assert_eq!((&row["outcome"], &row["estimated"]), (&json!("interrupted"), &json!(true)), "{row}");
    assert_eq!(cost_of_row(&row), 0, "{row}");
}
