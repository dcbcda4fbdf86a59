//! The database goes away: nobody is refused for it, and everything is written once it is back, by whoever lives then.

#![allow(clippy::print_stdout, reason = "what became of the requests is part of the result")]

use std::time::{Duration, Instant};

use crate::servers::postgres::Postgres;
use crate::support::accounts::Accounts;
use crate::support::gateway::Setup;
use crate::support::load::{self, CLIENTS, Load};
use crate::support::{Api, Gateway, Provider, eventually, scale};

const DIALECTS: [&str; 5] = ["anthropic", "openai_chat", "openai_responses", "openai_embeddings", "gemini"];

/// Bytes of a journal that holds so many requests.
const fn journal_of(places: u64) -> u64 {
    places * 2_048
}

async fn start() -> (Postgres, Provider, Setup) {
    let (postgres, provider) = (Postgres::start(), Provider::start().await);
    let setup = Setup::new([provider.entry("upstream", &DIALECTS)]).set("database.url", postgres.url("postgres"));
    (postgres, provider, setup)
}

/// For so long the database is away.
fn outage() -> Duration {
    Duration::from_secs(scale(10, 60) as u64)
}

async fn everything_is_written(gateway: &Gateway) {
    gateway.metric_is("ledger_pending_records", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_no_request_fails_while_the_database_is_away_and_all_are_written_afterwards() {
    let (mut postgres, provider, setup) = start().await;
    provider.decide(load::answer);
    let (gateway, callers) = load::gateway(setup, "worst_case").await;
    let load = Load::start(&gateway, &callers);
    load.advances(CLIENTS * 2).await;
    postgres.stop();
    let gone = Instant::now();
    while gone.elapsed() < outage() {
        load.advances(CLIENTS).await;
    }
    let pending = gateway.metric("ledger_pending_records").await;
    let journal = gateway.metric("journal_bytes").await;
    postgres.restart();
    let back = Instant::now();
    let asked = load.stop().await;
    everything_is_written(&gateway).await;
    let caught_up = back.elapsed();
    let accounts = Accounts::read(&gateway).await;
    let figures = accounts.tally(&asked, &provider);
    println!(
        "away for {:?}: {} requests, {pending} records waited in {journal} bytes, written {caught_up:?} after its \
         return, {figures:?}",
        outage(),
        asked.len()
    );
    assert!(pending > 100.0, "the outage was long enough to matter: {pending}");
    assert_eq!(figures.whole, asked.len(), "no request fails");
    assert_eq!(accounts.len(), asked.len());
    accounts.match_budgets(&gateway, &callers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_killed_while_the_database_is_away_the_gateway_loses_nothing() {
    let (mut postgres, provider, setup) = start().await;
    provider.decide(load::answer);
    let (mut gateway, callers) = load::gateway(setup, "worst_case").await;
    let load = Load::start(&gateway, &callers);
    load.advances(CLIENTS * 2).await;
    postgres.stop();
    let gone = Instant::now();
    while gone.elapsed() < outage() / 2 {
        load.advances(CLIENTS).await;
    }
    let pending = gateway.metric("ledger_pending_records").await;
    gateway.kill();
    gateway.relaunch();
    assert_eq!(gateway.ended().await.code(), Some(3), "the database is needed for a start: {}", gateway.log());
    assert_eq!(gateway.journals().len(), 1, "what is left waits: {:?}", gateway.journals());
    postgres.restart();
    let start = Instant::now();
    gateway.relaunch();
    gateway.ready().await;
    let started = start.elapsed();
    load.advances(CLIENTS).await;
    let asked = load.stop().await;
    everything_is_written(&gateway).await;
    let accounts = Accounts::read(&gateway).await;
    let figures = accounts.tally(&asked, &provider);
    println!(
        "killed after {:?} without a database: {} requests, {pending} records were left to the next start, which took \
         {started:?}, {figures:?}",
        outage() / 2,
        asked.len()
    );
    assert!(pending > 50.0, "there was something to lose: {pending}");
    assert!(figures.not_sent <= CLIENTS, "{figures:?}");
    accounts.match_budgets(&gateway, &callers).await;
    assert_eq!(gateway.journals().len(), 1, "{:?}", gateway.journals());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_full_refuses_in_every_dialect_and_loses_nothing() {
    const PLACES: u64 = 32;
    let (postgres, provider, setup) = start().await;
    let gateway = setup.set("ledger.journal_max", journal_of(PLACES)).start().await;
    provider.always(Api::Chat.answer());
    assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200);
    everything_is_written(&gateway).await;
    postgres.pause();
    let mut accepted = Vec::new();
    let refusal = loop {
        let reply = gateway.ask(Api::Chat, false).await;
        if reply.head.status != 200 {
            break reply;
        }
        accepted.push(reply.head.request_id().to_owned());
        assert!(accepted.len() as u64 <= PLACES, "there is no room for so many");
    };
    Api::Chat.refuses(&refusal, 503, "budget_unavailable");
    for (api, stream) in Api::every_way() {
        api.refuses(&gateway.ask(api, stream).await, 503, "budget_unavailable");
    }
    println!("{} of {PLACES} places were used before the first refusal", accepted.len());
    assert_eq!(accepted.len() as u64, PLACES);
    assert_eq!(provider.requests().len() as u64, 1 + PLACES, "what is refused reaches no provider");
    postgres.resume();
    eventually("requests are taken again", async || {
        (gateway.ask(Api::Chat, false).await.head.status == 200).then_some(())
    })
    .await;
    everything_is_written(&gateway).await;
    let rows = gateway.admin().usage().await;
    assert_eq!(rows.len() as u64, PLACES + 2, "nothing was charged that was refused");
    for id in &accepted {
        assert_eq!(rows.iter().filter(|row| row["requestId"] == **id).count(), 1, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_while_the_database_is_away_the_gateway_leaves_its_records_to_the_next_start() {
    const REQUESTS: usize = 20;
    let (mut postgres, provider, setup) = start().await;
    let mut gateway = setup.start().await;
    provider.always(Api::Chat.answer());
    assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200);
    everything_is_written(&gateway).await;
    postgres.stop();
    let mut ids = Vec::new();
    for _ in 0..REQUESTS {
        let reply = gateway.ask(Api::Chat, false).await;
        assert_eq!(reply.head.status, 200);
        ids.push(reply.head.request_id().to_owned());
    }
    let asked = Instant::now();
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await.code(), Some(0));
    println!("{REQUESTS} records were left in the journal, {:?} after TERM", asked.elapsed());
    assert!(gateway.log().contains("records are left in the journal"), "{}", gateway.log());
    let [left] = gateway.journals().try_into().unwrap();
    postgres.restart();
    gateway.restart().await;
    let rows = gateway.admin().usage().await;
    assert_eq!(rows.len(), 1 + REQUESTS, "they are there before anybody can ask");
    for id in &ids {
        let row = gateway.admin().row_of(id).await;
        assert_eq!((row["outcome"].as_str(), row["estimated"].as_bool()), (Some("completed"), Some(false)), "{row}");
    }
    assert_eq!(gateway.journals().len(), 1, "only that of the living");
    assert!(!left.exists());
}
