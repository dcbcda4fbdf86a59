//! Whatever is found in the folder of journals, the gateway starts, and charges only what is its own.

use std::fs;

use serde_json::json;

use crate::support::dialects::cost_of_row;
use crate::support::gateway::Setup;
use crate::support::leaving::begin;
use crate::support::{Api, Gate, Gateway, Provider};

/// A gateway that was killed in the middle of a stream, and the stream's id.
async fn killed() -> (Provider, Gateway, String) {
    let (provider, gate) = (Provider::start().await, Gate::new());
    let mut gateway = Setup::new([provider.entry("upstream", &["openai_chat"])]).start().await;
    provider.always(Api::Chat.stream().gated_after(2, &gate));
    let (_wire, id) = begin(&gateway, Api::Chat, 2).await;
    gateway.kill();
    (provider, gateway, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_another_database_is_left_alone_until_that_database_is_back() {
    let (_provider, mut gateway, id) = killed().await;
    let [journal] = gateway.journals().try_into().unwrap();
    let bytes = fs::read(&journal).unwrap();
    let (own, other) = (gateway.database_url(), gateway.folder().join("other.db"));
    gateway.rewrite("database.url", format!("sqlite://{}", other.display()));
    gateway.restart().await;
    let log = gateway.log();
    assert!(log.contains("written for another database") && log.contains(journal.to_str().unwrap()), "{log}");
    assert_eq!(fs::read(&journal).unwrap(), bytes, "it is as it was");
    assert!(gateway.admin().usage().await.is_empty(), "nothing of it is charged here");
    gateway.signal("TERM");
    gateway.ended().await;
    assert_eq!(gateway.journals(), [journal]);

    gateway.rewrite("database.url", own);
    gateway.restart().await;
    let row = gateway.admin().row_of(&id).await;
    assert_eq!((&row["outcome"], &row["estimated"]), (&json!("interrupted"), &json!(true)), "{row}");
    assert!(cost_of_row(&row) > 0, "{row}");
    assert_eq!(gateway.journals().len(), 1, "only that of the living");
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_copies_nor_garbage_prevent_a_start_and_nothing_is_charged_twice() {
    let (_provider, mut gateway, id) = killed().await;
    let [journal] = gateway.journals().try_into().unwrap();
    let folder = journal.parent().unwrap().to_owned();
    let bytes = fs::read(&journal).unwrap();
    fs::write(folder.join("0-copy.journal"), &bytes).unwrap();
    let garbage = [
        ("empty.journal", Vec::new()),
        ("head.journal", bytes[..40].to_vec()),
        ("noise.journal", (0..20_000_u32).map(|n| ((n * n) >> 3) as u8).collect()),
        ("half.new", bytes[..bytes.len() / 2].to_vec()),
        ("notes.txt", b"not a journal".to_vec()),
    ];
    for (name, content) in &garbage {
        fs::write(folder.join(name), content).unwrap();
    }
    fs::create_dir(folder.join("folder.journal")).unwrap();
    gateway.restart().await;
    let row = gateway.admin().row_of(&id).await;
    assert_eq!(row["outcome"], "interrupted", "{row}");
    let summary = gateway.admin().get("/usage/summary").await;
    assert_eq!((summary["requests"].as_i64(), nanos(&summary["totalUsd"])), (Some(1), cost_of_row(&row)), "{summary}");
    for (name, content) in &garbage {
        assert_eq!(fs::read(folder.join(name)).as_ref().ok(), Some(content), "{name} is left alone");
    }
    assert!(!journal.exists(), "everything in it is in the database");
    // Whichever is looked at first: a copy waits until the process that it was copied from is known to have ended.
    let told = gateway.log().contains("0-copy.journal");
    assert!(!folder.join("0-copy.journal").exists() || told, "it is in the database too, or waits: {}", gateway.log());
    for name in ["empty.journal", "head.journal", "noise.journal", "folder.journal"] {
        assert!(gateway.log().contains(name), "{name} is reported: {}", gateway.log());
    }
}

fn nanos(usd: &serde_json::Value) -> i64 {
    (usd.as_f64().unwrap() * 1e9).round() as i64
}
