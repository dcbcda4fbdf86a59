//! The ledger while the database is away; what cannot be written is in the log.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use entity::usage_ledger;
use parking_lot::Mutex;
use sea_orm::{EntityTrait, QueryOrder};
use tollgate::ledger::{Ledger, LedgerBehind, LedgerOptions, LedgerRecord};
use uuid::Uuid;

use crate::database::{TestDatabase, eventually};
use crate::ledger::{LIMIT, commit, record, refuse_poison, rows};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_recorded_while_the_database_was_away_is_written_once_and_in_order() {
    const EACH: u128 = 1_500;
    let database = TestDatabase::postgres();
    let db = database.open().await;
    let TestDatabase::Postgres(mut server) = database else { unreachable!("it is PostgreSQL") };
    let ledger = Ledger::start(db.clone(), 1, LedgerOptions::default());
    for n in 0..EACH {
        commit(&ledger, record(n));
    }
    // In the middle of a batch, perhaps between its commit and the answer.
    eventually("the first are written", LIMIT, || async { ledger.stats().written() > 0 }).await;
    server.stop();
    for n in EACH..EACH * 2 {
        commit(&ledger, record(n));
    }
    eventually("it lags", LIMIT, || async { ledger.stats().lag(3_000) == Duration::from_secs(1) }).await;
    server.restart();
    eventually("all are written", LIMIT, || async { ledger.stats().pending() == 0 }).await;

    server.pause();
    for n in EACH * 2..EACH * 3 {
        commit(&ledger, record(n));
    }
    eventually("it lags", LIMIT, || async { ledger.stats().lag(3_000) == Duration::from_secs(1) }).await;
    server.resume();
    ledger.flush_and_stop(LIMIT).await;

    let rows = usage_ledger::Entity::find().order_by_asc(usage_ledger::Column::Id).all(&db).await.unwrap();
    let expected: Vec<_> = (0..EACH * 3).map(|n| Uuid::from_u128(n).to_string()).collect();
    assert_eq!(rows.into_iter().map(|row| row.request_id).collect::<Vec<_>>(), expected);
    assert_eq!(ledger.stats().failed(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_stays_away_does_not_hold_the_end_beyond_its_deadline() {
    let database = TestDatabase::postgres();
    let db = database.open().await;
    let TestDatabase::Postgres(mut server) = database else { unreachable!("it is PostgreSQL") };
    server.stop();
    let ledger = Ledger::start(db, 1, LedgerOptions { queue: 700, ..LedgerOptions::default() });
    for n in 0..700 {
        commit(&ledger, record(n));
    }
    eventually("a batch was taken from the queue", LIMIT, || async { ledger.reserve().is_some() }).await;
    let more = std::iter::from_fn(|| ledger.reserve()).zip(700_u128..);
    more.for_each(|(slot, n)| slot.commit(record(n)));
    assert!(ledger.reserve().is_none(), "the queue is full: nobody may be admitted");
    let pending = ledger.stats().pending();
    assert_eq!(ledger.barrier(1).await, Err(LedgerBehind), "nobody waits in vain");
    let start = Instant::now();
    ledger.flush_and_stop(Duration::from_millis(300)).await;
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!((ledger.stats().failed(), ledger.stats().pending()), (pending, 0));
}

/// On one thread, so that the log of the writer can be caught.
#[tokio::test]
async fn a_record_that_is_given_up_is_in_the_log_with_everything() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).json().finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let database = TestDatabase::sqlite();
    let db = database.open().await;
    refuse_poison(&db).await;
    let ledger = Ledger::start(db.clone(), 1, LedgerOptions::default());
    commit(&ledger, record(1));
    commit(&ledger, LedgerRecord { provider: Arc::from("poison"), ..record(2) });
    ledger.flush_and_stop(LIMIT).await;
    assert_eq!((rows(&db).await, ledger.stats().failed()), (1, 1));

    let log = log.text();
    let line = log.lines().find(|line| line.contains("ERROR")).expect("an error was logged");
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let lost: serde_json::Value = serde_json::from_str(line["fields"]["record"].as_str().unwrap()).unwrap();
    assert_eq!(lost["requestId"], "00000000-0000-0000-0000-000000000002");
    assert_eq!(lost["costNanos"], 123_456_789);
    assert_eq!(lost["usage"]["cacheWrite1h"], 5);
    assert_eq!((&lost["userId"], &lost["keyId"]), (&1.into(), &2.into()));
    assert_eq!((&lost["countedInUserGlobal"], &lost["countedInKeyGlobal"]), (&true.into(), &false.into()));
    assert_eq!(lost["attempts"][0]["reason"], "ok");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
