//! Lives of processes that follow each other quickly, share a name or a folder, or overlap: each holds its own, and what it
//! has left is charged once.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tollgate::config::Lease;

use crate::harness::{Cluster, MODEL, Plan, axis};
use crate::inside;
use crate::servers::redis::Redis;
use crate::support::accounts::{Accounts, Figures};
use crate::support::admin::Caller;
use crate::support::books::database;
use crate::support::capped::Whose;
use crate::support::gateway::upgrade;
use crate::support::load::{self, Asked, CLIENTS, Load};
use crate::support::{Api, Gate, Gateway, SOON, eventually, scale, spending};

/// Nodes under the load whose every request can be told from all others.
async fn loaded(nodes: usize, redis: &Redis, plan: impl FnOnce(Plan) -> Plan) -> (Cluster, Vec<Caller>) {
    let cluster = plan(Plan::new(nodes, &redis.url()).loaded()).start().await;
    let callers = load::callers(cluster.admin()).await;
    for caller in &callers {
        for whose in [Whose::User, Whose::Key] {
            cluster.agree(&cluster.all(), axis(whose, caller)).await;
        }
    }
    (cluster, callers)
}

/// Everything that was asked is charged as it ended, and every node knows.
async fn accounts(cluster: &Cluster, callers: &[Caller], asked: &[Asked]) -> Figures {
    for node in &cluster.nodes {
        node.metric_is("ledger_pending_records", 0.0).await;
    }
    for caller in callers {
        cluster.balance(caller).await;
    }
    let accounts = Accounts::read(&cluster.nodes[0]).await;
    let figures = accounts.tally(asked, &cluster.provider);
    for node in &cluster.nodes {
        accounts.match_budgets(node, callers).await;
    }
    cluster.audit();
    figures
}

/// Nothing of what is over keeps anybody from spending.
async fn nobody_is_blocked(cluster: &Cluster, callers: &[Caller], asked: &mut Vec<Asked>) {
    let load = Load::start_over(&cluster.nodes, callers, asked);
    load.advances(CLIENTS * 2).await;
    let more = load.stop().await;
    let failed: Vec<_> = more.iter().filter(|asked| !asked.is_answered()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    asked.extend(more);
}

/// The number of the one life whose journal is in a node's folder.
fn life(node: &Gateway) -> i64 {
    let journals = node.journals();
    let [journal] = &journals[..] else { panic!("one journal is there: {journals:?}") };
    journal.file_name().unwrap().to_str().unwrap().split_once('-').unwrap().0.parse().unwrap()
}

async fn killed_and_started_at_once(plan: impl FnOnce(Plan) -> Plan) {
    let redis = Redis::start();
    let (mut cluster, callers) = loaded(3, &redis, plan).await;
    let db = database(&cluster.nodes[0]).await;
    let load = Load::start_over(&cluster.nodes, &callers, &[]);
    let mut slowest = Duration::ZERO;
    let kills = scale(4, 40);
    for turn in 0..kills {
        load.advances(CLIENTS * 2).await;
        let node = &mut cluster.nodes[turn % 2];
        let killed_life = life(node);
        node.kill();
        let killed = Instant::now();
        node.relaunch();
        node.ready().await;
        slowest = slowest.max(killed.elapsed());
        assert_ne!(life(node), killed_life, "it has taken over the journal before it serves");
        assert_eq!(inside::life_of(&db, killed_life).await.state, "closed");
    }
    load.advances(CLIENTS * 2).await;
    let mut asked = load.stop().await;
    let figures = accounts(&cluster, &callers, &asked).await;
    println!("{kills} kills, the slowest start {slowest:?}, {} requests: {figures:?}", asked.len());
    assert!(figures.interrupted > 0, "{figures:?}");
    assert!(slowest < Lease::default().dead_after, "nobody can have taken it for dead: {slowest:?}");
    nobody_is_blocked(&cluster, &callers, &mut asked).await;
    let after = accounts(&cluster, &callers, &asked).await;
    assert_eq!((after.interrupted, after.not_sent), (figures.interrupted, figures.not_sent));
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_a_node_that_is_killed_and_started_at_once_takes_over_its_journal_before_anybody_takes_it_for_dead() {
    killed_and_started_at_once(|plan| plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_one_name_are_nodes_all_the_same() {
    killed_and_started_at_once(|plan| plan.set("node.name", "the only one")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_living_nodes_folder_begins_a_life_of_its_own() {
    let redis = Redis::start();
    let plan = || Plan::new(2, &redis.url()).set("node.name", "twin");
    let mut cluster = plan().start().await;
    let gate = Gate::new();
    let held = gate.clone();
    cluster.provider.decide(move |request| match request.json()["stream"] == true {
        true => spending::stream(request, 500).gated_after(2, &held),
        false => spending::answer(request),
    });
    let caller = cluster.limited(Whose::User, "total", 5.0).await;
    // One is open while the copy is made; others are over.
    cluster.nodes[0].spends(&caller, MODEL, 50).await;
    let mut body = spending::request(MODEL, Some(1_000));
    body["stream"] = json!(true);
    let mut open = cluster.nodes[0].connect().await;
    open.post(&Api::Chat.path(MODEL, true), &caller.secret, &body).await;
    let head = open.head().await.unwrap();
    assert_eq!(head.status, 200);
    open.piece().await.unwrap().unwrap();
    cluster.nodes[0].spends(&caller, MODEL, 50).await;
    let living = cluster.nodes[0].journals();

    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    copy(&cluster.nodes[0].data_dir(), &data_dir);
    let setup = plan().setup(0, &cluster.postgres, &cluster.provider);
    let mut twin = setup.set("node.data_dir", data_dir.display().to_string()).spawn();
    twin.ready().await;
    assert_eq!(cluster.nodes[0].journals(), living, "that of the living is where it was");
    println!("the copy's journals: {:?}", twin.journals());
    println!("the copy says:\n{}", twin.log());
    twin.spends(&caller, MODEL, 50).await;
    cluster.nodes.push(twin);
    let reserved = cluster.admin().window("user", caller.user_id, &json!("mainline"), "total").await;
    println!("while the stream of the living is open: {reserved}");
    assert!(reserved["reservedUsd"].as_f64().unwrap() >= 0.05, "its stream is still paid for: {reserved}");

    gate.open_wide();
    open.body().await.unwrap();
    cluster.nodes[0].spends(&caller, MODEL, 50).await;
    let sums = cluster.balance(&caller).await;
    let rows = cluster.books.rows(&caller).await;
    let row = rows.iter().find(|row| row.request_id == head.request_id()).expect("the stream's row");
    println!("{sums:?}, the stream of the living: {} {} {}", row.outcome, row.estimated, row.cost_nanos);
    assert_eq!((sums.rows, sums.estimated), (5, 0), "{rows:?}");
    assert_eq!((&*row.outcome, row.cost_nanos), ("completed", spending::cost_nanos(500)), "as it was answered");
    assert_eq!(sums.nanos, 4 * 50_000_000 + spending::cost_nanos(500));
    cluster.audit();
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_two_processes_of_one_folder_during_an_upgrade_count_as_two_nodes() {
    let redis = Redis::start();
    let (mut cluster, callers) = loaded(2, &redis, |plan| plan).await;
    let load = Load::start_over(&cluster.nodes, &callers, &[]);
    for _ in 0..scale(1, 5) {
        load.advances(CLIENTS * 2).await;
        let old = &mut cluster.nodes[0];
        let mut new = upgrade(old);
        let socket = old.data_dir().join("upgrade.sock");
        eventually("the successor waits for the sockets", async || {
            assert!(new.exit_status().is_none(), "{}", new.output());
            socket.exists().then_some(())
        })
        .await;
        load.advances(CLIENTS).await;
        old.signal("QUIT");
        eventually("the successor serves", async || {
            assert!(new.exit_status().is_none(), "{}", new.output());
            new.output().contains("the gateway takes requests").then_some(())
        })
        .await;
        load.advances(CLIENTS * 2).await;
        assert_eq!(old.ended().await.code(), Some(0));
        load.advances(CLIENTS * 2).await;
        // The next one is a process that the cluster itself has started.
        new.signal("TERM");
        assert_eq!(new.wait(SOON).code(), Some(0));
        old.relaunch();
        old.ready().await;
    }
    load.advances(CLIENTS).await;
    let mut asked = load.stop().await;
    let figures = accounts(&cluster, &callers, &asked).await;
    println!("{} requests: {figures:?}", asked.len());
    assert_eq!((figures.interrupted, figures.not_sent), (0, 0), "{figures:?}");
    nobody_is_blocked(&cluster, &callers, &mut asked).await;
    accounts(&cluster, &callers, &asked).await;
}
