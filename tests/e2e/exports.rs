//! An export takes no more memory than a part of it does, however long it is and however slowly it is read.

#![allow(clippy::print_stdout, reason = "how much memory it took is part of the result")]

use std::time::{Duration, Instant};

use sea_orm::EntityTrait;

use crate::servers::crowd;
use crate::support::books::database;
use crate::support::gateway::ADMIN_TOKEN;
use crate::support::wire::request;
use crate::support::{Gateway, Provider, SOON, Wire, scale, within};

/// By how much the process may grow meanwhile: less than even the text of a whole export has, in either format.
const MOST: usize = 12 << 20;

/// The rows before are enough to fill what the process and the database's connections keep: 15 000.
const WARM_UP: &str = "1970-01-01T00:25:00Z";

/// How often a reader pauses, and for how long.
const TAKEN: usize = 256 << 10;
const PAUSE: Duration = Duration::from_millis(2);

/// Bytes that the process has in memory.
fn resident(gateway: &Gateway) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.process_id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// Asks for all rows; the answer has begun.
async fn export(gateway: &Gateway, target: &str, accept: &str) -> Wire {
    let address = gateway.admin().base().trim_start_matches("http://").parse().unwrap();
    let mut wire = Wire::connect(address).await;
    let headers = [("authorization", &*format!("Bearer {ADMIN_TOKEN}")), ("accept", accept)];
    wire.send(request("GET", target, &headers, b"")).await.unwrap();
    assert_eq!(wire.head().await.unwrap().status, 200);
    wire
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_exports_take_no_more_memory_than_a_part_of_them_however_slowly_they_are_read() {
    let rows = scale(100_000, 1_000_000);
    let provider = Provider::start().await;
    let gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    crowd::spend(&database(&gateway).await, rows as u64).await;
    for accept in ["text/csv", "application/x-ndjson"] {
        // What is used again and again is there by now.
        export(&gateway, &format!("/api/v1/usage?to={WARM_UP}"), accept).await.body().await.unwrap();
    }
    // The gateway adds up rows of long ago beside that, once.
    let db = database(&gateway).await;
    within(SOON * 2, "they are summed up", async || {
        let state = entity::usage_rollup_state::Entity::find().one(&db).await.unwrap().unwrap();
        (state.sealed_until > 0 && state.sealed_until == state.announced_until).then_some(())
    })
    .await;
    let before = resident(&gateway);
    for accept in ["text/csv", "application/x-ndjson"] {
        let start = Instant::now();
        let mut wire = export(&gateway, "/api/v1/usage", accept).await;
        // It goes on as far as the buffers between them let it, and no further.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (mut lines, mut bytes, mut since_pause, mut most) = (0, 0, 0, resident(&gateway));
        while let Some(piece) = wire.piece().await.unwrap() {
            lines += piece.iter().filter(|byte| **byte == b'\n').count();
            bytes += piece.len();
            since_pause += piece.len();
            if since_pause > TAKEN {
                since_pause = 0;
                most = most.max(resident(&gateway));
                tokio::time::sleep(PAUSE).await;
            }
        }
        let grown = most.saturating_sub(before);
        println!(
            "{accept}: {lines} lines, {bytes} bytes in {:?}; {before} bytes resident, {grown} more",
            start.elapsed()
        );
        assert_eq!(lines, rows + usize::from(accept == "text/csv"));
        assert!(bytes > MOST * 5 / 4, "{accept}: held as a whole, {bytes} bytes would not be noticed");
        assert!(grown < MOST, "{accept}: {grown} bytes more than before");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_stall_or_leave_in_the_middle_of_an_export_are_in_nobodys_way() {
    let provider = Provider::start().await;
    let gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    crowd::spend(&database(&gateway).await, 20_000).await;
    let mut stalled = Vec::new();
    for n in 0..40 {
        let mut wire = export(&gateway, "/api/v1/usage", "text/csv").await;
        wire.at_least(1_000).await;
        if n % 2 == 0 { stalled.push(wire) } else { wire.reset() }
    }
    // More stall than the database has connections.
    let start = Instant::now();
    gateway.admin().user(serde_json::json!({})).await;
    gateway.admin().get("/users").await;
    println!("beside {} exports that stall: {:?}", stalled.len(), start.elapsed());
    let lines = stalled.pop().unwrap().body().await.unwrap();
    assert!(lines.ends_with(b"\r\n"), "whoever goes on gets the rest");
}
