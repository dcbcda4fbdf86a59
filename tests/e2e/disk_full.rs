//! The journal's disk is full: requests are refused, and what was taken is charged.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "how many got through is part of the result")]

use sea_orm::DatabaseTransaction;
use serde_json::Value;

use crate::servers::process::is_root;
use crate::support::books::database;
use crate::support::gateway::Setup;
use crate::support::leaving::{DIALECTS, begin};
use crate::support::small_disk::SmallDisk;
use crate::support::{Api, Gate, Gateway, Provider, Wire, eventually};

/// Bytes of the disk.
const DISK: u64 = 256 * 1_024;

/// Fewer than there will be refusals: each of them has to give its place back.
const PLACES: usize = 64;

/// A gateway whose disk has filled up while the database takes nothing.
struct Full {
    provider: Provider,
    gateway: Gateway,
    /// Everybody else waits for it.
    held: DatabaseTransaction,
    /// What is on the disk beside the journal.
    filler: std::path::PathBuf,
    /// A stream that began before, and its end.
    early: Wire,
    gate: Gate,
    /// What was taken: the stream, and what found room in the journal's last page.
    accepted: Vec<String>,
    refused: usize,
}

/// None, and a word about it, where somebody without rights cannot mount a file system.
async fn full() -> Option<Full> {
    if let Some(why) = SmallDisk::why_not() {
        assert!(!is_root(), "whoever may do anything can mount a file system: {why}");
        eprintln!("SKIPPED: a full disk cannot be tried here, for no file system can be mounted: {why}");
        return None;
    }
    let (provider, gate) = (Provider::start().await, Gate::new());
    let setup = Setup::new([provider.entry("upstream", &DIALECTS)]).small_disk(DISK);
    let gateway = setup.set("ledger.journal_max", PLACES * 2_048).start().await;
    provider.then(Api::Chat.stream().gated_after(2, &gate));
    provider.always(Api::Chat.answer());
    let (early, id) = begin(&gateway, Api::Chat, 2).await;
    let held = tollgate::store::begin_write(&database(&gateway).await).await.unwrap();
    let filler = gateway.disk().fill();
    let mut full = Full { provider, gateway, held, filler, early, gate, accepted: vec![id], refused: 0 };
    full.ask().await;
    Some(full)
}

impl Full {
    /// Asks until nothing is taken any more, and then more often than there are places.
    async fn ask(&mut self) {
        loop {
            let reply = self.gateway.ask(Api::Chat, false).await;
            if reply.head.status != 200 {
                break;
            }
            self.accepted.push(reply.head.request_id().to_owned());
            assert!(self.accepted.len() < PLACES, "the disk is full");
        }
        while self.refused < PLACES * 2 {
            for (api, stream) in Api::every_way() {
                api.refuses(&self.gateway.ask(api, stream).await, 503, "budget_unavailable");
                self.refused += 1;
            }
        }
        assert_eq!(self.provider.requests().len(), self.accepted.len(), "what is refused reaches no provider");
    }
}

/// The one row of each of these requests, and no other.
async fn rows_of(gateway: &Gateway, ids: &[String]) -> Vec<Value> {
    gateway.metric_is("ledger_pending_records", 0.0).await;
    let rows = gateway.admin().usage().await;
    assert_eq!(rows.len(), ids.len(), "what was refused costs nothing");
    let row = |id: &String| rows.iter().find(|row| row["requestId"] == **id).expect("what was taken is charged");
    ids.iter().map(|id| row(id).clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_in_every_dialect_and_loses_nothing() {
    let Some(Full { provider: _provider, gateway, held, filler, mut early, gate, mut accepted, refused }) =
        full().await
    else {
        return;
    };
    gate.open_wide();
    early.body().await.expect("what was on its way has its room");
    std::fs::remove_file(filler).unwrap();
    let after = eventually("requests are taken again, the database still being held", async || {
        let reply = gateway.ask(Api::Chat, false).await;
        (reply.head.status == 200).then(|| reply.head.request_id().to_owned())
    })
    .await;
    accepted.push(after);
    held.rollback().await.unwrap();
    for row in rows_of(&gateway, &accepted).await {
        assert_eq!((row["outcome"].as_str(), row["estimated"].as_bool()), (Some("completed"), Some(false)), "{row}");
    }
    println!("{} requests were taken, {refused} refused by a full disk", accepted.len());
    assert!(gateway.metric("journal_bytes").await.abs() < f64::EPSILON, "every place is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_on_a_full_disk_the_gateway_starts_again_and_loses_nothing() {
    let Some(Full { provider: _provider, mut gateway, held, accepted, refused, .. }) = full().await else { return };
    gateway.kill();
    held.rollback().await.unwrap();
    // The disk is as full as it was.
    gateway.restart().await;
    let rows = rows_of(&gateway, &accepted).await;
    assert_eq!(rows[0]["outcome"], "interrupted", "the stream: {}", rows[0]);
    for row in &rows[1..] {
        assert_eq!((row["outcome"].as_str(), row["estimated"].as_bool()), (Some("completed"), Some(false)), "{row}");
    }
    println!("{} requests were taken, {refused} refused by a full disk before the crash", accepted.len());
    assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200, "what was left made room");
    assert_eq!(gateway.journals().len(), 1, "{:?}", gateway.journals());
}
