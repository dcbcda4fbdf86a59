#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use super::*;
use crate::limit::test_data::{Data, daily, usd, user, with_mainline};

const USER: i64 = 1;
const KEY: i64 = 100;

#[test]
fn an_unchanged_owner_gets_the_same_policy_and_a_changed_one_never_a_stale_one() {
    let snapshot = Data::new().limit_on_user(USER, &[daily(5)]).limit_on_key(KEY, &[daily(6)]).snapshot();
    let owner = with_mainline(USER, &[daily(1)]);
    let key = with_mainline(KEY, &[daily(2)]);
    let first = snapshot.resolve(&owner, &key, "model");
    let again = snapshot.resolve(&owner, &key, "model");
    for (one, other) in [(&first.user, &again.user), (&first.key, &again.key)] {
        for (one, other) in [(&one.group, &other.group), (&one.mainline, &other.mainline)] {
            assert!(Arc::ptr_eq(&one.as_ref().unwrap().policy, &other.as_ref().unwrap().policy));
        }
    }
    let changes: [fn(&mut Owner); 4] = [
        |owner| owner.stamp = 2,
        |owner| owner.era = 3,
        |owner| owner.since[2] = 3,
        |owner| owner.mainline = vec![daily(3)],
    ];
    for change in changes {
        let (mut owner, mut key) = (owner.clone(), key.clone());
        change(&mut owner);
        change(&mut key);
        let fresh = Data::new().limit_on_user(USER, &[daily(5)]).limit_on_key(KEY, &[daily(6)]).snapshot();
        let found = snapshot.resolve(&owner, &key, "model");
        assert_ne!(found, first);
        assert_eq!(found, fresh.resolve(&owner, &key, "model"));
    }
    assert_eq!(snapshot.resolve(&owner, &key, "model"), first, "and back");
}

#[test]
fn more_owners_than_are_remembered_all_get_what_is_theirs() {
    let mut data = Data::new();
    for id in 1..=50_000 {
        data = data.limit_on_user(id, &[daily(id)]);
    }
    let snapshot = data.snapshot();
    for _ in 0..2 {
        for id in 1..=50_000 {
            let found = snapshot.resolve(&user(id), &user(KEY), "model").user.group.unwrap();
            assert_eq!((found.id.owner, found.policy.windows[0].base), (id, usd(id)));
        }
    }
    let remembered = snapshot.memo.len();
    assert!((1..=2 * 64 * HALF).contains(&remembered), "{remembered}");
}

#[test]
fn what_is_in_the_older_half_is_still_known_but_not_to_a_changed_owner() {
    let snapshot = Data::new().snapshot();
    let of = |id, stamp| {
        let owner = Owner { stamp, ..with_mainline(id, &[daily(1)]) };
        snapshot.resolve(&owner, &user(KEY), "other").user.mainline.unwrap().policy
    };
    let fill = || {
        // All in the shard of the user.
        for other in (1..).map(|n| USER + n * SHARDS).take(HALF) {
            of(other, 1);
        }
    };
    let first = of(USER, 1);
    fill();
    assert!(Arc::ptr_eq(&first, &of(USER, 1)), "asked for in time");
    fill();
    assert_eq!(of(USER, 2).version, 2);
    fill();
    fill();
    assert!(!Arc::ptr_eq(&first, &of(USER, 1)), "forgotten");
}

#[test]
fn threads_with_different_states_of_an_owner_each_get_their_own() {
    let snapshot = Data::new().limit_on_user(USER, &[daily(5)]).snapshot();
    std::thread::scope(|scope| {
        for thread in 1..=4 {
            let snapshot = &snapshot;
            scope.spawn(move || {
                for _ in 0..2_000 {
                    let owner = Owner { stamp: thread, era: thread, ..user(USER) };
                    let policy = snapshot.resolve(&owner, &user(KEY), "model").user.group.unwrap().policy;
                    assert_eq!((policy.version, policy.era), (thread, thread));
                }
            });
        }
    });
}
