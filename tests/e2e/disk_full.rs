//! The journal's disk is full: requests are refused, and what was taken is charged.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "how many got through is part of the result")]

use crate::support::books::database;
use crate::support::gateway::Setup;
use crate::support::{Api, Gate, Provider, eventually, small_disk};

const DIALECTS: [&str; 5] = ["anthropic", "openai_chat", "openai_responses", "openai_embeddings", "gemini"];

/// Bytes of the disk.
const DISK: u64 = 256 * 1_024;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_in_every_dialect_and_loses_nothing() {
    if let Some(why) = small_disk::why_not() {
        eprintln!("SKIPPED: a full disk cannot be tried here, for no file system can be mounted: {why}");
        return;
    }
    // Fewer places than there will be refusals: each of them has to be given back.
    const PLACES: usize = 64;
    let (provider, gate) = (Provider::start().await, Gate::new());
    let setup = Setup::new([provider.entry("upstream", &DIALECTS)]).small_disk(DISK);
    let gateway = setup.set("ledger.journal_max", PLACES * 2_048).start().await;
    provider.always(Api::Chat.answer());
    assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200);
    // What is on its way when the disk fills up has its room.
    provider.then(Api::Chat.stream().gated_after(2, &gate));
    let mut early = gateway.connect().await;
    let body = Api::Chat.request(crate::support::gateway::MODEL, true);
    early.post(&Api::Chat.path("", true), gateway.key(), &body).await;
    let early_id = early.head().await.unwrap().request_id().to_owned();
    gateway.metric_is("ledger_pending_records", 0.0).await;
    // Nobody else can write now: places stay taken.
    let db = database(&gateway).await;
    let held = tollgate::store::begin_write(&db).await.unwrap();
    let filler = gateway.fill_disk();

    let mut accepted = vec![early_id];
    let refusal = loop {
        let reply = gateway.ask(Api::Chat, false).await;
        if reply.head.status != 200 {
            break reply;
        }
        accepted.push(reply.head.request_id().to_owned());
        assert!(accepted.len() < PLACES, "the disk is full");
    };
    Api::Chat.refuses(&refusal, 503, "budget_unavailable");
    let mut refused = 1;
    while refused < PLACES * 2 {
        for (api, stream) in Api::every_way() {
            api.refuses(&gateway.ask(api, stream).await, 503, "budget_unavailable");
            refused += 1;
        }
    }
    let reached = provider.requests().len();
    assert_eq!(reached, accepted.len() + 1, "what is refused reaches no provider");
    gate.open_wide();
    early.body().await.unwrap();

    std::fs::remove_file(filler).unwrap();
    let after = eventually("requests are taken again, without a database still", async || {
        let reply = gateway.ask(Api::Chat, false).await;
        (reply.head.status == 200).then(|| reply.head.request_id().to_owned())
    })
    .await;
    accepted.push(after);
    held.rollback().await.unwrap();
    gateway.metric_is("ledger_pending_records", 0.0).await;
    println!("{} were accepted while the database was held, {refused} refused by a full disk", accepted.len());
    let rows = gateway.admin().usage().await;
    assert_eq!(rows.len(), 1 + accepted.len(), "what was refused costs nothing");
    for id in &accepted {
        let [row] = gateway.admin().rows_of(id).await.try_into().unwrap();
        assert_eq!((row["outcome"].as_str(), row["estimated"].as_bool()), (Some("completed"), Some(false)), "{row}");
    }
    assert!(gateway.metric("journal_bytes").await.abs() < f64::EPSILON, "every place is free again");
}
