//! The journal on a disk that fills up, fails, loses its power or rots.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod files;
mod power;
mod world;

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use proptest::prelude::*;
use uuid::Uuid;

use super::disk::Disk;
use super::format::{self, ENDING, Found, OPENING, OpenRequest, PLACE, Seal};
use super::place::{self, FIRST, Journal, Place};
use crate::dialect::{Dialect, ServiceTier, Usage};
use crate::ledger::{AttemptReport, LedgerRecord, Outcome};
use crate::money::Usd;

const SEAL: Seal = Seal(*b"sixteen bytes ok");
const LSN: u64 = 7;

fn request(n: u128) -> OpenRequest<'static> {
    OpenRequest {
        request_id: Uuid::from_u128(n),
        attempt: 2,
        created_at: 1_000,
        user_id: 1,
        key_id: 2,
        provider: Cow::Borrowed("pretend"),
        dialect: Dialect::OpenaiChat,
        requested_model: Cow::Borrowed("gpt"),
        served_model: Cow::Borrowed("gpt-5"),
        model_group_id: Some(3),
        estimate: Usd::from_nanos(50_000_000),
        counted_in_user_global: true,
        counted_in_key_global: false,
        user_era: 4,
        key_era: 5,
        stream: true,
        request_bytes: 77,
        has_lost: false,
    }
}

fn record(n: u128) -> LedgerRecord {
    LedgerRecord {
        request_id: Uuid::from_u128(n),
        attempt: 2,
        created_at: 1_000,
        settled_at: 2_000,
        user_id: 1,
        key_id: 2,
        provider: "pretend".into(),
        dialect: Dialect::OpenaiChat,
        requested_model: "gpt".to_owned(),
        served_model: "gpt-5".to_owned(),
        model_group_id: None,
        outcome: Outcome::ClientAborted,
        estimated: true,
        status: 200,
        duration_ms: 1_000,
        first_byte_ms: Some(100),
        usage: Usage { input: 10, web_searches: 5, service_tier: ServiceTier::Flex, ..Usage::default() },
        cost: Usd::from_nanos(i64::MAX),
        price: Some(r#"{"input":3}"#.into()),
        counted_in_user_global: true,
        counted_in_key_global: false,
        user_era: 4,
        key_era: 5,
        stream: true,
        request_bytes: 77,
        response_bytes: u64::MAX,
        attempts: vec![attempt("connect_failed"), attempt("ok")],
    }
}

fn attempt(reason: &str) -> AttemptReport {
    AttemptReport {
        provider: "pretend".into(),
        served_model: "gpt-5".to_owned(),
        started_ms: 1,
        duration_ms: 2,
        status: Some(200),
        reason: reason.to_owned(),
        affinity: reason == "ok",
    }
}

/// A place that a request was admitted into and has ended in.
fn ended(index: u32) -> [u8; PLACE] {
    let mut place = format::opening(&SEAL, index, &request(1)).unwrap();
    let (part, length) = format::ending(&SEAL, index, LSN, &record(1)).unwrap();
    place[OPENING..OPENING + length].copy_from_slice(&part[..length]);
    place
}

fn same(one: &LedgerRecord, other: &LedgerRecord) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

#[test]
fn what_was_written_is_read() {
    let place = format::opening(&SEAL, 3, &request(1)).unwrap();
    let Found::Open { request: found, damaged: false } = format::read(&SEAL, 3, &place) else { panic!("not open") };
    assert_eq!(found, request(1));

    let Found::Ended(LSN, found) = format::read(&SEAL, 3, &ended(3)) else { panic!("not ended") };
    assert!(same(&found, &record(1)), "{found:?}");

    let mut place = format::opening(&SEAL, 3, &request(1)).unwrap();
    place[..format::VOID.len()].copy_from_slice(&format::VOID);
    let void = place;
    assert!(matches!(format::read(&SEAL, 3, &void), Found::Nothing));
    // The next opening gets to the disk in parts, in any order.
    let next = format::opening(&SEAL, 3, &request(9)).unwrap();
    for sectors in 0..16_usize {
        let mut torn = void;
        for sector in (0..4).filter(|sector| sectors & (1 << sector) > 0) {
            torn[sector * 512..(sector + 1) * 512].copy_from_slice(&next[sector * 512..(sector + 1) * 512]);
        }
        match format::read(&SEAL, 3, &torn) {
            Found::Open { request: found, .. } => assert_eq!(found, request(9)),
            found => assert!(matches!(found, Found::Nothing | Found::Damaged), "{found:?}"),
        }
    }
    assert!(matches!(format::read(&SEAL, 3, &[0; PLACE]), Found::Nothing));
}

#[test]
fn every_outcome_dialect_and_tier_comes_back() {
    use ServiceTier::{Batch, Flex, Priority, Standard};
    let dialects =
        [Dialect::Anthropic, Dialect::OpenaiChat, Dialect::OpenaiResponses, Dialect::OpenaiEmbeddings, Dialect::Gemini];
    let outcomes =
        [Outcome::Completed, Outcome::ClientAborted, Outcome::UpstreamFailed, Outcome::Interrupted, Outcome::LostRace];
    for (dialect, outcome, tier) in dialects.iter().flat_map(|dialect| {
        outcomes
            .iter()
            .flat_map(move |outcome| [Standard, Priority, Flex, Batch].map(|tier| (*dialect, *outcome, tier)))
    }) {
        let mut record = record(1);
        (record.dialect, record.outcome, record.usage.service_tier) = (dialect, outcome, tier);
        let (part, _) = format::ending(&SEAL, 0, LSN, &record).unwrap();
        let mut place = [0; PLACE];
        place[OPENING..].copy_from_slice(&part);
        let Found::Ended(_, found) = format::read(&SEAL, 0, &place) else { panic!("{record:?} is not read") };
        assert!(same(&found, &record), "{found:?}");
    }
}

#[test]
fn the_longest_names_fit_and_what_does_not_is_never_the_money() {
    let long = "\u{fffd}".repeat(1_000);
    let mut request = request(1);
    request.requested_model = Cow::Owned(long.clone());
    request.served_model = Cow::Owned(long.clone());
    request.provider = Cow::Owned(long.clone());
    (request.created_at, request.user_id, request.key_id) = (i64::MIN, i64::MIN, i64::MIN);
    (request.user_era, request.key_era, request.request_bytes) = (i64::MIN, i64::MIN, u64::MAX);
    (request.model_group_id, request.estimate) = (Some(i64::MIN), Usd::from_nanos(i64::MIN));
    let place = format::opening(&SEAL, 0, &request).expect("the longest opening fits");
    let Found::Open { request: found, .. } = format::read(&SEAL, 0, &place) else { panic!("not open") };
    assert_eq!((found.estimate, found.user_id), (request.estimate, request.user_id));
    assert!(request.requested_model.starts_with(&*found.requested_model) && found.requested_model.len() > 250);

    let mut record = record(1);
    record.requested_model = long.clone();
    record.served_model = long.clone();
    record.provider = long.as_str().into();
    record.price = Some(long.as_str().into());
    record.attempts = (0..100).map(|n| attempt(&format!("{n}{long}"))).collect();
    record.usage = Usage {
        input: u64::MAX,
        output: u64::MAX,
        cache_read: u64::MAX,
        cache_write_5m: u64::MAX,
        cache_write_1h: u64::MAX,
        reasoning: u64::MAX,
        input_audio: u64::MAX,
        output_audio: u64::MAX,
        input_image: u64::MAX,
        output_image: u64::MAX,
        web_searches: u64::MAX,
        service_tier: ServiceTier::Priority,
    };
    (record.user_era, record.key_era, record.user_id, record.key_id) = (i64::MIN, i64::MIN, i64::MIN, i64::MIN);
    let (part, length) = format::ending(&SEAL, 0, u64::MAX, &record).expect("the longest ending fits");
    assert!(length <= ENDING);
    let mut place = [0; PLACE];
    place[OPENING..].copy_from_slice(&part);
    let Found::Ended(u64::MAX, found) = format::read(&SEAL, 0, &place) else { panic!("not ended") };
    assert_eq!((found.cost, found.usage), (record.cost, record.usage));

    // A usual request with a hundred attempts keeps the last of them.
    let mut record = self::record(1);
    record.attempts = (0..100).map(|n| attempt(&n.to_string())).collect();
    let (part, _) = format::ending(&SEAL, 0, LSN, &record).unwrap();
    place[OPENING..].copy_from_slice(&part);
    let Found::Ended(_, found) = format::read(&SEAL, 0, &place) else { panic!("not ended") };
    assert_eq!(found.price, record.price);
    assert!(found.attempts.len() >= 5 && record.attempts.ends_with(&found.attempts), "{}", found.attempts.len());
}

/// What may come of damage: the record itself, the request that it was of, or word that something is lost.
fn right_or_reported(found: &Found) {
    match found {
        Found::Ended(lsn, found) => assert!(*lsn == LSN && same(found, &record(1)), "{found:?}"),
        Found::Open { request: found, damaged } => assert!(*damaged && *found == request(1), "{found:?}"),
        Found::Damaged => {}
        Found::Nothing => panic!("a loss that is not reported"),
    }
}

#[test]
fn a_flipped_bit_never_makes_another_amount() {
    let whole = ended(3);
    let mut lost = 0;
    for bit in 0..PLACE * 8 {
        let mut place = whole;
        place[bit / 8] ^= 1 << (bit % 8);
        let found = format::read(&SEAL, 3, &place);
        right_or_reported(&found);
        lost += usize::from(!matches!(found, Found::Ended(..)));
    }
    let (_, length) = format::ending(&SEAL, 3, LSN, &record(1)).unwrap();
    // The four bytes of the header that mean nothing are covered as well.
    assert_eq!(lost, length * 8, "every bit of the record counts, and no other does");
}

#[test]
fn a_file_that_ends_at_any_byte_is_read_up_to_there() {
    let whole = ended(3);
    let opened = format::opening(&SEAL, 3, &request(1)).unwrap();
    for length in 0..PLACE {
        let mut place = [0; PLACE];
        place[..length].copy_from_slice(&whole[..length]);
        match format::read(&SEAL, 3, &place) {
            Found::Nothing => assert!(length == 0 || whole[..length].iter().all(|byte| *byte == 0)),
            // All of the opening is there, and nothing that could be told from zeros of the ending.
            Found::Open { request: found, damaged: false } => {
                assert_eq!(found, request(1));
                assert!(place[OPENING..].iter().all(|byte| *byte == 0) && place[..OPENING] == opened[..OPENING]);
            }
            found => right_or_reported(&found),
        }
    }
}

#[test]
fn what_stands_in_another_place_or_file_does_not_count() {
    assert!(matches!(format::read(&SEAL, 4, &ended(3)), Found::Damaged));
    assert!(matches!(format::read(&Seal([0; 16]), 3, &ended(3)), Found::Damaged));
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer(bytes in prop::collection::vec(any::<u8>(), PLACE)) {
        let place: [u8; PLACE] = bytes.try_into().unwrap();
        prop_assert!(matches!(format::read(&SEAL, 3, &place), Found::Damaged | Found::Nothing));
    }

    #[test]
    fn strange_bytes_are_right_or_reported(cuts in prop::collection::vec((0..PLACE, any::<u8>()), 1..20)) {
        let mut place = ended(3);
        for (at, byte) in cuts {
            place[at] = byte;
        }
        right_or_reported(&format::read(&SEAL, 3, &place));
    }
}

/// A disk whose every fault can be called for.
#[derive(Debug, Default)]
struct TestDisk {
    state: Mutex<Bytes>,
    /// Bytes that there is room for; 0: any number.
    room: AtomicU64,
    /// Takes nothing at all, as a full disk does that writes everything to a new place.
    is_full: AtomicBool,
    fails_to_sync: AtomicBool,
}

#[derive(Clone, Debug, Default)]
struct Bytes {
    written: Vec<u8>,
    synced: Vec<u8>,
}

impl TestDisk {
    /// What is there after a power failure.
    fn after_power_loss(&self) -> Self {
        let synced = self.state.lock().synced.clone();
        Self { state: Mutex::new(Bytes { written: synced.clone(), synced }), ..Self::default() }
    }
}

#[derive(Clone, Debug, Default)]
struct Shared(Arc<TestDisk>);

impl Disk for Shared {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        let mut state = self.0.state.lock();
        let room = self.0.room.load(Ordering::Relaxed);
        // What has its place keeps it.
        let grows = room > 0 && end > room && end > state.written.len() as u64;
        if grows || self.0.is_full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let (from, end) = (usize::try_from(offset).unwrap(), usize::try_from(end).unwrap());
        if state.written.len() < end {
            state.written.resize(end, 0);
        }
        state.written[from..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.0.state.lock();
        let from = usize::try_from(offset).unwrap().min(state.written.len());
        let there = bytes.len().min(state.written.len() - from);
        bytes.fill(0);
        bytes[..there].copy_from_slice(&state.written[from..from + there]);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.0.fails_to_sync.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is gone"));
        }
        let mut state = self.0.state.lock();
        state.synced = state.written.clone();
        Ok(())
    }

    fn shrink(&self, length: u64) -> io::Result<()> {
        self.0.state.lock().written.truncate(usize::try_from(length).unwrap());
        Ok(())
    }
}

fn journal(places: u64) -> (Arc<Journal>, Shared) {
    let disk = Shared::default();
    (Arc::new(Journal::new(Box::new(disk.clone()), PathBuf::new(), SEAL, places * PLACE as u64)), disk)
}

fn opened(journal: &Arc<Journal>, n: u128) -> Place {
    let mut place = journal.take().expect("there is room");
    place.open(&request(n)).unwrap();
    place
}

/// The requests whose ends are unknown, and the numbers of the records.
fn left(disk: &dyn Disk, places: u32) -> (Vec<u128>, Vec<u64>) {
    let (mut open, mut ended) = (Vec::new(), Vec::new());
    for index in 0..places {
        match place::read(disk, &SEAL, index).unwrap() {
            Found::Open { request, damaged: false } => open.push(request.request_id.as_u128()),
            Found::Ended(lsn, _) => ended.push(lsn),
            Found::Nothing => {}
            found => panic!("{found:?}"),
        }
    }
    (open, ended)
}

#[test]
fn a_crash_finds_what_is_on_its_way_and_what_is_not_in_the_database() {
    let (journal, disk) = journal(10);
    let on_its_way = opened(&journal, 1);
    let mut done = opened(&journal, 2);
    done.end(1, &record(2)).unwrap();
    drop(opened(&journal, 3));
    let unused = journal.take();
    assert_eq!(left(&disk, 10), (vec![1], vec![1]));
    assert_eq!(done.record().unwrap().request_id, Uuid::from_u128(2));
    assert_eq!(journal.bytes(), 3 * PLACE as u64);
    drop((on_its_way, done, unused));
    assert_eq!(left(&disk, 10), (vec![], vec![1]), "a record stays until somebody says that it is written");
}

#[test]
fn a_full_journal_takes_nothing_until_something_is_written() {
    let (journal, _disk) = journal(2);
    let mut first = opened(&journal, 1);
    let second = opened(&journal, 2);
    assert!(journal.take().is_none());
    first.end(1, &record(1)).unwrap();
    assert!(journal.take().is_none(), "the record still needs its place");
    first.written();
    let again = opened(&journal, 3);
    assert!(journal.take().is_none());
    drop((second, again));
    drop(journal.take().expect("both are free again"));
    assert_eq!(journal.bytes(), 0);
}

#[test]
fn whoever_was_admitted_to_a_full_disk_can_be_recorded() {
    let (journal, disk) = journal(10);
    let mut first = opened(&journal, 1);
    disk.0.room.store(FIRST + PLACE as u64, Ordering::Relaxed);
    let mut refused = journal.take().unwrap();
    refused.open(&request(2)).expect_err("there is no room on the disk");
    drop(refused);
    first.end(1, &record(1)).expect("its room was taken when it was admitted");
    assert_eq!(left(&disk, 10), (vec![], vec![1]));
}

#[test]
fn a_full_disk_does_not_use_the_places_up() {
    let (journal, disk) = journal(2);
    disk.0.room.store(FIRST, Ordering::Relaxed);
    for n in 0..10 {
        let mut refused = journal.take().expect("each refusal gives its place back");
        refused.open(&request(n)).expect_err("there is no room on the disk");
    }
    assert_eq!(journal.bytes(), 0);
    disk.0.room.store(0, Ordering::Relaxed);
    let _places = [opened(&journal, 11), opened(&journal, 12)];
    assert_eq!(left(&disk, 2).0, [11, 12]);
}

#[test]
fn what_came_to_nothing_is_said_to_the_disk_as_soon_as_it_listens() {
    let (journal, disk) = journal(3);
    let places = [opened(&journal, 1), opened(&journal, 2), opened(&journal, 3)];
    disk.0.is_full.store(true, Ordering::Relaxed);
    drop(places);
    drop(journal.take().expect("it is free"));
    journal.clean();
    assert_eq!(left(&disk, 3).0, [1, 2, 3], "the disk was not told");
    disk.0.is_full.store(false, Ordering::Relaxed);
    drop(journal.take().expect("it is free"));
    assert_eq!(left(&disk, 3).0.len(), 2, "also when no request was written to it");
    journal.clean();
    assert_eq!(left(&disk, 3).0, [0_u128; 0]);
    let _places = [1, 2, 3].map(|n| opened(&journal, n));
    assert!(journal.take().is_none(), "each of them is there once");
}

#[test]
fn power_loss_takes_only_what_came_after_the_last_sync() {
    let (journal, disk) = journal(10);
    let mut places: Vec<Place> = (0..4).map(|n| opened(&journal, n)).collect();
    places[0].end(1, &record(0)).unwrap();
    journal.sync();
    places[1].end(2, &record(1)).unwrap();
    drop(places.pop());
    let late = opened(&journal, 9);
    let lost = Shared(Arc::new(disk.0.after_power_loss()));
    let (open, ended) = left(&lost, 10);
    assert_eq!(ended, [1], "what was forced to disk is there");
    assert_eq!(open, [1, 2, 3], "what was not is as it was then");
    drop(late);
}

#[test]
fn a_disk_that_loses_what_it_was_given_admits_nobody() {
    let (journal, disk) = journal(10);
    let mut place = opened(&journal, 1);
    disk.0.fails_to_sync.store(true, Ordering::Relaxed);
    journal.sync();
    assert!(journal.is_broken() && journal.take().is_none());
    place.end(1, &record(1)).expect("what is on its way can still be recorded");
}

#[test]
fn after_an_outage_the_file_becomes_small_again() {
    let (journal, disk) = journal(100_000);
    let kept = opened(&journal, 0);
    let many: Vec<Place> = (1..40_000).map(|_| journal.take().unwrap()).collect();
    let mut last = journal.take().unwrap();
    last.open(&request(2)).unwrap();
    drop(many);
    journal.shrink();
    assert_eq!(left(&disk, 100_000).0, [0, 2], "nothing that is in use goes");
    drop(last);
    journal.shrink();
    assert_eq!(disk.0.state.lock().written.len() as u64, FIRST + PLACE as u64);
    let next = opened(&journal, 3);
    assert_eq!(left(&disk, 2).0, [0, 3]);
    drop((kept, next));
}
