//! A node that is silent for so long that the others give it up: what it had told and not written is charged in its name,
//! the rest of what it held is free again, and when it returns its own rows take the place of that.

use std::time::{Duration, Instant};

use entity::usage_ledger;
use sea_orm::DatabaseConnection;
use serde_json::json;
use tollgate::budget::Holding;

use crate::harness::{Cluster, MODEL, OTHER_MODEL, Plan};
use crate::inside;
use crate::servers::redis::Redis;
use crate::support::admin::Caller;
use crate::support::books::{Sums, database};
use crate::support::capped::{self, Whose};
use crate::support::{eventually, within};
use crate::traffic::{Asked, Order, Traffic, tally};
use crate::witness::{Witness, of_user};

const CAP: i64 = 10_000_000_000;

/// What a request here costs.
const COST: i64 = 50_000_000;

/// So much the lost node has told and not written, at least.
const UNWRITTEN: i64 = 10 * COST;

/// After `dead_after` and `write_off` whoever gives it up watches it for another `dead_after`, and looks every few seconds.
const GIVEN_UP: Duration = Duration::from_secs(60);

const PACE: Order = Order { model: MODEL, max_tokens: 1_000, pause: Duration::from_millis(10) };

/// Two nodes that spend of one budget. The second is in the middle of it, and has told more than it could write.
struct Scene {
    cluster: Cluster,
    caller: Caller,
    db: DatabaseConnection,
    witness: Witness,
    /// The life of the second node.
    inc: i64,
    own: Option<Traffic>,
    asked: Vec<Asked>,
}

impl Scene {
    async fn begin(redis: &Redis) -> Self {
        let lease = json!({"life": "2s", "dead_after": "5s", "write_off": "4s"});
        let cluster = Plan::new(2, &redis.url()).budgets("lease", lease).start().await;
        let caller = cluster.limited(Whose::User, "total", 10.0).await;
        let (db, witness) = (database(&cluster.nodes[0]).await, Witness::of(&redis.url()));
        let inc = inside::life(&db, "node 1").await.inc;
        let callers = std::slice::from_ref(&caller);
        let living = Traffic::start(&[&cluster.nodes[0]], callers, 1, PACE);
        let own = Traffic::start(&[&cluster.nodes[1]], callers, 3, PACE);
        own.passes(5).await;
        inside::refuse_records(&db, inc).await;
        eventually("it has told what is not written", async || {
            let held = witness.holding(of_user(&caller), inc).await?;
            (held.unwritten.nanos() >= UNWRITTEN && held.reserved.nanos() > 0).then_some(())
        })
        .await;
        let asked = living.stop().await;
        Self { cluster, caller, db, witness, inc, own: Some(own), asked }
    }

    /// What the second node holds; it is silent.
    async fn held(&self) -> Holding {
        self.witness.holding(of_user(&self.caller), self.inc).await.expect("Redis knows what it holds")
    }

    /// The first node spends all it can; how much that is in the ledger then.
    async fn spend_the_rest(&self) -> Sums {
        let passed = capped::ask(&[&self.cluster.nodes[0]], &self.caller, MODEL, Some(1_000), 220).await;
        assert!((1..220).contains(&passed), "{passed} passed");
        self.cluster.nodes[0].metric_is("ledger_pending_records", 0.0).await;
        self.cluster.books.sums(&self.caller).await
    }

    /// The others give it up, charge what it had told, and can spend the rest. Returns what it held.
    async fn is_given_up(&self, silent_since: Instant) -> Holding {
        let before = self.spend_the_rest().await;
        let held = self.held().await;
        let kept = held.reserved + held.kept;
        let all = before.nanos + held.unwritten.nanos() + kept.nanos();
        println!(
            "it held {kept} USD and had told {} USD that it had not written; the other has spent all but that: {before:?}",
            held.unwritten
        );
        assert!(all <= CAP, "what a silent node holds is its own: {all}");
        assert!(all >= CAP * 98 / 100, "and all else can be spent: {all}");

        let node = &self.cluster.nodes[0];
        within(GIVEN_UP, "it is given up", async || {
            (node.metric("nodes_written_off_total").await >= 1.0).then_some(())
        })
        .await;
        println!("given up {:?} after its last word", silent_since.elapsed());
        node.metric_is("nodes_written_off_total", 1.0).await;
        assert_eq!(inside::life_of(&self.db, self.inc).await.state, "dead");
        let (charged, others) = self.rows().await;
        let [row] = &charged[..] else { panic!("one row is charged for it: {charged:?}") };
        assert_eq!((&*row.outcome, row.estimated, row.cost_nanos), ("interrupted", true, held.unwritten.nanos()));
        assert!(row.counted_in_user_global && row.key_id == 0, "{row:?}");
        assert_eq!(others.len(), before.rows);

        let after = self.spend_the_rest().await;
        let balanced = self.cluster.balance_on(&[node], &self.caller).await;
        println!("all that can be spent then: {after:?} of {CAP}");
        assert_eq!(after, balanced);
        assert!(after.nanos <= CAP, "{after:?}");
        assert!(after.nanos >= CAP * 99 / 100, "what it held can be spent again: {after:?}");
        self.cluster.audit();
        held
    }

    /// What was charged in the name of the node, with what took that back; and the rows of requests.
    async fn rows(&self) -> (Vec<usage_ledger::Model>, Vec<usage_ledger::Model>) {
        // Nobody knows whose requests those were.
        self.cluster.books.rows(&self.caller).await.into_iter().partition(|row| row.requested_model.is_empty())
    }

    /// It is back, in another life: its own rows are there, and what was charged for it is taken back.
    async fn has_returned(mut self, held: Holding) {
        self.cluster.nodes[1].relaunch();
        self.cluster.nodes[1].ready().await;
        eventually("its life is over", async || {
            (inside::life_of(&self.db, self.inc).await.state == "closed").then_some(())
        })
        .await;
        assert_ne!(inside::life(&self.db, "node 1").await.inc, self.inc, "it has begun another life");
        self.asked.extend(self.own.take().unwrap().stop().await);
        let sums = self.cluster.balance(&self.caller).await;
        let (charged, others) = self.rows().await;
        let outcomes: Vec<_> = charged.iter().map(|row| (&*row.outcome, row.cost_nanos)).collect();
        let unwritten = held.unwritten.nanos();
        assert_eq!(outcomes.len(), 2, "{outcomes:?}");
        assert!(outcomes.contains(&("interrupted", unwritten)) && outcomes.contains(&("corrected", -unwritten)));

        let ended = tally(&self.asked);
        let spent: i64 = others.iter().map(|row| row.cost_nanos).sum();
        let passed = self.cluster.provider.requests().len();
        let beyond = spent - CAP;
        println!(
            "after its return {} rows, {spent} nano-dollars, {beyond} beyond the cap; it held {}; {passed} requests \
             reached the provider; {ended:?}",
            others.len(),
            held.reserved + held.kept,
        );
        assert_eq!(spent, sums.nanos);
        assert!(beyond <= (held.reserved + held.kept).nanos(), "no more than it held is spent twice: {beyond}");
        let completed = others.iter().filter(|row| row.outcome == "completed").count();
        assert!(others.iter().all(|row| row.outcome != "completed" || row.cost_nanos == COST), "{others:?}");
        assert!(others.iter().all(|row| ["completed", "interrupted"].contains(&&*row.outcome)), "{others:?}");
        // Each request that somebody was answered, and those whose end nobody has seen.
        assert!(completed <= passed && passed <= others.len(), "{completed} completed of {passed}");
        self.cluster.audit();

        for node in self.cluster.all() {
            node.spends_too_much(&self.caller, MODEL, 50).await;
        }
        let other = self.cluster.limited(Whose::User, "total", 1.0).await;
        self.cluster.nodes[1].spends(&other, OTHER_MODEL, 50).await;
        self.cluster.balance(&other).await;
        self.cluster.nodes[0].metric_is("nodes_written_off_total", 1.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_would_be_given_up_after_a_moment_says_often_enough_that_it_lives() {
    let redis = Redis::start();
    let lease = json!({"life": "500ms", "dead_after": "3s", "write_off": "1s"});
    let cluster = Plan::new(2, &redis.url()).budgets("lease", lease).start().await;
    let caller = cluster.limited(Whose::User, "total", 10.0).await;
    for _ in 0..4 {
        // For longer than anybody may be silent, it has nothing to say about budgets.
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        for node in cluster.all() {
            node.spends(&caller, MODEL, 50).await;
        }
    }
    cluster.balance(&caller).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_never_returns_is_written_off_and_when_its_folder_is_found_its_own_rows_take_the_place_of_that() {
    let redis = Redis::start();
    let mut scene = Scene::begin(&redis).await;
    scene.cluster.nodes[1].kill();
    let killed = Instant::now();
    let (folder, elsewhere) = (scene.cluster.nodes[1].data_dir(), scene.cluster.nodes[1].folder().join("elsewhere"));
    std::fs::rename(&folder, &elsewhere).unwrap();
    inside::take_records(&scene.db).await;
    let held = scene.is_given_up(killed).await;
    std::fs::rename(&elsewhere, &folder).unwrap();
    scene.has_returned(held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stood_still_until_it_was_written_off_stops_itself_and_spends_no_more_than_it_held() {
    let redis = Redis::start();
    let mut scene = Scene::begin(&redis).await;
    scene.cluster.nodes[1].signal("STOP");
    let stopped = Instant::now();
    inside::take_records(&scene.db).await;
    let held = scene.is_given_up(stopped).await;
    scene.cluster.nodes[1].signal("CONT");
    let went_on = Instant::now();
    let status = scene.cluster.nodes[1].ended().await;
    println!("it ended {:?} after it went on: {status}", went_on.elapsed());
    let log = scene.cluster.nodes[1].log();
    assert!(log.contains("the other nodes have given up this one"), "it says why: {log}");
    assert_eq!(status.code(), Some(0));
    scene.has_returned(held).await;
}
