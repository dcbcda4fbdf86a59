#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::limit::data::{LimitData, LimitRow, ModelGroupRow, Subject};
use crate::limit::policy::WindowPolicy;
use crate::limit::test_data::{Data, GROUP, cap, daily, usd, user, with_mainline};
use crate::limit::window::{Mode, Window};
use crate::money::Usd;

const USER: i64 = 1;
const KEY: i64 = 100;
const DAY: i64 = 24 * 60 * 60 * 1000;

fn resolve(snapshot: &Snapshot) -> Resolution {
    snapshot.resolve(&user(USER), &user(KEY), "model")
}

fn user_group_policy(snapshot: &Snapshot) -> Option<Arc<Policy>> {
    resolve(snapshot).user.group.map(|budget| budget.policy)
}

/// The windows that are capped, and how high without boosts.
fn bases(policy: &Policy) -> Vec<(Window, Usd)> {
    policy.windows.iter().map(|window| (window.window, window.base)).collect()
}

fn window(policy: &Policy, name: Window) -> &WindowPolicy {
    policy.windows.iter().find(|window| window.window == name).unwrap()
}

#[test]
fn f07_a_cap_of_nothing_or_less_is_not_set_whatever_its_window() {
    let caps = [cap(Window::Total, 0), daily(5), cap(Window::Weekly, -1), cap(Window::FiveHours, 0)];
    for snapshot in [
        Data::new().limit_on_user(USER, &caps).snapshot(),
        Data::new().user_group(2, "g", &[USER]).limit_on_user_group(2, &caps).snapshot(),
    ] {
        assert_eq!(bases(&user_group_policy(&snapshot).unwrap()), [(Window::Daily, usd(5))]);
    }
    let snapshot = Data::new().limit_on_key(KEY, &caps).snapshot();
    assert_eq!(bases(&resolve(&snapshot).key.group.unwrap().policy), [(Window::Daily, usd(5))]);
    let owner = with_mainline(USER, &caps);
    assert_eq!(bases(&mainline_policy(Axis::User, &owner).unwrap()), [(Window::Daily, usd(5))]);
    assert_eq!(bases(&provider_budget("p", &caps).1.unwrap()), [(Window::Daily, usd(5))]);
}

#[test]
fn f20_rows_without_a_cap_above_nothing_are_no_budget_and_lift_no_limit() {
    let user = with_mainline(USER, &[daily(1)]);
    let key = with_mainline(KEY, &[daily(2)]);
    for caps in [vec![], Window::ALL.map(|window| cap(window, 0)).to_vec(), vec![cap(Window::Total, -3)]] {
        let snapshot = Data::new()
            .user_group(2, "g", &[USER])
            .limit_on_user(USER, &caps)
            .limit_on_user_group(2, &caps)
            .limit_on_key(KEY, &caps)
            .snapshot();
        let found = snapshot.resolve(&user, &key, "model");
        assert_eq!(found.model_group.as_ref().unwrap().id, GROUP);
        for (payers, limit) in [(&found.user, usd(1)), (&found.key, usd(2))] {
            assert_eq!(payers.group, None);
            assert_eq!(bases(&payers.mainline.as_ref().unwrap().policy), [(Window::Daily, limit)]);
        }
        let zeros = with_mainline(USER, &caps);
        assert_eq!(snapshot.resolve(&zeros, &zeros, "other").user.mainline, None);
        assert_eq!(provider_budget("p", &caps).1, None);
    }
}

#[test]
fn f21_the_reset_comes_from_the_row_that_supplies_the_cap() {
    let rolling = WindowCap { mode: Mode::Rolling, ..cap(Window::FiveHours, 5) };
    let fixed = WindowCap { mode: Mode::FromFirstCharge, ..cap(Window::FiveHours, 10) };
    let morning = WindowCap { mode: Mode::Calendar { at: 390 }, ..daily(3) };
    for (first, second) in [(2, 3), (3, 2)] {
        let snapshot = Data::new()
            .user_group(first, "a", &[USER])
            .user_group(second, "b", &[USER])
            .limit_on_user_group(first, &[rolling, morning])
            .limit_on_user_group(second, &[fixed, daily(2)])
            .snapshot();
        let policy = user_group_policy(&snapshot).unwrap();
        let five_hours = window(&policy, Window::FiveHours);
        assert_eq!((five_hours.base, five_hours.mode), (usd(10), Mode::FromFirstCharge));
        assert_eq!(five_hours.source, Source::UserGroup(second));
        let day = window(&policy, Window::Daily);
        assert_eq!((day.base, day.mode, day.source), (usd(3), morning.mode, Source::UserGroup(first)));
    }
}

#[test]
fn f21_of_equal_caps_the_users_own_wins_then_that_of_the_lowest_group() {
    let own = WindowCap { mode: Mode::Rolling, ..daily(5) };
    let lower = WindowCap { mode: Mode::Calendar { at: 1 }, ..daily(5) };
    let higher = WindowCap { mode: Mode::Calendar { at: 2 }, ..daily(5) };
    let groups = || {
        Data::new()
            .user_group(9, "higher", &[USER])
            .user_group(3, "lower", &[USER])
            .limit_on_user_group(9, &[higher])
            .limit_on_user_group(3, &[lower])
    };
    let policy = user_group_policy(&groups().snapshot()).unwrap();
    assert_eq!((policy.windows[0].source, policy.windows[0].mode), (Source::UserGroup(3), lower.mode));
    let policy = user_group_policy(&groups().limit_on_user(USER, &[own]).snapshot()).unwrap();
    assert_eq!((policy.windows[0].source, policy.windows[0].mode), (Source::User(USER), own.mode));
}

#[test]
fn h10_a_model_counts_by_its_exact_name_with_the_spaces_around_it_gone() {
    let mut data = Data::new();
    data.0.model_groups[0].models = vec!["  Claude-Sonnet-4-5\t".to_owned()];
    let snapshot = data.snapshot();
    for name in ["Claude-Sonnet-4-5", " Claude-Sonnet-4-5", "Claude-Sonnet-4-5\n"] {
        assert_eq!(snapshot.model_group(name).map(|group| group.id), Some(GROUP), "{name:?}");
    }
    for name in ["claude-sonnet-4-5", "Claude-Sonnet-4", "Claude-Sonnet-4-5-20250929", "Claude- Sonnet-4-5", ""] {
        assert_eq!(snapshot.model_group(name), None, "{name:?}");
        assert_eq!(snapshot.resolve(&user(USER), &user(KEY), name).model_group, None);
    }
}

#[test]
fn h15_a_row_that_leaves_a_window_empty_neither_lowers_nor_lifts_the_cap_of_another() {
    let snapshot = Data::new()
        .user_group(2, "a", &[USER])
        .user_group(3, "b", &[USER])
        .limit_on_user(USER, &[cap(Window::Monthly, 50)])
        .limit_on_user_group(2, &[daily(5)])
        .limit_on_user_group(3, &[daily(4), cap(Window::Monthly, 80)])
        .snapshot();
    let policy = user_group_policy(&snapshot).unwrap();
    assert_eq!(bases(&policy), [(Window::Daily, usd(5)), (Window::Monthly, usd(80))]);
}

#[test]
fn h16_a_boost_on_a_window_without_a_cap_makes_neither_a_cap_nor_a_budget() {
    let boosts = || Data::new().boost(USER, Window::Daily, 5, 0, DAY);
    assert_eq!(user_group_policy(&boosts().snapshot()), None);
    let zero = boosts().limit_on_user(USER, &[daily(0)]).snapshot();
    assert_eq!(user_group_policy(&zero), None);
    let weekly = boosts().limit_on_user(USER, &[cap(Window::Weekly, 9)]).snapshot();
    let policy = user_group_policy(&weekly).unwrap();
    assert_eq!(bases(&policy), [(Window::Weekly, usd(9))]);
    assert_eq!(policy.windows[0].cap_at(1), usd(9));
}

#[test]
fn h17_a_boost_starts_and_ends_to_the_millisecond() {
    let snapshot = Data::new().limit_on_user(USER, &[daily(10)]).boost(USER, Window::Daily, 5, 1_000, 2_000).snapshot();
    let policy = user_group_policy(&snapshot).unwrap();
    let caps = [i64::MIN, 999, 1_000, 1_999, 2_000, 2_001, i64::MAX].map(|now| policy.windows[0].cap_at(now));
    assert_eq!(caps, [10, 10, 15, 15, 10, 10, 10].map(usd));
}

#[test]
fn h18_a_boost_is_added_while_it_is_in_force_whatever_the_window() {
    // From a Friday to the Wednesday after it, over a Monday.
    let (starts, expires) = (DAY, 6 * DAY);
    for name in Window::ALL {
        let snapshot =
            Data::new().limit_on_user(USER, &[cap(name, 10)]).boost(USER, name, 5, starts, expires).snapshot();
        let policy = user_group_policy(&snapshot).unwrap();
        let caps = [0, starts, 4 * DAY - 1, 4 * DAY, expires - 1, expires].map(|now| policy.windows[0].cap_at(now));
        assert_eq!(caps, [10, 15, 15, 15, 15, 10].map(usd), "{name}");
    }
}

#[test]
fn h18_overlapping_boosts_add_up_and_adjoining_ones_leave_no_hole() {
    let snapshot = Data::new()
        .limit_on_user(USER, &[daily(10)])
        .boost(USER, Window::Daily, 5, 100, 300)
        .boost(USER, Window::Daily, 2, 200, 400)
        .boost(USER, Window::Daily, 2, 400, 500)
        .boost(USER, Window::Daily, 7, 600, 600)
        .boost(USER, Window::Daily, -7, 600, 700)
        .boost(2, Window::Daily, 70, 0, DAY)
        .snapshot();
    let policy = user_group_policy(&snapshot).unwrap();
    let steps: Vec<(i64, Usd)> = policy.windows[0].caps.iter().map(|step| (step.from, step.cap)).collect();
    let expected = [(i64::MIN, 10), (100, 15), (200, 17), (300, 12), (500, 10)].map(|(from, cap)| (from, usd(cap)));
    assert_eq!(steps, expected);
}

#[test]
fn h21_each_side_has_budgets_of_its_own() {
    let (user, key) = (with_mainline(USER, &[daily(1)]), with_mainline(KEY, &[daily(2)]));
    // The same number as a key's id and as a user's does not mix them up.
    let snapshot = Data::new().limit_on_user(USER, &[daily(5)]).limit_on_user(KEY, &[daily(6)]).snapshot();
    let found = snapshot.resolve(&user, &key, "model");
    assert_eq!(found.key.group, None);
    assert_eq!(bases(&found.key.mainline.as_ref().unwrap().policy), [(Window::Daily, usd(2))]);
    assert_eq!(found.key.mainline.unwrap().id, BudgetId { axis: Axis::Key, owner: KEY, scope: Scope::Mainline });
    let scope = Scope::ModelGroup(GROUP);
    assert_eq!(found.user.group.unwrap().id, BudgetId { axis: Axis::User, owner: USER, scope });

    let snapshot = Data::new().limit_on_key(KEY, &[daily(5)]).limit_on_key(USER, &[daily(6)]).snapshot();
    let found = snapshot.resolve(&user, &key, "model");
    assert_eq!(found.user.group, None);
    assert_eq!(found.key.group.unwrap().id, BudgetId { axis: Axis::Key, owner: KEY, scope });
    assert_eq!(bases(&found.user.mainline.unwrap().policy), [(Window::Daily, usd(1))]);
}

#[test]
fn a_model_without_a_group_and_a_gateway_without_groups_know_only_the_mainline() {
    let (user, key) = (with_mainline(USER, &[daily(1)]), with_mainline(KEY, &[daily(2)]));
    let grouped = Data::new().limit_on_user(USER, &[daily(5)]).snapshot().resolve(&user, &key, "other");
    let without = Snapshot::default().resolve(&user, &key, "model");
    assert_eq!(grouped, without);
    assert_eq!((without.model_group, without.user.group, without.key.group), (None, None, None));
    assert_eq!(bases(&without.user.mainline.unwrap().policy), [(Window::Daily, usd(1))]);
}

#[test]
fn members_have_the_cap_of_their_group_and_others_do_not() {
    let snapshot = Data::new().user_group(2, "g", &[USER, USER, 5]).limit_on_user_group(2, &[daily(5)]).snapshot();
    assert_eq!(snapshot.user_groups_of(USER), [2]);
    assert!(user_group_policy(&snapshot).is_some());
    assert_eq!(snapshot.resolve(&user(6), &user(KEY), "model").user.group, None);
    let (one, other) = (resolve(&snapshot), snapshot.resolve(&user(5), &user(KEY), "model"));
    assert_ne!(one.user.group.unwrap().id, other.user.group.unwrap().id, "per member, not a shared pot");
}

#[test]
fn groups_of_a_user_are_sorted_and_known_by_name() {
    let snapshot = Data::new().user_group(9, "nine", &[USER]).user_group(3, "three", &[USER]).snapshot();
    assert_eq!(snapshot.user_groups_of(USER), [3, 9]);
    assert_eq!(snapshot.user_group_name(9), Some("nine"));
    assert_eq!(snapshot.user_group_name(4), None);
}

#[test]
fn all_budgets_of_an_owner_can_be_listed() {
    let mut data = Data::new().limit_on_user(USER, &[daily(5)]).limit_on_key(KEY, &[daily(6)]);
    data.0.model_groups.push(ModelGroupRow { id: 3, name: "without models".to_owned(), models: vec![], stamp: 1 });
    data.0.limits.push(LimitRow { subject: Subject::User(USER), model_group_id: 3, caps: vec![daily(2)], stamp: 1 });
    let snapshot = data.snapshot();
    let scopes = |axis, owner| -> Vec<Scope> {
        let found = snapshot.budgets_of(axis, &owner);
        assert!(found.iter().all(|budget| budget.id.axis == axis && budget.id.owner == owner.id));
        found.into_iter().map(|budget| budget.id.scope).collect()
    };
    let of_user = [Scope::Mainline, Scope::ModelGroup(3), Scope::ModelGroup(GROUP)];
    assert_eq!(scopes(Axis::User, with_mainline(USER, &[daily(1)])), of_user);
    assert_eq!(scopes(Axis::Key, user(KEY)), [Scope::ModelGroup(GROUP)]);
    assert_eq!(scopes(Axis::Provider, user(USER)), []);
}

#[test]
fn a_policy_carries_the_eras_of_its_owner() {
    let owner = Owner { era: 6, since: [1, 2, 3, 4, 5], ..with_mainline(USER, &Window::ALL.map(|name| cap(name, 1))) };
    let snapshot = Data::new().limit_on_user(USER, &[cap(Window::Monthly, 5), daily(5)]).snapshot();
    let found = snapshot.resolve(&owner, &user(KEY), "model").user;
    let eras = |budget: Option<Budget>| -> Vec<i64> {
        let policy = budget.unwrap().policy;
        assert_eq!(policy.era, 6);
        policy.windows.iter().map(|window| window.since_era).collect()
    };
    assert_eq!(eras(found.group), [3, 5]);
    assert_eq!(eras(found.mainline), [1, 2, 3, 4, 5]);
}

#[test]
fn a_provider_has_the_same_budget_on_every_node() {
    let (id, policy) = provider_budget("anthropic", &[cap(Window::Monthly, 100)]);
    let policy = policy.unwrap();
    let scope = Scope::Mainline;
    assert_eq!(id, BudgetId { axis: Axis::Provider, owner: provider_owner("anthropic"), scope });
    assert_ne!(id.owner, provider_owner("openai"));
    assert_eq!(bases(&policy), [(Window::Monthly, usd(100))]);
    assert_eq!(policy.windows[0].source, Source::Provider(id.owner));
}

/// Everything that a user's policy for the group is made of; a change of the stamp of any must be seen.
fn everything() -> Data {
    Data::new()
        .user_group(2, "with a row", &[USER])
        .user_group(3, "without", &[USER])
        .limit_on_user(USER, &[daily(5)])
        .limit_on_user_group(2, &[daily(4)])
        .boost(USER, Window::Weekly, 1, 0, 1)
}

type Edit = fn(&mut LimitData);

#[test]
fn editing_anything_that_a_policy_is_made_of_raises_its_version() {
    let edits: [(&str, Edit); 6] = [
        ("the model group", |data| data.model_groups[0].stamp = 8),
        ("a user group", |data| data.user_groups[0].stamp = 8),
        ("a user group without a row", |data| data.user_groups[1].stamp = 8),
        ("the row that wins", |data| data.limits[0].stamp = 8),
        ("a row that loses", |data| data.limits[1].stamp = 8),
        ("a boost", |data| data.boosts[0].stamp = 8),
    ];
    assert_eq!(user_group_policy(&everything().snapshot()).unwrap().version, 1);
    for (what, edit) in edits {
        let mut data = everything();
        edit(&mut data.0);
        assert_eq!(user_group_policy(&data.snapshot()).unwrap().version, 8, "{what}");
    }
    let of_key: [(&str, Edit); 2] = [
        ("the model group of a key's limit", |data| data.model_groups[0].stamp = 8),
        ("a key's limit", |data| data.limits[0].stamp = 8),
    ];
    for (what, edit) in of_key {
        let mut data = Data::new().limit_on_key(KEY, &[daily(1)]);
        edit(&mut data.0);
        assert_eq!(resolve(&data.snapshot()).key.group.unwrap().policy.version, 8, "{what}");
    }
    let snapshot = everything().limit_on_key(KEY, &[daily(1)]).snapshot();
    let edited = |id| Owner { stamp: 8, ..with_mainline(id, &[daily(1)]) };
    let found = snapshot.resolve(&edited(USER), &edited(KEY), "model");
    for budget in [found.user.group, found.user.mainline, found.key.group, found.key.mainline] {
        assert_eq!(budget.unwrap().policy.version, 8);
    }
}

#[test]
fn deleting_a_row_raises_the_version_through_the_stamp_of_its_owner_or_group() {
    // The row of the group had the latest stamp, 5; its deletion took 6 and left it to the group.
    let mut before = everything();
    before.0.limits[1].stamp = 5;
    let mut after = everything();
    after.0.limits.remove(1);
    after.0.user_groups[0].stamp = 6;
    let version = |data: Data| user_group_policy(&data.snapshot()).unwrap().version;
    assert_eq!((version(before), version(after)), (5, 6));

    let mut before = everything();
    before.0.boosts[0].stamp = 5;
    let mut after = everything();
    after.0.boosts.clear();
    let of = |data: Data, stamp| {
        let owner = Owner { stamp, ..user(USER) };
        data.snapshot().resolve(&owner, &user(KEY), "model").user.group.unwrap().policy.version
    };
    assert_eq!((of(before, 1), of(after, 6)), (5, 6));
}

#[test]
fn rows_of_others_do_not_touch_a_version() {
    let mut data = everything().user_group(4, "of others", &[2]).limit_on_user_group(4, &[daily(9)]);
    data = data.limit_on_user(2, &[daily(9)]).limit_on_key(KEY, &[daily(9)]).boost(2, Window::Daily, 1, 0, 1);
    data.0.user_groups[2].stamp = 9;
    data.0.limits.iter_mut().skip(2).for_each(|row| row.stamp = 9);
    data.0.boosts[1].stamp = 9;
    assert_eq!(user_group_policy(&data.snapshot()).unwrap().version, 1);
}
