//! What databases do to writers: deadlocks, a server that only reads, a full disk, statements that are slower the more they
//! write. Each record is there once afterwards, and none is given up.

use std::time::{Duration, Instant};

use entity::usage_ledger;
use sea_orm::{ConnectionTrait, DatabaseConnection, EntityTrait, Statement, TransactionTrait};
use tollgate::ledger::{Ledger, LedgerBehind, LedgerOptions, audit_sums};
use tollgate::store;
use uuid::Uuid;

use crate::database::{TestDatabase, eventually};
use crate::ledger::{LIMIT, commit, record, rows};

/// The records from 0 on are there, each once, and the sums are theirs.
async fn all_are_there(db: &DatabaseConnection, ledger: &Ledger, records: u128) {
    let mut found: Vec<_> =
        usage_ledger::Entity::find().all(db).await.unwrap().into_iter().map(|row| row.request_id).collect();
    found.sort();
    assert_eq!(found, (0..records).map(|n| Uuid::from_u128(n).to_string()).collect::<Vec<_>>());
    let stats = ledger.stats();
    assert_eq!((u128::from(stats.written()), stats.failed(), stats.pending()), (records, 0, 0));
    assert_eq!(audit_sums(db, false).await.unwrap().wrong, 0);
}

async fn number(db: &DatabaseConnection, sql: &str) -> i64 {
    let statement = Statement::from_string(db.get_database_backend(), sql);
    db.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_victim_of_a_deadlock_writes_again() {
    const DEADLOCKS: u128 = 3;
    let database = TestDatabase::postgres();
    let db = database.open().await;
    let ledger = Ledger::start(db.clone(), 1, LedgerOptions::default());
    commit(&ledger, record(0));
    ledger.barrier(1).await.unwrap();
    for n in 1..=DEADLOCKS {
        // Somebody locks the sums in the other order, and is more patient than the writer.
        let other = db.begin().await.unwrap();
        other.execute_unprepared("SET LOCAL deadlock_timeout = '60s'").await.unwrap();
        other.execute_unprepared("SELECT 1 FROM usage_rollup_span FOR UPDATE").await.unwrap();
        commit(&ledger, record(n));
        let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        eventually("the writer waits", LIMIT, || async { number(&db, waiting).await == 1 }).await;
        other.execute_unprepared("SELECT 1 FROM usage_rollup_minute FOR UPDATE").await.unwrap();
        other.commit().await.unwrap();
    }
    ledger.flush_and_stop(LIMIT).await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    eventually("the writer was the victim each time", LIMIT, || async {
        number(&db, deadlocks).await == i64::try_from(DEADLOCKS).unwrap()
    })
    .await;
    all_are_there(&db, &ledger, DEADLOCKS + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_only_reads_for_a_while_gets_everything_afterwards() {
    let database = TestDatabase::postgres();
    let db = database.open().await;
    let ledger = Ledger::start(db.clone(), 1, LedgerOptions::default());
    commit(&ledger, record(0));
    ledger.barrier(1).await.unwrap();
    for round in 0..2 {
        only_reads(&db, true).await;
        let first = 1 + round * 50;
        (first..first + 50).for_each(|n| commit(&ledger, record(n)));
        assert_eq!(ledger.barrier(u64::try_from(first).unwrap() + 50).await, Err(LedgerBehind), "it takes nothing");
        assert_eq!(u128::from(rows(&db).await), first);
        only_reads(&db, false).await;
        eventually("all is written", LIMIT, || async { ledger.stats().pending() == 0 }).await;
    }
    ledger.flush_and_stop(LIMIT).await;
    all_are_there(&db, &ledger, 101).await;
}

/// As after a fail-over to a standby, and once that has become the primary. Sessions hear of it.
async fn only_reads(db: &DatabaseConnection, on: bool) {
    let to = if on { "on" } else { "off" };
    db.execute_unprepared(&format!("ALTER SYSTEM SET default_transaction_read_only = {to}")).await.unwrap();
    db.execute_unprepared("SELECT pg_reload_conf()").await.unwrap();
    let refused = "SELECT COUNT(*) FROM pg_settings WHERE name = 'default_transaction_read_only' AND setting = 'on'";
    eventually("it is so", LIMIT, || async { number(db, refused).await == i64::from(on) }).await;
}

/// One connection, so that the bound that is set is the writer's.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_disk_of_the_database_loses_nothing() {
    const RECORDS: u128 = 2_000;
    let database = TestDatabase::sqlite();
    let db = store::connect(&database.url(), 1).await.unwrap();
    store::migrate(&db).await.unwrap();
    let ledger = Ledger::start(db.clone(), 1, LedgerOptions::default());
    commit(&ledger, record(0));
    ledger.barrier(1).await.unwrap();
    // Never less than there are.
    db.execute_unprepared("PRAGMA max_page_count = 1").await.unwrap();
    (1..RECORDS).for_each(|n| commit(&ledger, record(n)));
    assert_eq!(ledger.barrier(u64::try_from(RECORDS).unwrap()).await, Err(LedgerBehind), "there is no room");
    eventually("it lags", LIMIT, || async { ledger.stats().lag(3_000) == Duration::from_secs(1) }).await;
    assert_eq!(ledger.stats().failed(), 0);
    db.execute_unprepared("PRAGMA max_page_count = 1000000").await.unwrap();
    ledger.flush_and_stop(LIMIT).await;
    all_are_there(&db, &ledger, RECORDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_batch_that_is_too_slow_as_a_whole_is_written_in_halves() {
    const RECORDS: u128 = 8;
    let database = TestDatabase::postgres();
    let db = database.open().await;
    // Longer than the writer waits for an answer.
    db.execute_unprepared(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF (SELECT COUNT(*) FROM new) > 4 THEN PERFORM pg_sleep(12); END IF; RETURN NULL; END $$; \
         CREATE TRIGGER slow AFTER INSERT ON usage_ledger REFERENCING NEW TABLE AS new \
         FOR EACH STATEMENT EXECUTE FUNCTION slow()",
    )
    .await
    .unwrap();
    let options = LedgerOptions { interval: Duration::from_secs(1), ..LedgerOptions::default() };
    let ledger = Ledger::start(db.clone(), 1, options);
    let start = Instant::now();
    (0..RECORDS).for_each(|n| commit(&ledger, record(n)));
    eventually("all is written", LIMIT * 2, || async { ledger.stats().pending() == 0 }).await;
    assert!(start.elapsed() > Duration::from_secs(10), "it was tried as a whole: {:?}", start.elapsed());
    ledger.flush_and_stop(LIMIT).await;
    all_are_there(&db, &ledger, RECORDS).await;
    let together = "SELECT COUNT(DISTINCT xmin::text) FROM usage_ledger";
    assert_eq!(number(&db, together).await, 2, "in halves, not one by one");
}
