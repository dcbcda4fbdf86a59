//! Whole journal files that are damaged anyhow: what is intact is recovered, what is not is reported, no amount is wrong.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

use super::super::home::HEADS;
use super::super::place::{FIRST, Place, offset};
use super::super::stored::{StoredEnding, StoredOpening};
use super::world::{self, File, Row, Sectors, World};
use super::*;

/// Requests of a file: ended ones first, then open ones, then some that came to nothing.
const ENDED: u64 = 8;
const OPEN: u64 = 6;
const VOID: u64 = 2;

#[derive(Clone, Debug)]
enum Damage {
    /// A byte is another one.
    Byte(Index, u8),
    /// A place has the bytes of another.
    Copied(Index, Index),
    /// The file ends here.
    Cut(Index),
    /// There is more than was written.
    Longer(Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        12 => (any::<Index>(), 1..=u8::MAX).prop_map(|(at, by)| Damage::Byte(at, by)),
        2 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Copied(from, to)),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => prop::collection::vec(1..=u8::MAX, 1..5_000).prop_map(Damage::Longer),
    ]
}

impl Damage {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Byte(at, by) => {
                let at = at.index(file.len());
                file[at] ^= by;
            }
            Self::Copied(from, to) => {
                // Those that hold something: nothing instead of something cannot be told from nothing.
                let used = usize::try_from(ENDED + OPEN).unwrap();
                let at = |index: &Index| usize::try_from(offset(u32::try_from(index.index(used)).unwrap())).unwrap();
                let (from, to) = (at(from), at(to));
                if from.max(to) + PLACE <= file.len() {
                    file.copy_within(from..from + PLACE, to);
                }
            }
            Self::Cut(at) => {
                let at = at.index(file.len());
                file.truncate(at.max(1));
            }
            Self::Longer(more) => file.extend(more),
        }
    }
}

/// The file of a process with records under the numbers from 1 on, and its requests by place.
fn file(world: &World) -> (Vec<u8>, Vec<u64>) {
    let disk = Sectors::default();
    let journal = world::journal(disk.clone(), 100);
    let (mut places, mut requests): (Vec<Place>, Vec<u64>) = (Vec::new(), Vec::new());
    for at in 0..ENDED + OPEN + VOID {
        let (n, mut place) = (world.next(), journal.take().unwrap());
        place.open(&world::request(n, false)).unwrap();
        if at < ENDED {
            place.end(at + 1, &world::record(n)).unwrap();
        }
        requests.push(n);
        places.push(place);
    }
    places.truncate(usize::try_from(ENDED + OPEN).unwrap());
    (disk.bytes(), requests)
}

#[test]
fn a_file_that_is_damaged_anyhow_gives_what_is_intact_and_says_what_is_not() {
    let world = World::new();
    let mut runner = TestRunner::new(Config { cases: 128, failure_persistence: None, ..Config::default() });
    let case = |damages: Vec<Damage>| {
        let (bytes, requests) = file(&world);
        let mut shortest = bytes.len();
        let (found, left) = world.recover(&[], bytes, |file| {
            for damage in &damages {
                damage.apply(file);
                shortest = shortest.min(file.len());
            }
        });
        let rows = world.rows(requests.iter().copied());
        if left == File::Left {
            prop_assert_eq!(found.lives, 0, "no head is right");
            prop_assert!(rows.values().all(|row| *row == Row::Nothing));
            return Ok(());
        }
        let (mut lost, mut unreadable) = (0, 0);
        for (at, n) in (0_u64..).zip(&requests) {
            // What was cut off is nowhere: nobody can say what it was.
            let is_whole = usize::try_from(offset(u32::try_from(at).unwrap())).unwrap() + PLACE <= shortest;
            match rows[n] {
                Row::Nothing => lost += u64::from(is_whole && at < ENDED + OPEN),
                Row::Exact => prop_assert!(at < ENDED, "an end that there never was"),
                Row::Interrupted => {
                    prop_assert!(at < ENDED + OPEN, "it came to nothing");
                    unreadable += u64::from(is_whole && at < ENDED);
                }
            }
        }
        prop_assert!(lost <= found.damaged, "{lost} are lost, and {found:?} is all that is said of it");
        prop_assert!(unreadable <= found.unreadable, "{unreadable} have lost their record: {found:?}");
        let expected = if found.damaged + found.unreadable > 0 { File::Kept } else { File::Removed };
        prop_assert_eq!(left, expected);
        Ok(())
    };
    runner.run(&prop::collection::vec(damage(), 0..12), case).unwrap();
}

#[test]
fn a_file_that_ends_anywhere_is_no_error() {
    let world = World::new();
    let whole = file(&world).0.len();
    let first = usize::try_from(FIRST).unwrap();
    let second_head = usize::try_from(HEADS[1]).unwrap();
    let ends = [0, 1, 55, 56, second_head, second_head + 56, first - 1, first, first + 1, first + 767, first + 768];
    for end in ends.into_iter().chain((first..whole).step_by(1_021)) {
        let (bytes, requests) = file(&world);
        let (found, left) = world.recover(&[], bytes, |file| file.truncate(end));
        assert_eq!(left == File::Left, end < 56, "{end}: {found:?}");
        let there = world.rows(requests).values().filter(|row| **row != Row::Nothing).count();
        assert!(there <= end.saturating_sub(first).div_ceil(PLACE), "{end}");
        assert!(there + 1 >= end.saturating_sub(first) / PLACE || end > whole - 3 * PLACE, "{end}: {there}");
    }
}

/// A body that was changed and whose checksum is right all the same: what reads it is on its own.
fn sealed(kind: u8, index: u32, body: &[u8], room: usize) -> Vec<u8> {
    let mut part = vec![0; room];
    let length = body.len().min(room - 16);
    part[16..16 + length].copy_from_slice(&body[..length]);
    SEAL.close(&mut part, index, kind, length);
    part
}

fn encoded(body: &impl serde::Serialize) -> Vec<u8> {
    let mut bytes = [0; PLACE];
    postcard::to_slice(body, &mut bytes).unwrap().to_vec()
}

fn changed(mut body: Vec<u8>, changes: &[(Index, u8)], length: usize) -> Vec<u8> {
    for (at, byte) in changes {
        let at = at.index(body.len());
        body[at] = *byte;
    }
    body.resize(body.len().saturating_add(length).saturating_sub(20).max(1), 0xff);
    body
}

fn changes() -> impl Strategy<Value = (Vec<(Index, u8)>, usize)> {
    (prop::collection::vec((any::<Index>(), any::<u8>()), 1..16), 0..40_usize)
}

proptest! {
    #[test]
    fn a_body_of_any_bytes_under_a_right_checksum_is_no_panic(
        (opening, by) in changes(), (ending, more) in changes(), kind in 0..4_u8,
    ) {
        let (request, record) = (request(1), record(1));
        let open = encoded(&StoredOpening::from(&request));
        let end = encoded(&StoredEnding::new(LSN, &record));
        let mut place = [0; PLACE];
        place[..OPENING].copy_from_slice(&sealed(1, 3, &changed(open, &opening, by), OPENING));
        place[OPENING..].copy_from_slice(&sealed(kind, 3, &changed(end, &ending, more), ENDING));
        match format::read(&SEAL, 3, &place) {
            // Whatever it says now can be written and read again.
            Found::Ended(lsn, found) => {
                let (part, length) = format::ending(&SEAL, 3, lsn, &found).expect("it had room before");
                place[OPENING..OPENING + length].copy_from_slice(&part[..length]);
                let Found::Ended(again, same_again) = format::read(&SEAL, 3, &place) else { panic!("not read again") };
                prop_assert!(again == lsn && same(&same_again, &found), "{found:?}: {same_again:?}");
            }
            Found::Open { request: found, .. } => {
                let place = format::opening(&SEAL, 3, &found).expect("it had room before");
                let Found::Open { request: again, damaged: false } = format::read(&SEAL, 3, &place) else {
                    panic!("not read again")
                };
                prop_assert_eq!(again, found);
            }
            Found::Damaged => {}
            Found::Nothing => prop_assert!(false, "a loss that is not reported"),
        }
    }
}

#[test]
fn records_of_any_numbers_under_a_right_checksum_do_not_stop_a_recovery() {
    let world = World::new();
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let case = |places: Vec<(Vec<(Index, u8)>, usize)>| {
        let (mut bytes, _) = file(&world);
        for (at, (changes, more)) in (0_u32..).zip(places) {
            let end = encoded(&StoredEnding::new(u64::MAX - 1, &record(1)));
            let from = usize::try_from(offset(at)).unwrap() + OPENING;
            bytes[from..from + ENDING].copy_from_slice(&sealed(2, at, &changed(end, &changes, more), ENDING));
        }
        let (found, left) = world.recover(&[], bytes, |_| {});
        let expected = if found.damaged + found.unreadable + found.refused > 0 { File::Kept } else { File::Removed };
        prop_assert_eq!(left, expected);
        Ok(())
    };
    runner.run(&prop::collection::vec(changes(), 1..8), case).unwrap();
}
