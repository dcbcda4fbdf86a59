//! What the journal costs a request: its opening before anything goes to a provider, its record before the last byte goes
//! to the client. The journal is forced to disk meanwhile, as it is in a gateway.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a bench")]

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use tollgate::ledger::LedgerRecord;
use tollgate::ledger::journal::{Journal, JournalHome};

#[path = "ledger/records.rs"]
mod records;

use records::{record, request};

const MAX_BYTES: u64 = 1 << 30;
const SYNC: Duration = Duration::from_millis(50);

/// Requests of a thread that are on their way at once; places are used again and again.
const ON_THE_WAY: usize = 64;

/// What is timed of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Timed {
    Opening,
    Ending,
    Both,
}

/// How long so many requests take on one thread.
fn requests(journal: &Arc<Journal>, all: &[LedgerRecord], iterations: u64, timed: Timed) -> Duration {
    let (mut took, mut left) = (Duration::ZERO, usize::try_from(iterations).unwrap());
    while left > 0 {
        let batch = &all[..left.min(ON_THE_WAY)];
        left -= batch.len();
        let mut places: Vec<_> = batch.iter().map(|_| journal.take().expect("there is room")).collect();
        let start = Instant::now();
        for (place, record) in places.iter_mut().zip(batch) {
            place.open(&request(record)).unwrap();
        }
        let opened = Instant::now();
        for (place, record) in places.iter_mut().zip(batch) {
            place.end(1, record).unwrap();
        }
        took += match timed {
            Timed::Opening => opened - start,
            Timed::Ending => opened.elapsed(),
            Timed::Both => start.elapsed(),
        };
        places.into_iter().for_each(|place| place.written());
    }
    took
}

/// So many on each of these threads; the slowest counts.
fn on_threads(threads: u64, journal: &Arc<Journal>, all: &[LedgerRecord], iterations: u64, timed: Timed) -> Duration {
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| requests(journal, all, iterations, timed))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).max().unwrap_or_default()
    })
}

fn journal(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let journal = JournalHome::new(folder.path()).unwrap().begin(1, 1, MAX_BYTES, SYNC).unwrap();
    let all: Vec<_> = (0..ON_THE_WAY as u64).map(record).collect();
    for (threads, name) in [(1, "journal, one thread"), (2, "journal, each of two threads")] {
        let mut group = c.benchmark_group(name);
        for (timed, name) in [(Timed::Opening, "open"), (Timed::Ending, "end"), (Timed::Both, "open and end")] {
            group.bench_function(name, |b| {
                b.iter_custom(|iterations| on_threads(threads, &journal, &all, iterations, timed));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, journal);
criterion_main!(benches);
