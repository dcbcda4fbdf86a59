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
use crate::support::{Api, Gate, Provider, scale, seed};

/// Kills the gateway again and again under load, and does the accounts.
async fn kill_at_random(database: &str, setup: impl FnOnce(Setup) -> Setup) {
    let seed = seed();
    println!("{database}: TOLLGATE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let provider = Provider::start().await;
    provider.decide(load::answer);
    let setup = setup(Setup::new([provider.entry("upstream", &["openai_chat"])]));
    let (mut gateway, callers) = load::gateway(setup).await;
    let load = Load::start(&gateway, &callers);
    let (mut kills, mut slowest) = (0, Duration::ZERO);
    for _ in 0..scale(8, 50) {
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
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await.code(), Some(0));
    let accounts = Accounts::read(&gateway).await;
    let after = accounts.tally(&asked, &provider);
    assert_eq!((after.interrupted, after.not_sent), (figures.interrupted, figures.not_sent));
    assert!(gateway.journals().is_empty(), "a clean end leaves nothing: {:?}", gateway.journals());
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_killed_at_random_nothing_is_lost_or_charged_twice_on_sqlite() {
    kill_at_random("SQLite", |setup| setup).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_killed_at_random_nothing_is_lost_or_charged_twice_on_postgresql() {
    let postgres = Postgres::start();
    kill_at_random("PostgreSQL", |setup| setup.set("database.url", postgres.url("postgres"))).await;
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
