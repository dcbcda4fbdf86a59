//! What a process that ended without a word has left in its journal gets into the database: all of it, once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::time::Duration;

use entity::{gateway_nodes, message_request, usage_ledger, usage_rollup_minute};
use sea_orm::{DatabaseConnection, EntityTrait};
use tempfile::TempDir;
use tollgate::config::Interrupted;
use tollgate::dialect::Dialect;
use tollgate::ledger::journal::{Journal, JournalHome, OpenRequest, Place};
use tollgate::ledger::{self, Ledger, LedgerOptions, LedgerRecord, Outcome, Recovered, begin_life};
use tollgate::money::Usd;
use uuid::Uuid;

use crate::database::{TestDatabase, eventually, execute, on_both};
use crate::ledger::{LIMIT, record, refuse_poison, rows};

const NOW: i64 = 1_000_000_000;
const ESTIMATE: i64 = 50_000_000;
const MAX: u64 = 64 << 20;

on_both!(
    what_a_dead_process_has_left_is_written_once,
    a_recovery_that_is_cut_off_is_done_again,
    what_is_known_already_is_not_charged_again,
    whoever_has_lost_a_race_says_nothing_about_the_winner,
    what_lost_a_race_is_charged_beside_the_winner_after_a_crash,
    an_interrupted_request_costs_nothing_when_that_is_wanted,
    the_journal_of_another_database_is_left_alone,
    the_journal_of_a_living_process_is_left_alone,
    a_damaged_journal_loses_only_what_is_damaged,
    a_journal_is_read_although_a_byte_of_its_head_is_wrong,
    a_record_that_the_database_refuses_keeps_the_journal,
    a_clean_end_leaves_no_journal,
);

/// A node's folder and database.
struct Node {
    db: DatabaseConnection,
    home: JournalHome,
    data: TempDir,
}

impl Node {
    async fn new(database: &TestDatabase) -> Self {
        let data = tempfile::tempdir().unwrap();
        Self { db: database.open().await, home: JournalHome::new(data.path()).unwrap(), data }
    }

    async fn begin(&self) -> (i64, Arc<Journal>) {
        let inc = begin_life(&self.db, "node", true, NOW).await.unwrap();
        (inc, self.home.begin(inc, NOW, MAX, Duration::from_millis(50)).unwrap())
    }

    async fn recover(&self) -> Recovered {
        ledger::recover(&self.db, &self.home, Interrupted::Estimate, NOW + 5_000).await.unwrap()
    }

    /// The process dies: its journal stays as it is, and nobody has it locked.
    fn die(&self, inc: i64, journal: Arc<Journal>, on_their_way: Vec<Place>) {
        let path = self.data.path().join(format!("journal/{inc}-{NOW}.journal"));
        let copy = path.with_extension("copy");
        std::fs::copy(&path, &copy).unwrap();
        // It would be known for a copy by its number.
        let file = std::fs::OpenOptions::new().write(true).open(&copy).unwrap();
        file.write_at(&file.metadata().unwrap().ino().to_le_bytes(), 1_024).unwrap();
        std::fs::rename(copy, path).unwrap();
        drop((journal, on_their_way));
    }

    fn journals(&self) -> usize {
        std::fs::read_dir(self.data.path().join("journal")).unwrap().count()
    }

    /// Cost and outcome by request.
    async fn ledger(&self) -> BTreeMap<u128, (i64, String)> {
        let rows = usage_ledger::Entity::find().all(&self.db).await.unwrap();
        let count = rows.len();
        let found: BTreeMap<_, _> = rows
            .into_iter()
            .map(|row| (Uuid::parse_str(&row.request_id).unwrap().as_u128(), (row.cost_nanos, row.outcome)))
            .collect();
        assert_eq!(found.len(), count, "nothing is there twice");
        found
    }

    /// The sums of the roll-up are those of the rows.
    async fn sums_agree(&self) {
        let of_rows: i64 = self.ledger().await.values().map(|(cost, _)| cost).sum();
        let rollup = usage_rollup_minute::Entity::find().all(&self.db).await.unwrap();
        assert_eq!(rollup.iter().map(|minute| minute.cost_nanos).sum::<i64>(), of_rows);
        assert_eq!(
            rollup.iter().map(|minute| minute.requests).sum::<i64>(),
            i64::try_from(self.ledger().await.len()).unwrap()
        );
    }
}

fn request(n: u128) -> OpenRequest<'static> {
    OpenRequest {
        request_id: Uuid::from_u128(n),
        attempt: 1,
        created_at: NOW - 500,
        user_id: 1,
        key_id: 2,
        provider: Cow::Borrowed("pretend"),
        dialect: Dialect::Anthropic,
        requested_model: Cow::Borrowed("claude"),
        served_model: Cow::Borrowed("claude"),
        model_group_id: Some(3),
        estimate: Usd::from_nanos(ESTIMATE),
        counted_in_user_global: false,
        counted_in_key_global: true,
        user_era: 0,
        key_era: 0,
        stream: true,
        request_bytes: 9,
        has_lost: false,
    }
}

fn charged(n: u128) -> LedgerRecord {
    LedgerRecord { settled_at: NOW, cost: Usd::from_nanos(cost(n)), ..record(n) }
}

fn cost(n: u128) -> i64 {
    1_000 + i64::try_from(n).unwrap()
}

fn opened(journal: &Arc<Journal>, n: u128) -> Place {
    let mut place = journal.take().expect("there is room");
    place.open(&request(n)).unwrap();
    place
}

fn ended(journal: &Arc<Journal>, n: u128) {
    opened(journal, n).end(u64::try_from(n).unwrap(), &charged(n)).unwrap();
}

async fn what_a_dead_process_has_left_is_written_once(database: TestDatabase) {
    let node = Node::new(&database).await;
    let (inc, journal) = node.begin().await;
    for n in 1..=1_200 {
        ended(&journal, n);
    }
    let on_their_way = (2_001..=2_020).map(|n| opened(&journal, n)).collect();
    (3_001..=3_010).for_each(|n| drop(opened(&journal, n)));
    node.die(inc, journal, on_their_way);
    // The first of them had been written before.
    let applied = format!("UPDATE gateway_nodes SET applied_lsn = 200 WHERE inc = {inc}");
    execute(&node.db, &applied, &applied).await;

    let found = node.recover().await;
    assert_eq!(
        found,
        Recovered { lives: 1, records: 1_000, interrupted: 20, closed: vec![inc], ..Recovered::default() }
    );
    let ledger = node.ledger().await;
    let expected: BTreeMap<_, _> = (201..=1_200_u128)
        .map(|n| (n, (cost(n), "client_aborted".to_owned())))
        .chain((2_001..=2_020).map(|n| (n, (ESTIMATE, "interrupted".to_owned()))))
        .collect();
    assert_eq!(ledger, expected);
    node.sums_agree().await;
    let life = gateway_nodes::Entity::find_by_id(inc).one(&node.db).await.unwrap().unwrap();
    assert_eq!((life.state.as_str(), life.applied_lsn), ("closed", 1_220));
    let row = usage_ledger::Entity::find().all(&node.db).await.unwrap().pop().unwrap();
    assert_eq!((row.outcome.as_str(), row.settled_at, row.estimated), ("interrupted", NOW + 5_000, true));
    assert_eq!((row.counted_in_user_global, row.counted_in_key_global, row.model_group_id), (false, true, Some(3)));

    assert_eq!(node.journals(), 0);
    assert_eq!(node.recover().await, Recovered::default());
    assert_eq!(node.ledger().await, expected);
}

async fn a_recovery_that_is_cut_off_is_done_again(database: TestDatabase) {
    let node = Arc::new(Node::new(&database).await);
    let (inc, journal) = node.begin().await;
    (1..=4_000).for_each(|n| ended(&journal, n));
    let on_their_way = (5_001..=6_200).map(|n| opened(&journal, n)).collect();
    node.die(inc, journal, on_their_way);
    for least in [1, 1_500, 4_100] {
        let again = Arc::clone(&node);
        let recovery = tokio::spawn(async move { again.recover().await });
        eventually("it is on its way", LIMIT, || async { rows(&node.db).await >= least }).await;
        recovery.abort();
        let _ = recovery.await;
    }
    node.recover().await;
    let ledger = node.ledger().await;
    assert_eq!(ledger.len(), 5_200);
    assert!((1..=4_000_u128).all(|n| ledger[&n].0 == cost(n)));
    assert!((5_001..=6_200_u128).all(|n| ledger[&n] == (ESTIMATE, "interrupted".to_owned())));
    node.sums_agree().await;
    assert_eq!(node.journals(), 0);
}

async fn what_is_known_already_is_not_charged_again(database: TestDatabase) {
    let node = Node::new(&database).await;
    let (inc, journal) = node.begin().await;
    // After a power failure the database can be newer than the journal: the mark, or a row under another attempt.
    let ledger = Ledger::start(node.db.clone(), inc, LedgerOptions::default());
    ledger.reserve().unwrap().commit(LedgerRecord { attempt: 3, ..charged(1) });
    ledger.reserve().unwrap().commit(charged(2));
    ledger.barrier(2).await.unwrap();
    let first = opened(&journal, 1);
    opened(&journal, 2).end(7, &charged(2)).unwrap();
    node.die(inc, journal, vec![first]);
    let found = node.recover().await;
    assert_eq!((found.records, found.interrupted), (1, 0));
    let rows = node.ledger().await;
    assert_eq!(rows.iter().map(|(n, (cost, _))| (*n, *cost)).collect::<Vec<_>>(), [(1, cost(1)), (2, cost(2))]);
    node.sums_agree().await;
}

async fn whoever_has_lost_a_race_says_nothing_about_the_winner(database: TestDatabase) {
    let node = Node::new(&database).await;
    let (inc, journal) = node.begin().await;
    let ledger = Ledger::start(node.db.clone(), inc, LedgerOptions::default());
    let lost = |n| LedgerRecord { attempt: 2, outcome: Outcome::LostRace, ..charged(n) };
    ledger.reserve().unwrap().commit(lost(1));
    ledger.reserve().unwrap().commit(lost(2));
    ledger.barrier(2).await.unwrap();
    let details = message_request::Entity::find().all(&node.db).await.unwrap();
    assert!(details.is_empty(), "they come with the winner: {details:?}");
    // One that is still running, and one that was written and is found in the journal all the same.
    let winner = opened(&journal, 1);
    let mut loser = journal.take().unwrap();
    loser.open(&OpenRequest { attempt: 2, ..request(2) }).unwrap();
    node.die(inc, journal, vec![winner, loser]);
    assert_eq!(node.recover().await.interrupted, 1);
    let rows = usage_ledger::Entity::find().all(&node.db).await.unwrap();
    let mut rows: Vec<_> =
        rows.into_iter().map(|row| (row.request_id, row.attempt, row.outcome, row.cost_nanos)).collect();
    rows.sort_unstable();
    let id = |n| Uuid::from_u128(n).to_string();
    let expected = [
        (id(1), 1, "interrupted".to_owned(), ESTIMATE),
        (id(1), 2, "lost_race".to_owned(), cost(1)),
        (id(2), 2, "lost_race".to_owned(), cost(2)),
    ];
    assert_eq!(rows, expected);
}

async fn what_lost_a_race_is_charged_beside_the_winner_after_a_crash(database: TestDatabase) {
    let node = Node::new(&database).await;
    let (inc, journal) = node.begin().await;
    let ledger = Ledger::start(node.db.clone(), inc, LedgerOptions::default());
    // Of the first request the winner is written, and the loser was being read on for what it uses.
    ledger.reserve().unwrap().commit(LedgerRecord { attempt: 2, outcome: Outcome::Completed, ..charged(1) });
    ledger.barrier(1).await.unwrap();
    let mut places = vec![opened(&journal, 1)];
    places[0].open(&OpenRequest { has_lost: true, ..request(1) }).unwrap();
    // As many with a race under way that a batch ends within one of them.
    let races = 2..=302;
    for n in races.clone() {
        places.push(opened(&journal, n));
        let mut rival = journal.take().unwrap();
        rival.open(&OpenRequest { attempt: 2, ..request(n) }).unwrap();
        places.push(rival);
        let mut third = journal.take().unwrap();
        third.open(&OpenRequest { attempt: 3, has_lost: true, ..request(n) }).unwrap();
        places.push(third);
    }
    node.die(inc, journal, places);
    let count = races.count();
    assert_eq!(node.recover().await.interrupted, 1 + 3 * count as u64);
    let rows = usage_ledger::Entity::find().all(&node.db).await.unwrap();
    let of = |outcome: &str| rows.iter().filter(|row| row.outcome == outcome).count();
    assert_eq!((of("completed"), of("lost_race"), of("interrupted")), (1, 1 + count, 2 * count));
    let lost = rows.iter().find(|row| row.request_id == Uuid::from_u128(1).to_string() && row.attempt == 1).unwrap();
    assert_eq!((lost.outcome.as_str(), lost.cost_nanos), ("lost_race", ESTIMATE));
    let rollup = usage_rollup_minute::Entity::find().all(&node.db).await.unwrap();
    let in_sums: i64 = rollup.iter().map(|minute| minute.cost_nanos).sum();
    assert_eq!(in_sums, rows.iter().map(|row| row.cost_nanos).sum::<i64>());
    assert_eq!(node.recover().await, Recovered::default());
}

async fn an_interrupted_request_costs_nothing_when_that_is_wanted(database: TestDatabase) {
    let node = Node::new(&database).await;
    let (inc, journal) = node.begin().await;
    let place = opened(&journal, 1);
    node.die(inc, journal, vec![place]);
    ledger::recover(&node.db, &node.home, Interrupted::Zero, NOW).await.unwrap();
    assert_eq!(node.ledger().await[&1], (0, "interrupted".to_owned()));
}

async fn the_journal_of_another_database_is_left_alone(database: TestDatabase) {
    let node = Node::new(&database).await;
    let (inc, journal) = node.begin().await;
    ended(&journal, 1);
    node.die(inc, journal, vec![]);
    // The same number, begun at another time: that of another database.
    let moved = format!("UPDATE gateway_nodes SET started_at = started_at + 1 WHERE inc = {inc}");
    execute(&node.db, &moved, &moved).await;
    assert_eq!(node.recover().await, Recovered::default());
    assert_eq!((node.journals(), node.ledger().await.len()), (1, 0));
    std::fs::write(node.data.path().join("journal/9-9.journal"), "not one").unwrap();
    assert_eq!(node.recover().await, Recovered::default());
    assert_eq!(node.journals(), 2);
    let back = format!("UPDATE gateway_nodes SET started_at = started_at - 1 WHERE inc = {inc}");
    execute(&node.db, &back, &back).await;
    assert_eq!(node.recover().await.records, 1);
    assert_eq!((node.journals(), node.ledger().await.len()), (1, 1));
}

async fn the_journal_of_a_living_process_is_left_alone(database: TestDatabase) {
    let node = Node::new(&database).await;
    let (inc, journal) = node.begin().await;
    ended(&journal, 1);
    let on_its_way = opened(&journal, 2);
    assert_eq!(node.recover().await, Recovered::default());
    assert_eq!((node.journals(), node.ledger().await.len()), (1, 0));
    node.die(inc, journal, vec![on_its_way]);
    let found = node.recover().await;
    assert_eq!((found.records, found.interrupted), (1, 1));
}

async fn a_damaged_journal_loses_only_what_is_damaged(database: TestDatabase) {
    let node = Node::new(&database).await;
    let (inc, journal) = node.begin().await;
    (1..=10).for_each(|n| ended(&journal, n));
    node.die(inc, journal, vec![]);
    let path = std::fs::read_dir(node.data.path().join("journal")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&path).unwrap();
    let place = |n: usize| 4_096 + n * 2_048;
    // Of the third only the record, of the fifth everything, and the last is cut off in the middle of its record.
    bytes[place(2) + 850] ^= 1;
    bytes[place(4)..place(5)].fill(0xa5);
    bytes.truncate(place(9) + 900);
    std::fs::write(&path, bytes).unwrap();
    let found = node.recover().await;
    assert_eq!(
        found,
        Recovered { lives: 1, records: 7, interrupted: 2, unreadable: 2, damaged: 1, refused: 0, closed: vec![inc] }
    );
    let ledger = node.ledger().await;
    let expected: BTreeMap<_, _> = (1..=10_u128)
        .filter(|n| *n != 5)
        .map(|n| {
            let whole = (cost(n), "client_aborted".to_owned());
            (n, if n == 3 || n == 10 { (ESTIMATE, "interrupted".to_owned()) } else { whole })
        })
        .collect();
    assert_eq!(ledger, expected);
    assert!(path.with_extension("kept").exists() && !path.exists(), "whoever can read more of it has it");
    assert_eq!(node.recover().await, Recovered::default());
}

async fn a_journal_is_read_although_a_byte_of_its_head_is_wrong(database: TestDatabase) {
    let node = Node::new(&database).await;
    for (at, n) in (0..56).chain(2_048..2_104).zip(1..) {
        let (inc, journal) = node.begin().await;
        ended(&journal, n);
        node.die(inc, journal, vec![]);
        let path = node.data.path().join(format!("journal/{inc}-{NOW}.journal"));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(node.recover().await.records, 1, "byte {at}");
    }
    assert_eq!(rows(&node.db).await, 112);
}

async fn a_record_that_the_database_refuses_keeps_the_journal(database: TestDatabase) {
    let node = Node::new(&database).await;
    refuse_poison(&node.db).await;
    let (inc, journal) = node.begin().await;
    ended(&journal, 1);
    let poison = LedgerRecord { provider: Arc::from("poison"), ..charged(2) };
    opened(&journal, 2).end(2, &poison).unwrap();
    node.die(inc, journal, vec![]);
    let found = node.recover().await;
    assert_eq!((found.records, found.refused), (2, 1));
    assert_eq!((node.ledger().await.len(), node.journals()), (1, 1));
    assert_eq!(node.recover().await, Recovered::default(), "once is enough");
}

async fn a_clean_end_leaves_no_journal(database: TestDatabase) {
    let node = Node::new(&database).await;
    let (inc, journal) = node.begin().await;
    let options = LedgerOptions { journal: Some(Arc::clone(&journal)), ..LedgerOptions::default() };
    let ledger = Ledger::start(node.db.clone(), inc, options);
    for n in 1..=100 {
        let mut slot = ledger.reserve().unwrap();
        slot.open(&request(n)).unwrap();
        assert!(ledger.journal_bytes() > 0);
        // Every tenth comes to nothing.
        if n % 10 > 0 {
            slot.commit(charged(n));
        }
    }
    ledger.flush_and_stop(LIMIT).await;
    assert_eq!((ledger.journal_bytes(), node.journals(), rows(&node.db).await), (0, 0, 90));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_outage_fills_the_journal_and_not_the_memory_and_everything_arrives() {
    const RECORDS: u128 = 40_000;
    let database = TestDatabase::postgres();
    let node = Node::new(&database).await;
    let TestDatabase::Postgres(mut server) = database else { unreachable!("it is PostgreSQL") };
    let (inc, journal) = node.begin().await;
    // Room for them exactly.
    let small =
        node.home.begin(inc, NOW + 1, u64::try_from(RECORDS).unwrap() * 2_048, Duration::from_millis(50)).unwrap();
    let options = LedgerOptions { journal: Some(small), ..LedgerOptions::default() };
    let ledger = Ledger::start(node.db.clone(), inc, options);
    server.stop();
    for n in 1..=RECORDS {
        let mut slot = ledger.reserve().unwrap();
        slot.open(&request(n)).unwrap();
        slot.commit(charged(n));
    }
    assert!(ledger.reserve().is_none(), "what cannot be recorded is not admitted");
    server.restart();
    eventually("all are written", LIMIT * 2, || async { ledger.stats().pending() == 0 }).await;
    let rows = node.ledger().await;
    assert_eq!(rows.len(), usize::try_from(RECORDS).unwrap());
    assert!(rows.iter().all(|(n, (nanos, _))| *nanos == cost(*n)));
    assert_eq!((ledger.journal_bytes(), ledger.stats().failed()), (0, 0));
    assert!(ledger.reserve().is_some());
    drop(journal);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_an_end_without_the_database_leaves_is_written_by_the_next_start() {
    let database = TestDatabase::postgres();
    let node = Node::new(&database).await;
    let TestDatabase::Postgres(mut server) = database else { unreachable!("it is PostgreSQL") };
    let (inc, journal) = node.begin().await;
    let options = LedgerOptions { journal: Some(journal), ..LedgerOptions::default() };
    let ledger = Ledger::start(node.db.clone(), inc, options);
    server.stop();
    let unused = ledger.reserve().unwrap();
    for n in 1..=1_300 {
        let mut slot = ledger.reserve().unwrap();
        slot.open(&request(n)).unwrap();
        slot.commit(charged(n));
    }
    // Whoever stops it would wait for an hour; it does not, because nothing would come of it.
    let stopped = tokio::time::timeout(LIMIT, ledger.flush_and_stop(Duration::from_secs(3_600))).await;
    assert!(stopped.is_ok(), "a database that is away is not waited for");
    assert_eq!(ledger.stats().failed(), 0, "nothing is given up");
    drop((ledger, unused));
    server.restart();
    eventually("its process is gone", LIMIT, || async { node.home.dead().unwrap().len() == 1 }).await;
    assert_eq!(node.recover().await.records, 1_300);
    let rows = node.ledger().await;
    assert!((1..=1_300_u128).all(|n| rows[&n].0 == cost(n)));
}
