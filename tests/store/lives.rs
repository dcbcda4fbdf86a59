//! Nodes live and die: who is silent for too long is written off once, who returns is charged what it wrote, and the
//! authority of the budgets hears of every end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use entity::{gateway_nodes, usage_ledger, write_offs};
use sea_orm::{DatabaseConnection, EntityTrait, PaginatorTrait};
use tollgate::budget::{
    Answer, Audit, Authority, AuthorityError, Clock, Incarnation, Item, Lifeline, MemoryAuthority, Seed, SeedQuery,
    SeedStatement, Seeded, Seeds, Statement, Terms, WindowQuery, WindowSeed,
};
use tollgate::config::Interrupted;
use tollgate::ledger::journal::JournalHome;
use tollgate::ledger::{
    self, Fate, Ledger, LedgerOptions, LedgerRecord, LedgerSeeds, Loss, Pulse, Silence, Silent, begin_life,
};
use tollgate::limit::{Axis, BudgetId, CapStep, Mode, Policy, Scope, Source, Window, WindowPolicy, provider_owner};
use tollgate::money::Usd;
use tollgate::server::Undertaker;

use crate::database::{TestDatabase, execute, on_both};
use crate::ledger::{LIMIT, commit, record, rows};

const NOW: i64 = 1_000_000_000;
const SILENCE: Silence = Silence { dead_after: 30_000, write_off: 600_000 };

on_both!(
    a_heartbeat_is_seen_and_learns_what_became_of_its_life,
    a_life_that_is_seen_again_is_not_written_off,
    of_two_who_write_off_a_life_one_does,
    what_is_written_off_counts_in_one_budget,
    what_was_written_off_is_taken_back_to_the_nano_when_the_node_returns,
    a_silent_node_is_watched_before_it_is_written_off_once,
    whom_the_authority_hears_is_not_written_off,
    an_authority_that_was_away_is_told_later_of_a_life_that_ended,
    what_cannot_be_read_of_one_budget_keeps_nobody_from_being_written_off,
    of_who_was_written_off_and_returns_the_authority_counts_what_the_ledger_says,
    a_recovery_says_which_lives_it_ended,
);

/// An authority that may be away.
struct Sometimes {
    inner: MemoryAuthority,
    away: AtomicBool,
    /// What it keeps of [`OTHER`] makes no sense.
    garbled: AtomicBool,
}

impl Sometimes {
    fn there(&self) -> Result<(), AuthorityError> {
        if self.away.load(Ordering::SeqCst) { Err(AuthorityError::Away("it is night".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl Authority for Sometimes {
    async fn exchange(&self, budget: BudgetId, statement: &Statement) -> Result<Answer, AuthorityError> {
        self.there()?;
        self.inner.exchange(budget, statement).await
    }

    async fn seed(&self, budget: BudgetId, seed: &SeedStatement) -> Result<Seeded, AuthorityError> {
        self.there()?;
        self.inner.seed(budget, seed).await
    }

    async fn close(&self, inc: Incarnation, budgets: &[BudgetId]) -> Result<(), AuthorityError> {
        self.there()?;
        self.inner.close(inc, budgets).await
    }

    async fn count_anew(&self, budgets: &[BudgetId]) -> Result<(), AuthorityError> {
        self.there()?;
        self.inner.count_anew(budgets).await
    }

    async fn held_by(&self, inc: Incarnation) -> Result<Vec<BudgetId>, AuthorityError> {
        self.there()?;
        if self.garbled.load(Ordering::SeqCst) {
            return Ok(vec![OTHER, USER]);
        }
        self.inner.held_by(inc).await
    }

    async fn audit(&self, budget: BudgetId) -> Result<Option<Audit>, AuthorityError> {
        self.there()?;
        if budget == OTHER && self.garbled.load(Ordering::SeqCst) {
            return Err(AuthorityError::Garbled("a number".to_owned()));
        }
        self.inner.audit(budget).await
    }
}

/// A node that lives, at a time that moves when told to.
struct World {
    db: DatabaseConnection,
    time: Arc<AtomicI64>,
    pulse: Arc<Pulse>,
    seeds: Arc<LedgerSeeds>,
    authority: Arc<Sometimes>,
}

impl World {
    async fn new(database: &TestDatabase) -> Self {
        let db = database.open().await;
        let time = Arc::new(AtomicI64::new(NOW));
        let clock: Clock = {
            let time = Arc::clone(&time);
            Arc::new(move || time.load(Ordering::SeqCst))
        };
        let inc = begin_life(&db, "judge", false, NOW).await.unwrap();
        let ledger = Arc::new(Ledger::start(db.clone(), inc, LedgerOptions::default()));
        let seeds = Arc::new(LedgerSeeds::new(db.clone(), ledger));
        seeds.set_providers(["pretend", "other"]);
        let pulse = Pulse::new(db.clone(), inc, NOW, SILENCE, Arc::clone(&clock));
        let inner = MemoryAuthority::new(clock, 0);
        let authority = Arc::new(Sometimes { inner, away: AtomicBool::new(false), garbled: AtomicBool::new(false) });
        Self { db, time, pulse, seeds, authority }
    }

    fn undertaker(&self) -> Undertaker {
        let authority = Arc::clone(&self.authority) as Arc<dyn Authority>;
        Undertaker::new(self.db.clone(), authority, Arc::clone(&self.seeds), Arc::clone(&self.pulse), Arc::default())
    }

    fn pass(&self, ms: i64) -> i64 {
        self.time.fetch_add(ms, Ordering::SeqCst) + ms
    }

    async fn node(&self) -> Silent {
        let inc = begin_life(&self.db, "pod", false, NOW).await.unwrap();
        Silent { inc, name: "pod".to_owned(), seen_at: NOW }
    }

    async fn life(&self, inc: i64) -> gateway_nodes::Model {
        gateway_nodes::Entity::find_by_id(inc).one(&self.db).await.unwrap().unwrap()
    }

    async fn total(&self, budget: BudgetId) -> i64 {
        let window =
            WindowQuery { window: Window::Total, since_era: 0, from: i64::MIN, by_minute: false, first_charge: false };
        self.seeds.seed(&SeedQuery { budget, windows: vec![window] }).await.unwrap().windows[0].sum.nanos()
    }

    /// The authority counts from so much, while this is the only node.
    async fn seeded(&self, inc: i64, budget: BudgetId, nanos: i64) {
        let window = WindowSeed { window: Window::Total, sum: Usd::from_nanos(nanos), minutes: Vec::new() };
        let query_started = self.time.load(Ordering::SeqCst);
        let seed = Seed { query_started, windows: vec![window], first_charge_start: None, marks: vec![(inc, 0)] };
        let seed = SeedStatement { seed, terms: terms() };
        assert_eq!(self.authority.seed(budget, &seed).await.unwrap(), Seeded::Taken);
    }

    /// A node has told the authority of so much that it did not write.
    async fn tells(&self, inc: i64, budget: BudgetId, nanos: i64) {
        self.seeded(inc, budget, 0).await;
        let now = self.time.load(Ordering::SeqCst);
        let amount = Usd::from_nanos(nanos);
        let known = self.authority.audit(budget).await.unwrap().unwrap();
        let holder = known.holders.iter().find(|holder| holder.inc == inc).unwrap();
        let statement = Statement {
            inc,
            seq: 1,
            sent: now,
            from: holder.position,
            to: 1,
            items: vec![Item { minute: now / 60_000 * 60_000, era: 0, amount }],
            reserved: Usd::from_nanos(5),
            kept: Usd::ZERO,
            written: 0,
            unwritten: amount,
            need_min: Usd::ZERO,
            need_sum: Usd::ZERO,
            slice: Usd::ZERO,
            slice_min: Usd::ZERO,
            ends_after: i64::MAX,
            last: false,
            report: false,
            terms: terms(),
        };
        assert!(matches!(self.authority.exchange(budget, &statement).await.unwrap(), Answer::Ok(_)));
    }
}

fn terms() -> Arc<Terms> {
    let cap = Usd::from_nanos(1_000_000_000_000);
    let window = WindowPolicy {
        window: Window::Total,
        mode: Mode::Forever,
        base: cap,
        caps: vec![CapStep { from: i64::MIN, cap }],
        source: Source::User(1),
        since_era: 0,
    };
    Arc::new(Terms { policy: Arc::new(Policy { version: 1, era: 0, windows: vec![window] }), bounds: vec![None] })
}

const fn budget(axis: Axis, owner: i64, scope: Scope) -> BudgetId {
    BudgetId { axis, owner, scope }
}

const USER: BudgetId = budget(Axis::User, 1, Scope::Mainline);
const OTHER: BudgetId = budget(Axis::User, 2, Scope::Mainline);

fn loss(budget: BudgetId, nanos: i64) -> Loss {
    Loss { budget, amount: Usd::from_nanos(nanos), at: NOW, provider: Arc::from("pretend") }
}

async fn a_heartbeat_is_seen_and_learns_what_became_of_its_life(database: TestDatabase) {
    let world = World::new(&database).await;
    let (inc, other) = (world.pulse.inc(), world.node().await);
    let now = world.pass(5_000);
    assert_eq!(world.pulse.beat().await.unwrap(), Fate::Live);
    assert_eq!(world.life(inc).await.seen_at, now);
    assert_eq!(world.pulse.living()(), [inc, other.inc]);
    assert_eq!(world.pulse.confirmed_until(), now + SILENCE.write_off);
    world.pass(11_000);
    assert_eq!(world.pulse.beat().await.unwrap(), Fate::Live);
    assert_eq!(world.pulse.living()(), [inc], "the other one was not seen for 16 seconds");
    world.pulse.heard(NOW + 20_000);
    assert_eq!(world.pulse.confirmed_until(), NOW + 20_000 + SILENCE.write_off, "who is heard is not given up");
    let silent = Silent { inc, name: String::new(), seen_at: NOW + 16_000 };
    assert!(ledger::write_off(&world.db, &silent, &[]).await.unwrap());
    assert_eq!(world.pulse.beat().await.unwrap(), Fate::Dead);
    assert_eq!(world.pulse.confirmed_until(), i64::MIN);
    let closed = format!("UPDATE gateway_nodes SET state = 'closed' WHERE inc = {inc}");
    execute(&world.db, &closed, &closed).await;
    assert_eq!(world.pulse.beat().await.unwrap(), Fate::Closed);
}

async fn a_life_that_is_seen_again_is_not_written_off(database: TestDatabase) {
    let world = World::new(&database).await;
    let pod = world.node().await;
    let seen = format!("UPDATE gateway_nodes SET seen_at = {} WHERE inc = {}", NOW + 1, pod.inc);
    execute(&world.db, &seen, &seen).await;
    assert!(!ledger::write_off(&world.db, &pod, &[loss(USER, 7)]).await.unwrap());
    assert_eq!((world.life(pod.inc).await.state.as_str(), rows(&world.db).await), ("live", 0));
    assert_eq!((world.total(USER).await, write_offs::Entity::find().count(&world.db).await.unwrap()), (0, 0));
}

async fn of_two_who_write_off_a_life_one_does(database: TestDatabase) {
    let world = World::new(&database).await;
    let pod = world.node().await;
    let losses = [loss(USER, 7), loss(budget(Axis::Key, 2, Scope::Mainline), 0)];
    let once = || ledger::write_off(&world.db, &pod, &losses);
    let (first, second, third) = tokio::join!(once(), once(), once());
    let done = [first.unwrap(), second.unwrap(), third.unwrap()];
    assert_eq!(done.iter().filter(|done| **done).count(), 1, "{done:?}");
    assert_eq!((world.total(USER).await, rows(&world.db).await), (7, 1));
    assert_eq!(ledger::written_off_budgets(&world.db, pod.inc).await.unwrap().len(), 2);
}

async fn what_is_written_off_counts_in_one_budget(database: TestDatabase) {
    let world = World::new(&database).await;
    let pod = world.node().await;
    let mut amount = 1;
    let mut losses = Vec::new();
    for scope in [Scope::Mainline, Scope::ModelGroup(3)] {
        for axis in [Axis::User, Axis::Key] {
            losses.push(loss(budget(axis, 1, scope), amount));
            amount *= 10;
        }
    }
    losses.push(loss(budget(Axis::Provider, provider_owner("pretend"), Scope::Mainline), amount));
    assert!(ledger::write_off(&world.db, &pod, &losses).await.unwrap());
    for loss in &losses {
        assert_eq!(world.total(loss.budget).await, loss.amount.nanos(), "{:?}", loss.budget);
    }
    assert_eq!(world.total(budget(Axis::Provider, provider_owner("other"), Scope::Mainline)).await, 0);
    let found = usage_ledger::Entity::find().all(&world.db).await.unwrap();
    assert!(found.iter().all(|row| row.outcome == "interrupted" && row.estimated && row.settled_at == NOW));
}

async fn what_was_written_off_is_taken_back_to_the_nano_when_the_node_returns(database: TestDatabase) {
    let world = World::new(&database).await;
    let pod = world.node().await;
    assert!(ledger::write_off(&world.db, &pod, &[loss(USER, 123_456_789_123)]).await.unwrap());
    ledger::told(&world.db, ledger::Ended { inc: pod.inc, dead: true }, NOW).await.unwrap();
    let returned = Ledger::start(world.db.clone(), pod.inc, LedgerOptions::default());
    let own = LedgerRecord { cost: Usd::from_nanos(1_000_001), user_era: 0, ..record(1) };
    commit(&returned, own);
    returned.barrier(1).await.unwrap();
    assert_eq!(world.total(USER).await, 123_456_789_123 + 1_000_001, "both, as long as it goes on");
    returned.flush_and_stop(LIMIT).await;
    assert!(returned.is_over());
    assert_eq!(world.total(USER).await, 1_000_001);
    let life = world.life(pod.inc).await;
    assert_eq!((life.state.as_str(), life.told_at), ("closed", None), "the authority is told once more");
    // Who says it again takes nothing back again.
    Ledger::start(world.db.clone(), pod.inc, LedgerOptions::default()).flush_and_stop(LIMIT).await;
    assert_eq!(world.total(USER).await, 1_000_001);
}

async fn a_silent_node_is_watched_before_it_is_written_off_once(database: TestDatabase) {
    let world = World::new(&database).await;
    let pod = world.node().await;
    world.tells(pod.inc, USER, 40).await;
    let (mut first, mut second) = (world.undertaker(), world.undertaker());
    let mut now = world.pass(SILENCE.given_up() + 1);
    for _ in 0..6 {
        assert_eq!(world.pulse.beat().await.unwrap(), Fate::Live);
        first.round(now).await.unwrap();
        second.round(now).await.unwrap();
        assert_eq!(world.life(pod.inc).await.state, "live", "it has only been watched for {now}");
        now = world.pass(5_000);
    }
    world.pulse.beat().await.unwrap();
    let (one, other) = tokio::join!(first.round(now), second.round(now));
    one.unwrap();
    other.unwrap();
    assert_eq!(world.life(pod.inc).await.state, "dead");
    assert_eq!((world.total(USER).await, rows(&world.db).await), (40, 1));
    assert_eq!(world.authority.held_by(pod.inc).await.unwrap(), []);
    for _ in 0..2 {
        first.round(world.pass(4_000)).await.unwrap();
        assert_eq!(world.life(pod.inc).await.told_at, None, "what it said last may still be on its way");
    }
    first.round(world.pass(4_000)).await.unwrap();
    assert!(world.life(pod.inc).await.told_at.is_some());
    assert_eq!((world.total(USER).await, rows(&world.db).await), (40, 1));
}

async fn what_cannot_be_read_of_one_budget_keeps_nobody_from_being_written_off(database: TestDatabase) {
    let world = World::new(&database).await;
    let (one, other) = (world.node().await, world.node().await);
    world.tells(one.inc, USER, 40).await;
    world.authority.garbled.store(true, Ordering::SeqCst);
    let mut undertaker = world.undertaker();
    world.pass(SILENCE.given_up() + 1);
    for _ in 0..8 {
        world.pulse.beat().await.unwrap();
        undertaker.round(world.pass(5_000)).await.unwrap();
    }
    for life in [one, other] {
        assert_eq!(world.life(life.inc).await.state, "dead");
    }
    assert_eq!((world.total(USER).await, rows(&world.db).await), (40, 1), "of the other budget everything is known");
}

async fn whom_the_authority_hears_is_not_written_off(database: TestDatabase) {
    let world = World::new(&database).await;
    let pod = world.node().await;
    let mut undertaker = world.undertaker();
    world.pass(SILENCE.given_up() + 1);
    world.tells(pod.inc, USER, 40).await;
    for _ in 0..10 {
        world.pulse.beat().await.unwrap();
        undertaker.round(world.pass(5_000)).await.unwrap();
    }
    assert_eq!((world.life(pod.inc).await.state.as_str(), rows(&world.db).await), ("live", 0));
}

async fn an_authority_that_was_away_is_told_later_of_a_life_that_ended(database: TestDatabase) {
    let world = World::new(&database).await;
    let pod = world.node().await;
    world.tells(pod.inc, USER, 40).await;
    Ledger::start(world.db.clone(), pod.inc, LedgerOptions::default()).flush_and_stop(LIMIT).await;
    assert_eq!(world.life(pod.inc).await.state, "closed");
    let mut undertaker = world.undertaker();
    world.authority.away.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(undertaker.round(world.pass(4_000)).await.is_err());
    }
    assert_eq!(world.life(pod.inc).await.told_at, None);
    world.authority.away.store(false, Ordering::SeqCst);
    for _ in 0..2 {
        undertaker.round(world.pass(4_000)).await.unwrap();
        assert_eq!(world.authority.held_by(pod.inc).await.unwrap(), []);
        assert_eq!(world.life(pod.inc).await.told_at, None, "what it said last may still be on its way");
    }
    undertaker.round(world.pass(4_000)).await.unwrap();
    assert!(world.life(pod.inc).await.told_at.is_some());
    assert_eq!(ledger::untold_lives(&world.db, 0, 10).await.unwrap(), []);
}

async fn of_who_was_written_off_and_returns_the_authority_counts_what_the_ledger_says(database: TestDatabase) {
    let world = World::new(&database).await;
    let pod = world.node().await;
    world.tells(pod.inc, USER, 40).await;
    assert!(ledger::write_off(&world.db, &pod, &[loss(USER, 40)]).await.unwrap());
    let mut undertaker = world.undertaker();
    while world.life(pod.inc).await.told_at.is_none() {
        undertaker.round(world.pass(4_000)).await.unwrap();
    }
    world.seeded(world.pulse.inc(), USER, 40).await;
    assert!(!world.authority.audit(USER).await.unwrap().unwrap().reseed, "what was charged for it is in there");
    Ledger::start(world.db.clone(), pod.inc, LedgerOptions::default()).flush_and_stop(LIMIT).await;
    undertaker.round(world.pass(4_000)).await.unwrap();
    assert!(world.authority.audit(USER).await.unwrap().unwrap().reseed, "and is not what it has written");
}

async fn a_recovery_says_which_lives_it_ended(database: TestDatabase) {
    let world = World::new(&database).await;
    let pod = world.node().await;
    let data = tempfile::tempdir().unwrap();
    let home = JournalHome::new(data.path()).unwrap();
    drop(home.begin(pod.inc, NOW, 1 << 20, Duration::from_millis(50)).unwrap());
    assert!(ledger::write_off(&world.db, &pod, &[loss(USER, 7)]).await.unwrap());
    let found = ledger::recover(&world.db, &home, Interrupted::Estimate, NOW).await.unwrap();
    assert_eq!(found.closed, [pod.inc]);
    assert_eq!((world.life(pod.inc).await.state.as_str(), world.total(USER).await), ("closed", 0));
    assert_eq!(ledger::untold_lives(&world.db, 0, 10).await.unwrap().len(), 1);
}
