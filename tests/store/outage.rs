//! The directory while PostgreSQL is slow, hung or gone.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement, TransactionTrait};
use tollgate::directory::{Directory, LookupError, Secret, Standing};

use crate::database::{TestDatabase, eventually};
use crate::directory::user_with_key;

const LIMIT: Duration = Duration::from_secs(20);

async fn waiting_for_a_lock(db: &DatabaseConnection) -> i64 {
    let sql = "SELECT COUNT(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let row = db.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await.unwrap().unwrap();
    row.try_get("", "n").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_scan_leaves_connections_for_others_and_slow_answers_are_given_up() {
    let database = TestDatabase::postgres();
    let db = database.open().await;
    let (_, _, secret) = user_with_key(&db, "ada").await;
    let directory = Directory::new(db.clone(), 0);
    let other_pool = database.connect().await;
    let lock = other_pool.begin().await.unwrap();
    lock.execute_unprepared("LOCK TABLE keys IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let scan: Vec<_> = (0..50)
        .map(|_| {
            let directory = directory.clone();
            tokio::spawn(async move { directory.lookup(Secret::for_key().expose(), Standing::Good, 0).await })
        })
        .collect();
    eventually("four queries wait", LIMIT, || async { waiting_for_a_lock(&other_pool).await == 4 }).await;
    // The pool has 8 connections: whoever needs one gets it at once.
    let start = Instant::now();
    db.ping().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(waiting_for_a_lock(&db).await <= 4);
    for request in scan {
        assert_eq!(request.await.unwrap().unwrap_err(), LookupError::Unavailable);
    }
    lock.rollback().await.unwrap();
    eventually("keys are found again", LIMIT, || async {
        directory.lookup(secret.expose(), Standing::Good, 0).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keys_are_found_again_after_the_database_hung_or_crashed() {
    let database = TestDatabase::postgres();
    let db = database.open().await;
    let (_, _, known) = user_with_key(&db, "ada").await;
    let (_, _, new) = user_with_key(&db, "bob").await;
    let directory = Directory::new(db.clone(), 0);
    directory.lookup(known.expose(), Standing::Good, 0).await.unwrap();
    let TestDatabase::Postgres(mut server) = database else { unreachable!("it is PostgreSQL") };

    server.pause();
    let start = Instant::now();
    assert!(directory.lookup(known.expose(), Standing::Good, 0).await.is_ok());
    assert!(start.elapsed() < Duration::from_millis(500), "a known key waits for nobody");
    assert_eq!(directory.lookup(new.expose(), Standing::Good, 0).await.unwrap_err(), LookupError::Unavailable);
    assert!(start.elapsed() < Duration::from_secs(10));
    server.resume();
    eventually("found after the hang", LIMIT, || async {
        directory.lookup(new.expose(), Standing::Good, 0).await.is_ok()
    })
    .await;

    directory.invalidate_all();
    directory.lookup(known.expose(), Standing::Good, 0).await.unwrap();
    server.stop();
    assert!(directory.lookup(known.expose(), Standing::Good, 0).await.is_ok());
    assert_eq!(directory.lookup(new.expose(), Standing::Good, 0).await.unwrap_err(), LookupError::Unavailable);
    assert!(directory.refresh(1_000).await.is_err());
    assert!(directory.lookup(known.expose(), Standing::Good, 0).await.is_ok());
    server.restart();
    eventually("found after the crash", LIMIT, || async {
        directory.lookup(new.expose(), Standing::Good, 0).await.is_ok()
    })
    .await;
    directory.refresh(1_000).await.unwrap();
}
