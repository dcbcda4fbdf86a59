//! Records per second that get through the journal into the database, beside what the server does with the same rows in
//! one `COPY`.

use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use sea_orm::ConnectionTrait;
use sea_orm::sqlx::postgres::PgPoolCopyExt as _;
use tollgate::ledger::journal::JournalHome;
use tollgate::ledger::{Ledger, LedgerOptions, begin_life};

use crate::database::Database;
use crate::records::{record, request};

/// Records per second that PostgreSQL should take here.
const AIM: f64 = 20_000.0;

/// What a raw `COPY` is measured with: all that a record becomes, but for the sums.
const TABLES: [&str; 2] = ["usage_ledger", "message_request"];

/// As a gateway has it.
const JOURNAL: u64 = 1 << 30;
const SYNC: Duration = Duration::from_millis(50);

pub async fn run(records: u64) {
    for database in [Database::postgres().await, Database::sqlite().await] {
        let rate = write(&database, records).await;
        if database.is_postgres() {
            let verdict = if rate >= AIM { "REACHED" } else { "MISSED" };
            println!("  aim {AIM} records per second: {verdict}");
            let mut took = Duration::ZERO;
            for table in TABLES {
                let copied = copy(&database, table).await;
                println!("  raw COPY of the same rows of {table}: {:.0} per second", per_second(records, copied));
                took += copied;
            }
            let raw = per_second(records, took);
            println!("  raw COPY of both: {raw:.0} per second; the writer has {:.2} of it", rate / raw);
        }
        for table in TABLES {
            let bytes = database.size(table).await as f64 / records as f64;
            println!("  {table}: {bytes:.0} bytes per row with its indexes");
        }
    }
}

/// Records per second, opened and ended as fast as they are taken.
async fn write(database: &Database, records: u64) -> f64 {
    let inc = begin_life(&database.db, "bench", true, 1).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let journal = JournalHome::new(folder.path()).unwrap().begin(inc, 1, JOURNAL, SYNC).unwrap();
    let options = LedgerOptions { journal: Some(journal), ..LedgerOptions::default() };
    let ledger = Ledger::start(database.db.clone(), inc, options);
    let all: Vec<_> = (0..records).map(record).collect();
    let (start, busy) = (Instant::now(), cpu());
    for record in all {
        let mut slot = loop {
            match ledger.reserve() {
                Some(slot) => break slot,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        slot.open(&request(&record)).unwrap();
        slot.commit(record);
    }
    ledger.barrier(records).await.unwrap();
    let rate = per_second(records, start.elapsed());
    let busy = (cpu() - busy).as_secs_f64() * 1e6 / records as f64;
    assert_eq!((ledger.stats().written(), ledger.stats().failed()), (records, 0));
    ledger.flush_and_stop(Duration::from_secs(10)).await;
    println!("{}: {rate:.0} records per second, {busy:.1} us of this process's CPU each", database.name);
    rate
}

/// How long it takes to copy a table's rows into another one like it, indexes included.
async fn copy(database: &Database, table: &str) -> Duration {
    let pool = database.db.get_postgres_connection_pool();
    let rows: Vec<_> =
        pool.copy_out_raw(&format!("COPY {table} TO STDOUT")).await.unwrap().try_collect().await.unwrap();
    database.db.execute_unprepared(&format!("CREATE TABLE copied_{table} (LIKE {table} INCLUDING ALL)")).await.unwrap();
    let start = Instant::now();
    let mut copy = pool.copy_in_raw(&format!("COPY copied_{table} FROM STDIN")).await.unwrap();
    for chunk in rows.chunks(1_000) {
        copy.send(chunk.concat()).await.unwrap();
    }
    copy.finish().await.unwrap();
    start.elapsed()
}

fn per_second(records: u64, took: Duration) -> f64 {
    records as f64 / took.as_secs_f64()
}

/// What this process has used so far. The fields behind the name, which is in parentheses, are counted in hundredths.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}
