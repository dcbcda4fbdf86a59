//! The power fails: what was forced to disk is exact, and of what was not nothing is wrong.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::place::Place;
use super::world::{File, Row, Sectors, World, journal, record, request};

const PLACES: u64 = 6;

/// What happens to the journal, to the one of those it can happen to that the number chooses.
#[derive(Clone, Copy, Debug)]
enum Step {
    Open,
    /// An open request turns out dearer.
    Raise(usize),
    End(usize),
    /// It came to nothing.
    Drop(usize),
    /// The oldest record is in the database.
    Written,
    Sync,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => Just(Step::Open),
        1 => any::<usize>().prop_map(Step::Raise),
        4 => any::<usize>().prop_map(Step::End),
        1 => any::<usize>().prop_map(Step::Drop),
        3 => Just(Step::Written),
        2 => Just(Step::Sync),
    ]
}

/// What has become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    Dropped,
    Written,
}

#[derive(Default)]
struct Requests {
    now: BTreeMap<u64, State>,
    /// The same at the last sync.
    synced: BTreeMap<u64, State>,
    open: Vec<(u64, Place)>,
    ended: Vec<(u64, u64, Place)>,
    written: Vec<(u64, u64)>,
    lsn: u64,
}

impl Requests {
    fn take(&mut self, which: usize) -> Option<(u64, Place)> {
        (!self.open.is_empty()).then(|| self.open.swap_remove(which % self.open.len()))
    }

    fn step(&mut self, step: Step, world: &World, journal: &std::sync::Arc<super::super::Journal>) {
        match step {
            Step::Open => {
                let Some(mut place) = journal.take() else { return };
                let n = world.next();
                place.open(&request(n, false)).unwrap();
                self.now.insert(n, State::Open);
                self.open.push((n, place));
            }
            Step::Raise(which) => {
                let Some((n, mut place)) = self.take(which) else { return };
                place.open(&request(n, true)).unwrap();
                self.open.push((n, place));
            }
            Step::End(which) => {
                let Some((n, mut place)) = self.take(which) else { return };
                self.lsn += 1;
                place.end(self.lsn, &record(n)).unwrap();
                self.now.insert(n, State::Ended);
                self.ended.push((self.lsn, n, place));
            }
            Step::Drop(which) => {
                let Some((n, place)) = self.take(which) else { return };
                drop(place);
                self.now.insert(n, State::Dropped);
            }
            Step::Written => {
                if self.ended.is_empty() {
                    return;
                }
                let (lsn, n, place) = self.ended.remove(0);
                place.written();
                self.now.insert(n, State::Written);
                self.written.push((lsn, n));
            }
            Step::Sync => {
                journal.sync();
                self.synced = self.now.clone();
            }
        }
    }
}

#[test]
fn after_a_power_failure_what_was_forced_to_disk_is_exact_and_nothing_is_wrong() {
    let world = World::new();
    let strategy = (prop::collection::vec(step(), 1..60), prop::collection::vec(any::<usize>(), 64));
    let mut runner = TestRunner::new(Config { cases: 96, failure_persistence: None, ..Config::default() });
    let case = |(steps, luck): (Vec<Step>, Vec<usize>)| {
        let disk = Sectors::default();
        let journal = journal(disk.clone(), PLACES);
        let mut requests = Requests::default();
        for step in steps {
            requests.step(step, &world, &journal);
        }
        let mut draws = luck.iter().cycle();
        let left = disk.after_power_loss(|versions| draws.next().map_or(0, |draw| draw % versions));
        let (found, file) = world.recover(&requests.written, left, |_| {});
        let rows = world.rows(requests.now.keys().copied());
        let mut lost = 0;
        for (n, state) in &requests.now {
            let (row, before) = (rows[n], requests.synced.get(n));
            let right = match (state, before) {
                (State::Written, _) | (State::Ended, Some(State::Ended)) => row == Row::Exact,
                (State::Dropped, Some(State::Dropped)) => row == Row::Nothing,
                // It may be taken for a request whose end is unknown.
                (State::Dropped, _) => row != Row::Exact,
                (State::Open, None) => row != Row::Exact,
                (State::Open, _) => {
                    lost += u64::from(row == Row::Nothing);
                    row != Row::Exact
                }
                (State::Ended, None) => true,
                (State::Ended, _) => {
                    lost += u64::from(row == Row::Nothing);
                    true
                }
            };
            prop_assert!(right, "request {n}: {before:?} when it was forced to disk, then {state:?}, now {row:?}");
        }
        prop_assert!(lost <= found.damaged, "{lost} are lost, and {found:?} is all that is said of it");
        let expected = if found.damaged + found.unreadable > 0 { File::Kept } else { File::Removed };
        prop_assert_eq!(file, expected);
        // They belong to a process that is no more.
        drop(requests);
        Ok(())
    };
    runner.run(&strategy, case).unwrap();
}

#[test]
fn what_is_written_is_forced_to_disk_within_the_interval() {
    const INTERVAL: Duration = Duration::from_millis(200);
    let disk = Sectors::default();
    let journal = journal(disk.clone(), 100);
    journal.keep_synced(INTERVAL).unwrap();
    let mut waited = Vec::new();
    for n in 0..5 {
        let mut place = journal.take().unwrap();
        place.open(&request(n, false)).unwrap();
        let start = Instant::now();
        while !disk.is_synced() {
            assert!(start.elapsed() < Duration::from_secs(20), "it is never forced to disk");
            std::thread::sleep(Duration::from_millis(1));
        }
        waited.push(start.elapsed());
        drop(place);
    }
    // Not the longest: the machine may have other things to do.
    waited.sort();
    assert!(waited[2] < INTERVAL * 3 / 2, "{waited:?}");
}
