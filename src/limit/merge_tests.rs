#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::limit::data::{BoostRow, LimitData, LimitRow, Subject, UserGroupRow};
use crate::limit::snapshot::Snapshot;
use crate::limit::test_data::{Data, GROUP, cap, daily, usd, user};
use crate::limit::window::Mode;

const USER: i64 = 1;
const KEY: i64 = 100;

#[test]
fn no_cap_is_above_the_largest_boosts_included() {
    let above = WindowCap { usd: LARGEST_CAP + Usd::from_nanos(1), ..daily(1) };
    let largest = i64::MAX / Usd::NANOS_PER_USD;
    let snapshot = Data::new()
        .limit_on_user(USER, &[above, cap(Window::Weekly, 8_999_999), cap(Window::Total, 1)])
        .boost(USER, Window::Weekly, 2, 0, 10)
        .boost(USER, Window::Total, largest, 0, 10)
        .boost(USER, Window::Total, largest, 1, 11)
        .snapshot();
    let policy = snapshot.resolve(&user(USER), &user(KEY), "model").user.group.unwrap().policy;
    let window = |name| policy.windows.iter().find(|window| window.window == name).unwrap();
    assert_eq!(window(Window::Daily).base, LARGEST_CAP);
    assert_eq!(window(Window::Weekly).cap_at(5), LARGEST_CAP);
    let total = [-1, 0, 1, 10, 11].map(|now| window(Window::Total).cap_at(now));
    assert_eq!(total, [usd(1), LARGEST_CAP, LARGEST_CAP, LARGEST_CAP, usd(1)]);
}

/// Small numbers, so that ties, gaps and touching boosts are common.
fn any_caps() -> impl Strategy<Value = Vec<WindowCap>> {
    let modes = prop_oneof![Just(Mode::Rolling), (0_u16..3).prop_map(|at| Mode::Calendar { at })];
    let one = (-1_i64..5, modes).prop_map(|(dollars, mode)| (usd(dollars), mode));
    prop::collection::vec(prop::option::of(one), 5).prop_map(|windows| {
        let set = Window::ALL.into_iter().zip(windows);
        set.filter_map(|(window, cap)| cap.map(|(usd, mode)| WindowCap { window, usd, mode })).collect()
    })
}

fn any_boost() -> impl Strategy<Value = BoostRow> {
    (1_i64..3, prop::sample::select(Window::ALL.to_vec()), -1_i64..4, 0_i64..10, 0_i64..10, 0_i64..20).prop_map(
        |(user_id, window, dollars, starts_at, expires_at, stamp)| BoostRow {
            id: 0,
            user_id,
            model_group_id: GROUP,
            window,
            usd: usd(dollars),
            starts_at,
            expires_at,
            stamp,
        },
    )
}

/// Users 1 and 2, groups 1 to 4 with members, rows on each; no row is there twice.
fn any_data() -> impl Strategy<Value = LimitData> {
    let rows = prop::collection::vec(prop::option::of((any_caps(), 0_i64..20)), 6);
    let members = prop::collection::vec((prop::collection::vec(1_i64..3, 0..3), 0_i64..20), 4);
    (rows, members, prop::collection::vec(any_boost(), 0..6), 0_i64..20, any::<prop::sample::Index>()).prop_map(
        |(rows, members, boosts, stamp, turn)| {
            let subjects = [Subject::User(1), Subject::User(2)].into_iter().chain((1..=4).map(Subject::UserGroup));
            let limits = subjects.zip(rows).filter_map(|(subject, row)| {
                row.map(|(caps, stamp)| LimitRow { subject, model_group_id: GROUP, caps, stamp })
            });
            let mut data = Data::new().0;
            data.model_groups[0].stamp = stamp;
            data.limits = limits.collect();
            data.user_groups = (1..)
                .zip(members)
                .map(|(id, (members, stamp))| UserGroupRow { id, name: String::new(), members, stamp })
                .collect();
            data.boosts = boosts;
            // In whatever order the database may give them.
            data.user_groups.rotate_left(turn.index(4));
            let rows = data.limits.len().max(1);
            data.limits.rotate_left(turn.index(rows));
            data
        },
    )
}

/// One window at one moment, read off the rows as an administrator would: cap, mode, source.
fn plainly(data: &LimitData, user: i64, window: Window, now: i64) -> Option<(Usd, Mode, Source)> {
    let mut best: Option<(Usd, Mode, Source)> = None;
    let member = |id| data.user_groups.iter().any(|group| group.id == id && group.members.contains(&user));
    let subjects = std::iter::once(Subject::User(user)).chain((1..=4).filter(|id| member(*id)).map(Subject::UserGroup));
    for subject in subjects {
        for cap in data.limits.iter().filter(|row| row.subject == subject).flat_map(|row| &row.caps) {
            let source = match subject {
                Subject::User(id) => Source::User(id),
                Subject::UserGroup(id) => Source::UserGroup(id),
                Subject::Key(id) => Source::Key(id),
            };
            if cap.window == window && cap.usd > best.map_or(Usd::ZERO, |best| best.0) {
                best = Some((cap.usd, cap.mode, source));
            }
        }
    }
    let in_force = |boost: &&BoostRow| {
        let theirs = boost.user_id == user && boost.window == window && boost.usd > Usd::ZERO;
        theirs && boost.starts_at <= now && now < boost.expires_at
    };
    let boosts: Usd = data.boosts.iter().filter(in_force).map(|boost| boost.usd).sum();
    best.map(|(cap, mode, source)| (cap + boosts, mode, source))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_merge_agrees_with_the_rules_read_off_the_rows(data in any_data(), stamp in 0_i64..20) {
        let snapshot = Snapshot::new(data.clone());
        for id in [1, 2] {
            let owner = Owner { stamp, ..user(id) };
            let policy = snapshot.resolve(&owner, &user(KEY), "model").user.group.map(|budget| budget.policy);
            for now in -1..11 {
                let expected: Vec<_> = Window::ALL
                    .into_iter()
                    .filter_map(|window| plainly(&data, id, window, now).map(|found| (window, found)))
                    .collect();
                let found: Vec<_> = policy
                    .iter()
                    .flat_map(|policy| &policy.windows)
                    .map(|window| (window.window, (window.cap_at(now), window.mode, window.source)))
                    .collect();
                prop_assert_eq!(found, expected);
            }
            if let Some(policy) = policy {
                let memberships: Vec<_> = data.user_groups.iter().filter(|group| group.members.contains(&id)).collect();
                let rows = data.limits.iter().filter(|row| match row.subject {
                    Subject::User(user) => user == id,
                    Subject::UserGroup(group) => memberships.iter().any(|row| row.id == group),
                    Subject::Key(_) => false,
                });
                let latest = rows
                    .map(|row| row.stamp)
                    .chain(memberships.iter().map(|group| group.stamp))
                    .chain(data.boosts.iter().filter(|boost| boost.user_id == id).map(|boost| boost.stamp))
                    .fold(stamp.max(data.model_groups[0].stamp), i64::max);
                prop_assert_eq!(policy.version, latest);
                for window in &policy.windows {
                    prop_assert!(window.caps[0].from == i64::MIN && window.base > Usd::ZERO);
                    prop_assert!(window.caps.windows(2).all(|two| two[0].from < two[1].from && two[0].cap != two[1].cap));
                }
            }
        }
    }
}
