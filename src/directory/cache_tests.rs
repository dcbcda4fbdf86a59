#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::directory::test_support::principal;

fn hash(n: usize) -> SecretHash {
    SecretHash::of(&n.to_string())
}

fn known(cache: &Cache, n: usize, now: i64) -> bool {
    matches!(cache.get(&hash(n), now), Some(Found::Known(_)))
}

fn unknown(cache: &Cache, n: usize, now: i64) -> bool {
    matches!(cache.get(&hash(n), now), Some(Found::Unknown))
}

fn learn(cache: &Cache, n: usize, user: i64, key: i64) {
    let principal = Arc::new(principal(user, key));
    assert!(cache.remember(cache.generation(), hash(n), Some((&principal, 0)), 0));
}

#[test]
fn what_was_read_before_an_invalidation_is_not_remembered() {
    let cache = Cache::new();
    let stale = Arc::new(principal(1, 1));
    let forget: [fn(&Cache); 4] =
        [|c| c.forget_user(1), |c| c.forget_key(1), |c| c.forget_hash(&hash(1)), Cache::forget_all];
    for forget in forget {
        let generation = cache.generation();
        forget(&cache);
        assert!(!cache.remember(generation, hash(1), Some((&stale, 0)), 0));
        assert!(!cache.remember(generation, hash(1), None, 0));
        assert!(cache.get(&hash(1), 0).is_none());
    }
}

#[test]
fn a_user_takes_all_keys_along_and_nobody_elses() {
    let cache = Cache::new();
    learn(&cache, 1, 1, 1);
    learn(&cache, 2, 1, 2);
    learn(&cache, 3, 2, 3);
    cache.forget_user(1);
    assert!(!known(&cache, 1, 0) && !known(&cache, 2, 0) && known(&cache, 3, 0));
    cache.forget_key(3);
    assert!(!known(&cache, 3, 0));
    let index = cache.index.lock();
    assert!(index.by_key.is_empty() && index.by_user.is_empty());
}

#[test]
fn a_new_secret_of_a_key_replaces_the_old_one() {
    let cache = Cache::new();
    learn(&cache, 1, 1, 7);
    learn(&cache, 2, 1, 7);
    assert!(!known(&cache, 1, 0) && known(&cache, 2, 0));
    cache.forget_key(7);
    assert!(!known(&cache, 2, 0));
}

#[test]
fn an_unknown_key_is_forgotten_after_30_seconds_or_when_it_is_created() {
    let cache = Cache::new();
    assert!(cache.remember(0, hash(1), None, 1_000));
    assert!(unknown(&cache, 1, 30_999));
    assert!(!unknown(&cache, 1, 31_000));
    assert!(!unknown(&cache, 1, 0), "the clock was set back");
    cache.forget_hash(&hash(1));
    assert!(!unknown(&cache, 1, 1_000));
    // Learnt again, it is not dropped by the passing of the first entry.
    assert!(cache.remember(cache.generation(), hash(1), None, 20_000));
    assert!(cache.remember(cache.generation(), hash(2), None, 40_000));
    assert!(unknown(&cache, 1, 40_000));
}

#[test]
fn a_scan_fills_a_bounded_space_and_drops_no_known_key() {
    let cache = Cache::with_capacity(SHARDS, 100);
    learn(&cache, 0, 1, 1);
    for n in 1..=1_000 {
        assert!(cache.remember(0, hash(n), None, 0));
    }
    assert_eq!(cache.unknown.lock().since.len(), 100);
    assert_eq!(cache.unknown.lock().order.len(), 100);
    assert!(known(&cache, 0, 0));
    assert!(unknown(&cache, 1_000, 0) && !unknown(&cache, 900, 0));
}

#[test]
fn known_keys_are_bounded_and_the_busy_one_stays() {
    let cache = Cache::with_capacity(SHARDS * 20, 0);
    learn(&cache, 0, 1, 0);
    for n in 1..=5_000 {
        assert!(known(&cache, 0, i64::try_from(n).unwrap() * 1_000));
        learn(&cache, n, 1, i64::try_from(n).unwrap());
    }
    assert_eq!(cache.noted().len(), SHARDS * 20);
    assert_eq!(cache.index.lock().by_key.len(), SHARDS * 20);
    assert_eq!(cache.index.lock().by_user[&1].len(), SHARDS * 20);
}

fn noted(cache: &Cache, n: usize) -> Noted {
    cache.noted().into_iter().find(|noted| noted.hash == hash(n)).unwrap()
}

#[test]
fn a_correction_changes_what_changed_and_drops_what_is_gone() {
    let cache = Cache::new();
    learn(&cache, 1, 1, 1);
    learn(&cache, 2, 1, 2);
    cache.correct(&noted(&cache, 1), Some((9, Arc::new(principal(1, 1)))));
    assert_eq!(noted(&cache, 1).fingerprint, 9);
    cache.correct(&noted(&cache, 2), None);
    assert!(!known(&cache, 2, 0));
    assert_eq!(cache.index.lock().by_key.len(), 1);
}

#[test]
fn what_was_invalidated_since_it_was_noted_is_not_corrected() {
    let cache = Cache::new();
    learn(&cache, 1, 1, 1);
    let old = noted(&cache, 1);
    cache.forget_key(1);
    cache.correct(&old, Some((9, Arc::new(principal(1, 1)))));
    assert!(!known(&cache, 1, 0), "it stays forgotten");
    learn(&cache, 1, 1, 1);
    cache.correct(&old, Some((9, Arc::new(principal(1, 1)))));
    assert_eq!(noted(&cache, 1).fingerprint, 0, "what was learnt since is newer");
    cache.correct(&old, None);
    assert!(known(&cache, 1, 0));
}

#[test]
fn in_doubt_the_known_stay_and_the_unknown_do_not() {
    let cache = Cache::new();
    learn(&cache, 1, 1, 1);
    assert!(cache.remember(0, hash(2), None, 0));
    cache.doubt();
    assert!(known(&cache, 1, 0) && !unknown(&cache, 2, 0));
    assert!(!cache.remember(0, hash(2), None, 0), "it was read before the doubt");
}
