//! Which budgets pay, attempt by attempt, and who is told what.

use std::sync::Arc;

use super::world::*;
use crate::budget::{Plan, ReserveError, Settled};
use crate::limit::{Axis, Mode, Window};
use crate::money::Usd;

fn grouped(usd_user: &str) -> Plan {
    let mut plan = uncapped();
    plan.user.group = Some((group(Axis::User, 1, 5), only(Window::Daily, usd(usd_user))));
    plan
}

#[tokio::test]
async fn a_model_groups_budget_pays_instead_of_the_mainline_budget_of_its_axis_only() {
    let world = World::new(worst_case());
    let mut plan = grouped("1");
    let mainline = only(Window::Daily, usd("0.5"));
    plan.user.mainline.1 = Some(Arc::clone(&mainline));
    plan.key.mainline.1 = Some(Arc::clone(&mainline));
    plan.provider.1 = Some(only(Window::Daily, usd("9")));
    let reservation = world.budgets.reserve(&plan, usd("0.4"), NOON).await.unwrap();
    assert!(!reservation.counted_globally(Axis::User));
    assert!(reservation.counted_globally(Axis::Key));
    let settled = reservation.settle(world.ledger.number(), NOON, usd("0.4"));
    let expected = Settled { key_era: 0, user_era: 0, counted_in_key_global: true, counted_in_user_global: false };
    assert_eq!(settled, expected);
    let used = async |id, policy: &Arc<_>| world.budgets.state(id, policy, NOON).await.unwrap().windows[0].used;
    assert_eq!(used(group(Axis::User, 1, 5), &plan.user.group.as_ref().unwrap().1).await, usd("0.4"));
    assert_eq!(used(user(1), &mainline).await, Usd::ZERO);
    assert_eq!(used(key(1), &mainline).await, usd("0.4"));
    // H14: a provider's budget never looks at the flags.
    assert_eq!(used(provider(1), plan.provider.1.as_ref().unwrap()).await, usd("0.4"));
}

#[tokio::test]
async fn h29_without_model_groups_the_mainline_pays_anew_and_what_groups_paid_stays_theirs() {
    let world = World::new(worst_case());
    let mainline = only(Window::Daily, usd("1"));
    let mut on = grouped("5");
    on.user.mainline.1 = Some(Arc::clone(&mainline));
    world.spend(&on, usd("3")).await.unwrap();
    let off = user_capped(&mainline);
    let reservation = world.budgets.reserve(&off, usd("0.4"), NOON).await.unwrap();
    assert!(reservation.counted_globally(Axis::User));
    world.settle(&reservation, &off, usd("0.4"));
    assert_eq!(world.denial(&off, usd("0.7")).await.used, usd("0.4"));
    assert_eq!(world.denial(&on, usd("2.1")).await.used, usd("3"));
}

#[tokio::test]
async fn h20_a_group_with_one_window_takes_the_axis_over_from_all_windows_of_the_mainline() {
    let world = World::new(worst_case());
    let mainline = only(Window::Daily, usd("1"));
    world.spend(&user_capped(&mainline), usd("1")).await.unwrap();
    let mut plan = user_capped(&mainline);
    plan.user.group = Some((group(Axis::User, 1, 5), only(Window::FiveHours, usd("1"))));
    let reservation = world.budgets.reserve(&plan, usd("0.5"), NOON).await.unwrap();
    assert!(!reservation.counted_globally(Axis::User));
}

#[tokio::test]
async fn h21_one_axis_with_a_group_does_not_lift_the_other_axis() {
    let world = World::new(worst_case());
    let mut plan = grouped("5");
    plan.key.mainline.1 = Some(only(Window::Daily, usd("1")));
    world.spend(&plan, usd("1")).await.unwrap();
    assert_eq!(world.denial(&plan, usd("0.1")).await.budget, key(1));
}

#[tokio::test]
async fn h25_the_budgets_at_admission_are_charged_whatever_is_edited_since() {
    let world = World::new(worst_case());
    let plan = grouped("1");
    let running = world.budgets.reserve(&plan, usd("0.5"), NOON).await.unwrap();
    // The model moves to another group.
    let mut moved = uncapped();
    moved.user.group = Some((group(Axis::User, 1, 6), only(Window::Daily, usd("1"))));
    world.spend(&moved, usd("0.1")).await.unwrap();
    world.settle(&running, &plan, usd("0.5"));
    assert_eq!(world.denial(&plan, usd("0.6")).await.used, usd("0.5"));
    assert_eq!(world.denial(&moved, usd("1")).await.used, usd("0.1"));
}

#[tokio::test]
async fn the_key_is_reported_before_the_user_and_a_provider_last() {
    let world = World::new(worst_case());
    let small = only(Window::Daily, usd("1"));
    let mut plan = user_capped(&small);
    plan.key.mainline.1 = Some(Arc::clone(&small));
    plan.provider.1 = Some(Arc::clone(&small));
    let Err(ReserveError::Denied(denied)) = world.budgets.reserve(&plan, usd("2"), NOON).await else { panic!() };
    let axes: Vec<_> = denied.all().map(|denial| denial.budget.axis).collect();
    assert_eq!(axes, [Axis::Key, Axis::User, Axis::Provider]);
    // Once more, from memory.
    let again = world.budgets.try_reserve(&plan, usd("2"), NOON).expect("known").unwrap_err();
    assert_eq!(again, ReserveError::Denied(denied));
}

#[tokio::test]
async fn a_spent_provider_is_told_apart_from_a_spent_user() {
    let world = World::new(worst_case());
    let mut plan = user_capped(&only(Window::Daily, usd("5")));
    plan.provider.1 = Some(only(Window::Daily, usd("1")));
    assert_eq!(world.denial(&plan, usd("2")).await.budget.axis, Axis::Provider);
    world.pass(2_000).await;
    assert_eq!(world.held(user(1)), Usd::ZERO, "the user keeps what the provider could not add to");
}

#[tokio::test]
async fn a_request_that_costs_nothing_asks_no_budget() {
    let world = World::new(worst_case());
    let plan = user_capped(&only(Window::Daily, usd("1")));
    world.spend(&plan, usd("1")).await.unwrap();
    let free = world.budgets.try_reserve(&plan, Usd::ZERO, NOON).expect("at once").unwrap();
    // It did cost something after all.
    world.settle(&free, &plan, usd("0.1"));
    assert_eq!(world.denial(&plan, usd("0.1")).await.used, usd("1.1"));
}

#[tokio::test]
async fn what_cost_something_unexpectedly_is_charged_to_a_budget_that_nobody_had_used() {
    let world = World::new(worst_case());
    let plan = user_capped(&only(Window::Daily, usd("1")));
    let free = world.budgets.try_reserve(&plan, Usd::ZERO, NOON).expect("at once").unwrap();
    world.settle(&free, &plan, usd("0.4"));
    assert_eq!(world.denial(&plan, usd("0.7")).await.used, usd("0.4"));
}

#[tokio::test]
async fn a_cap_that_is_set_while_requests_run_counts_them() {
    let world = World::new(worst_case());
    let early = world.budgets.reserve(&uncapped(), usd("0.3"), NOON).await.unwrap();
    let late = world.budgets.reserve(&uncapped(), usd("0.4"), NOON).await.unwrap();
    world.settle(&early, &uncapped(), usd("0.3"));
    let plan = user_capped(&only(Window::Daily, usd("1")));
    assert_eq!(world.denial(&plan, usd("0.8")).await.used, usd("0.3"), "what was charged before it was watched");
    world.settle(&late, &uncapped(), usd("0.4"));
    assert_eq!(world.denial(&plan, usd("0.8")).await.used, usd("0.7"), "what was admitted before it was watched");
}

#[tokio::test]
async fn the_last_of_two_budgets_is_not_swapped_between_two_requests() {
    // Both can pay for one of them.
    let world = World::new(worst_case());
    let one = only(Window::Daily, usd("1"));
    let mut plan = user_capped(&one);
    plan.key.mainline.1 = Some(Arc::clone(&one));
    let (first, second) =
        tokio::join!(world.budgets.reserve(&plan, usd("0.6"), NOON), world.budgets.reserve(&plan, usd("0.6"), NOON));
    assert!(first.is_ok() ^ second.is_ok(), "{first:?} {second:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_is_refused_by_one_budget_for_good_does_not_wait_for_what_is_set_aside_in_another() {
    let world = World::new(worst_case());
    let one = only(Window::Daily, usd("1"));
    let of_key = |of_user: Option<&Arc<crate::limit::Policy>>| {
        let mut plan = of_user.map_or_else(uncapped, user_capped);
        plan.key.mainline.1 = Some(Arc::clone(&one));
        plan
    };
    // The key's is set aside by somebody who may turn out to need less; the user's is spent.
    let _running = world.budgets.reserve(&of_key(None), usd("0.9"), NOON).await.unwrap();
    world.spend(&user_capped(&one), usd("1")).await.unwrap();
    for _ in 0..3 {
        let began = tokio::time::Instant::now();
        let refused = world.budgets.reserve(&of_key(Some(&one)), usd("0.5"), NOON).await;
        let Err(ReserveError::Denied(denied)) = refused else { panic!("{refused:?}") };
        let axes: Vec<_> = denied.all().map(|denial| denial.budget.axis).collect();
        assert_eq!(axes, [Axis::Key, Axis::User]);
        assert!(began.elapsed() < std::time::Duration::from_millis(300), "{:?}", began.elapsed());
        world.jump(1_000).await;
    }
}

#[tokio::test]
async fn a_failover_at_the_cap_sets_common_budgets_aside_once() {
    let world = World::new(worst_case());
    let capped = only(Window::Daily, usd("1"));
    let plan = user_capped(&capped);
    let mut reservation = world.budgets.reserve(&plan, usd("1"), NOON).await.unwrap();
    let mut next = user_capped(&capped);
    next.provider = (provider(2), Some(only(Window::Daily, usd("1"))));
    reservation.move_to(&next, usd("1"), NOON).await.unwrap();
    assert_eq!((reservation.reserved(Axis::User), reservation.reserved(Axis::Provider)), (usd("1"), usd("1")));
    // A cheaper attempt gives the rest back, a dearer one than the cap is refused and changes nothing.
    reservation.move_to(&next, usd("0.25"), NOON).await.unwrap();
    assert_eq!(reservation.reserved(Axis::User), usd("0.25"));
    let refused = reservation.move_to(&next, usd("1.5"), NOON).await;
    assert!(matches!(refused, Err(ReserveError::Denied(_))));
    assert_eq!((reservation.reserved(Axis::User), reservation.reserved(Axis::Provider)), (usd("0.25"), usd("0.25")));
    world.spend(&plan, usd("0.75")).await.unwrap();
    drop(reservation);
    world.pass(10_000).await;
    assert_eq!((world.held(user(1)), world.held(provider(2))), (Usd::ZERO, Usd::ZERO));
}

#[tokio::test]
async fn f16_a_failover_to_a_model_of_a_spent_group_is_refused_and_to_another_is_charged_there() {
    let world = World::new(worst_case());
    let spent = grouped("1");
    world.spend(&spent, usd("1")).await.unwrap();
    let mut third = uncapped();
    third.user.group = Some((group(Axis::User, 1, 6), only(Window::Daily, usd("1"))));
    let mut reservation = world.budgets.reserve(&uncapped(), usd("0.2"), NOON).await.unwrap();
    let Err(ReserveError::Denied(denied)) = reservation.move_to(&spent, usd("0.2"), NOON).await else { panic!() };
    assert_eq!(denied.first.budget, group(Axis::User, 1, 5));
    assert!(reservation.counted_globally(Axis::User), "as it was");
    reservation.move_to(&third, usd("0.2"), NOON).await.unwrap();
    assert!(!reservation.counted_globally(Axis::User));
    world.settle(&reservation, &third, usd("0.2"));
    assert_eq!(world.denial(&third, usd("0.9")).await.used, usd("0.2"));
}

#[tokio::test]
async fn windows_of_every_mode_are_described() {
    let world = World::new(worst_case());
    let caps = vec![
        cap(Window::Total, Mode::Forever, usd("9")),
        cap(Window::FiveHours, Mode::FromFirstCharge, usd("9")),
        cap(Window::Daily, Mode::Rolling, usd("9")),
        cap(Window::Weekly, Mode::Calendar { at: 0 }, usd("9")),
    ];
    let capped = policy(1, caps);
    let plan = user_capped(&capped);
    world.spend(&plan, usd("2")).await.unwrap();
    let _running = world.budgets.reserve(&plan, usd("3"), NOON).await.unwrap();
    let view = world.budgets.state(user(1), &capped, NOON).await.unwrap();
    for window in &view.windows {
        assert_eq!((window.used, window.reserved, window.remaining), (usd("2"), usd("3"), usd("4")), "{window:?}");
    }
    let spans: Vec<_> = view.windows.iter().map(|window| (window.starts_at, window.resets_at)).collect();
    let minute = instant("2025-10-15T10:00:00Z");
    let week = (Some(instant("2025-10-13T00:00:00Z")), Some(instant("2025-10-20T00:00:00Z")));
    assert_eq!(spans, [(None, None), (Some(minute), Some(minute + 5 * 3_600_000)), (None, None), week]);
}

#[tokio::test]
async fn an_explanation_says_what_a_request_would_hear_and_takes_nothing() {
    let world = World::new(worst_case());
    let mut plan = user_capped(&only(Window::Daily, usd("1")));
    plan.key.group = Some((group(Axis::Key, 1, 5), only(Window::Total, usd("0.5"))));
    for amount in ["0.4", "0.6", "1.2"] {
        let explained = world.budgets.explain(&plan, usd(amount), NOON).await;
        assert!(!explained.budgets[0].2, "the key's group pays");
        let heard = world.budgets.reserve(&plan, usd(amount), NOON).await.map(drop);
        assert_eq!(explained.verdict, heard, "{amount}");
    }
    world.pass(2_000).await;
    assert_eq!(world.held(user(1)), Usd::ZERO);
}
