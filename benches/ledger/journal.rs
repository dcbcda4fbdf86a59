//! How fast the journal is read after a crash.

use std::time::{Duration, Instant};

use tollgate::ledger::journal::{Found, JournalHome};

use crate::records::{record, request};

const MAX_BYTES: u64 = 1 << 30;
const SYNC: Duration = Duration::from_millis(50);

pub fn run(records: u64) {
    let folder = tempfile::tempdir().unwrap();
    let home = JournalHome::new(folder.path()).unwrap();
    let journal = home.begin(1, 1, MAX_BYTES, SYNC).unwrap();
    let all: Vec<_> = (0..records).map(record).collect();
    // What a crash leaves: records that are not in the database.
    let places: Vec<_> = all
        .iter()
        .zip(1..)
        .map(|(record, lsn)| {
            let mut place = journal.take().unwrap();
            place.open(&request(record)).unwrap();
            place.end(lsn, record).unwrap();
            place
        })
        .collect();
    drop(places);
    drop(journal);
    // It is locked until the thread that syncs it has seen that.
    let dead = loop {
        if let Some(dead) = home.dead().unwrap().pop() {
            break dead;
        }
        std::thread::yield_now();
    };
    let start = Instant::now();
    let found = dead.places().filter(|place| matches!(dead.read(*place).unwrap(), Found::Ended(..))).count();
    let took = start.elapsed();
    assert_eq!(found as u64, records);
    println!("journal: {:.0} records per second read after a crash", records as f64 / took.as_secs_f64());
}
