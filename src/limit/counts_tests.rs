#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;

const NONE: CountLimits = CountLimits { rpm: None, max_concurrent: None, stamp: 0 };

fn rpm(limit: u32) -> CountLimits {
    CountLimits { rpm: Some(limit), ..NONE }
}

fn at_once(limit: u32) -> CountLimits {
    CountLimits { max_concurrent: Some(limit), ..NONE }
}

fn subject(key: CountLimits, user: CountLimits) -> CountSubject {
    CountSubject { key_id: 1, key, user_id: 1, user }
}

/// Everything that is counted, to see that it has not changed.
fn state(counts: &Counts) -> Vec<(Axis, i64, u32, u32)> {
    let mut all: Vec<_> = counts
        .shards
        .iter()
        .flat_map(|shard| {
            let shard = shard.read();
            let entries = shard.counts.iter().map(|((axis, id), count)| {
                let count = count.lock();
                (*axis, *id, count.sum, count.in_flight)
            });
            entries.collect::<Vec<_>>()
        })
        .collect();
    all.sort_by_key(|(axis, id, ..)| (axis.as_str(), *id));
    all
}

#[test]
fn a_minute_is_full_until_the_second_of_its_first_request_comes_round() {
    let counts = Counts::new();
    let subject = subject(rpm(2), NONE);
    drop(counts.admit(&subject, 10_000).unwrap());
    drop(counts.admit(&subject, 30_999).unwrap());
    let refusal = counts.admit(&subject, 31_000).unwrap_err();
    let expected = CountRefusal { axis: Axis::Key, kind: CountKind::Rpm, limit: 2, current: 2, retry_after: 39 };
    assert_eq!(refusal, expected);
    assert_eq!(counts.admit(&subject, 69_999).unwrap_err().retry_after, 1);
    drop(counts.admit(&subject, 70_000).unwrap());
    assert_eq!(counts.admit(&subject, 70_000).unwrap_err().retry_after, 20);
}

#[test]
fn the_time_to_wait_is_long_enough_even_after_the_limit_was_lowered() {
    let counts = Counts::new();
    for second in 0..10 {
        drop(counts.admit(&subject(rpm(100), NONE), second * 1000).unwrap());
    }
    let refusal = counts.admit(&subject(rpm(4), NONE), 20_000).unwrap_err();
    // 10 are counted; of them 7 have to go, and the seventh was at second 6.
    assert_eq!(refusal.retry_after, 46);
    assert!(counts.admit(&subject(rpm(4), NONE), 65_999).is_err());
    assert!(counts.admit(&subject(rpm(4), NONE), 66_000).is_ok());
    let refusal = counts.admit(&subject(rpm(0), NONE), 1_000_000).unwrap_err();
    assert_eq!((refusal.retry_after, refusal.current), (60, 0));
}

#[test]
fn a_request_is_in_flight_until_its_guard_is_dropped() {
    let counts = Counts::new();
    let subject = subject(NONE, at_once(1));
    let first = counts.admit(&subject, 0).unwrap();
    let refusal = counts.admit(&subject, 0).unwrap_err();
    let expected =
        CountRefusal { axis: Axis::User, kind: CountKind::Concurrency, limit: 1, current: 1, retry_after: 1 };
    assert_eq!(refusal, expected);
    drop(first);
    assert!(counts.admit(&subject, 0).is_ok());
}

#[test]
fn a_refused_request_changes_nothing_on_any_axis() {
    for (key, user) in
        [(rpm(1), NONE), (NONE, rpm(1)), (at_once(1), NONE), (NONE, at_once(1)), (rpm(1), at_once(1)), (rpm(5), rpm(1))]
    {
        let counts = Counts::new();
        let _first = counts.admit(&subject(key, user), 0).unwrap();
        let before = state(&counts);
        for _ in 0..10 {
            assert!(counts.admit(&subject(key, user), 500).is_err(), "{key:?} {user:?}");
        }
        assert_eq!(state(&counts), before, "{key:?} {user:?}");
    }
}

#[test]
fn the_keys_limit_is_reported_before_the_users() {
    let counts = Counts::new();
    let refusal = counts.admit(&subject(at_once(0), rpm(0)), 0).unwrap_err();
    assert_eq!((refusal.axis, refusal.kind), (Axis::Key, CountKind::Concurrency));
    let refusal =
        counts.admit(&subject(NONE, CountLimits { rpm: Some(0), max_concurrent: Some(0), ..NONE }), 0).unwrap_err();
    assert_eq!((refusal.axis, refusal.kind), (Axis::User, CountKind::Rpm));
}

#[test]
fn a_user_shares_a_limit_over_keys_and_a_key_and_a_user_with_the_same_id_do_not() {
    let counts = Counts::new();
    let with_key = |key_id| CountSubject { key_id, key: rpm(2), user_id: 7, user: rpm(3) };
    let admitted = [7, 7, 8].map(|key| counts.admit(&with_key(key), 0).is_ok());
    assert_eq!(admitted, [true, true, true]);
    assert_eq!(counts.admit(&with_key(7), 0).unwrap_err().axis, Axis::Key);
    assert_eq!(counts.admit(&with_key(8), 0).unwrap_err().axis, Axis::User);
}

#[test]
fn a_panic_releases_what_was_in_flight() {
    let counts = Counts::new();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = counts.admit(&subject(at_once(1), at_once(1)), 0).unwrap();
        panic!("in the middle of a request");
    }));
    assert!(panicked.is_err());
    assert!(counts.admit(&subject(at_once(1), at_once(1)), 0).is_ok());
}

#[test]
fn sixty_four_threads_admit_exactly_the_limit() {
    const THREADS: u32 = 64;
    let counts = Counts::new();
    let (admitted, in_flight, most) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let start = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for thread in 0..i64::from(THREADS) {
            let (counts, admitted, in_flight, most, start) = (&counts, &admitted, &in_flight, &most, &start);
            scope.spawn(move || {
                // 16 keys share a user: both axes are fought for.
                let user = CountLimits { rpm: Some(1_500), max_concurrent: Some(5), ..NONE };
                let subject = CountSubject { key_id: thread % 16, key: rpm(1_000), user_id: 1, user };
                start.wait();
                for n in 0..500 {
                    // Several admissions see the clock in different orders.
                    let now = 1_000 * (thread + n) % 30_000;
                    if let Ok(guard) = counts.admit(&subject, now) {
                        most.fetch_max(in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        admitted.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        in_flight.fetch_sub(1, Ordering::SeqCst);
                        drop(guard);
                    }
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 5, "{most:?} at once");
    let admitted = admitted.load(Ordering::SeqCst);
    let state = state(&counts);
    let user = state.iter().find(|(axis, ..)| *axis == Axis::User).unwrap();
    assert_eq!((user.2, user.3), (admitted, 0), "what was counted is what was admitted, and nothing is in flight");
    let keys: u32 = state.iter().filter(|(axis, ..)| *axis == Axis::Key).map(|(_, _, sum, _)| sum).sum();
    assert_eq!(keys, admitted);
    // Whoever was refused for concurrency may have been admitted later; now only the rate is left.
    let subject = CountSubject { key_id: 99, key: NONE, user_id: 1, user: rpm(1_500) };
    let rest = (0..2_000).filter(|_| counts.admit(&subject, 29_000).is_ok()).count();
    assert_eq!(rest, 1_500 - admitted as usize);
}

#[test]
fn what_has_been_idle_for_a_minute_is_dropped_and_what_is_in_flight_is_not() {
    let counts = Counts::new();
    let of = |id| CountSubject { key_id: id, key: NONE, user_id: id, user: NONE };
    let guard = counts.admit(&of(0), 0).unwrap();
    for id in 1..10_000 {
        drop(counts.admit(&of(id), 0).unwrap());
    }
    assert_eq!(state(&counts).len(), 20_000);
    // One newcomer per shard.
    for id in 10_000..10_064 {
        drop(counts.admit(&of(id), 60_000).unwrap());
    }
    assert_eq!(state(&counts).len(), 2 * (1 + 64));
    let mut limited = of(0);
    limited.key = at_once(1);
    assert_eq!(counts.admit(&limited, 60_000).unwrap_err().kind, CountKind::Concurrency);
    drop(guard);
    assert!(counts.admit(&limited, 60_000).is_ok());
}

#[test]
fn a_clock_that_jumps_neither_panics_nor_locks_anybody_out() {
    let counts = Counts::new();
    let subject = subject(rpm(1), rpm(1));
    for now in [0, i64::MAX, i64::MIN, 5_000_000, -5_000_000, i64::MAX] {
        drop(counts.admit(&subject, now).unwrap_or_else(|refusal| panic!("{now}: {refusal:?}")));
        assert!(counts.admit(&subject, now).is_err());
    }
    // A little back, as between two threads, is the same minute.
    drop(counts.admit(&subject, 100_000).unwrap());
    assert!(counts.admit(&subject, 99_000).is_err());
}

proptest! {
    /// Against the plain definition: the requests of the last sixty seconds, one by one.
    #[test]
    fn the_sliding_minute_agrees_with_a_list_of_instants(
        steps in prop::collection::vec((0_i64..20_000, 1_u32..6), 1..200),
    ) {
        let counts = Counts::new();
        let mut admitted: Vec<i64> = Vec::new();
        let mut now = 0;
        for (step, limit) in steps {
            now += step;
            let recent = admitted.iter().filter(|at| now / 1000 - *at / 1000 < 60).count();
            let result = counts.admit(&subject(rpm(limit), NONE), now);
            prop_assert_eq!(result.is_ok(), recent < limit as usize);
            match result {
                Ok(_) => admitted.push(now),
                Err(refusal) => {
                    prop_assert_eq!(refusal.current as usize, recent);
                    let free_at = (now / 1000 + i64::from(refusal.retry_after)) * 1000;
                    let left = |at: i64| admitted.iter().filter(|old| at / 1000 - *old / 1000 < 60).count();
                    prop_assert!(left(free_at) < limit as usize);
                    prop_assert!(left(free_at - 1000) >= limit as usize);
                }
            }
        }
    }
}

#[test]
fn a_request_that_is_taken_back_counts_for_nothing() {
    let counts = Counts::new();
    let subject = CountSubject {
        key_id: 1,
        key: CountLimits { rpm: Some(1), max_concurrent: Some(1), ..NONE },
        user_id: 1,
        user: CountLimits::default(),
    };
    counts.admit(&subject, 0).unwrap().take_back();
    let second = counts.admit(&subject, 30_000).unwrap();
    assert_eq!(counts.admit(&subject, 30_000).unwrap_err().kind, CountKind::Rpm);
    // Its second has left the minute: what others counted since stays.
    let mut later = CountSubject { key: CountLimits { rpm: Some(5), ..NONE }, ..subject };
    later.user_id = 2;
    let third = counts.admit(&later, 90_000).unwrap();
    second.take_back();
    later.key.rpm = Some(1);
    assert!(counts.admit(&later, 90_000).is_err());
    drop(third);
}
