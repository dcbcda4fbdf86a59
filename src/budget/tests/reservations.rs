//! What becomes of reservations on every way out, and what is charged to whom.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::world::*;
use crate::budget::{BudgetSettings, LeaseSettings, OnFailure, Plan, ReservationMode, ReserveError};
use crate::limit::{Axis, CapStep, Mode, Policy, Window};
use crate::money::Usd;

fn worst_case() -> BudgetSettings {
    BudgetSettings { reservation: ReservationMode::WorstCase, ..BudgetSettings::default() }
}

fn world() -> World {
    World::new(worst_case())
}

fn daily(cap: &str) -> Arc<Policy> {
    only(Window::Daily, usd(cap))
}

async fn used(world: &World, budget: crate::limit::BudgetId, policy: &Arc<Policy>) -> Usd {
    world.budgets.state(budget, policy, world.time.now()).await.unwrap().windows[0].used
}

async fn refusal(world: &World, plan: &Plan, amount: &str) -> Box<crate::budget::Denied> {
    match world.budgets.reserve(plan, usd(amount), world.time.now()).await {
        Err(ReserveError::Denied(denied)) => denied,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn f24_a_thousand_refusals_leave_nothing_set_aside() {
    let world = world();
    let mut plan = user_capped(&daily("0.01"));
    plan.key.mainline.1 = Some(daily("100"));
    plan.provider.1 = Some(daily("100"));
    for _ in 0..1_000 {
        refusal(&world, &plan, "0.05").await;
    }
    world.pass(5_000).await;
    for budget in [key(1), user(1), provider(1)] {
        assert_eq!(world.held(budget), Usd::ZERO, "{budget:?}");
    }
}

#[tokio::test]
async fn a_panic_and_an_abort_give_everything_back() {
    let world = world();
    let plan = user_capped(&daily("1"));
    let budgets = Arc::clone(&world.budgets);
    let panics = tokio::spawn({
        let plan = plan.clone();
        async move {
            let _reservation = budgets.reserve(&plan, usd("1"), NOON).await.unwrap();
            panic!("as the test wants");
        }
    });
    assert!(panics.await.is_err());
    let budgets = Arc::clone(&world.budgets);
    let (held, is_held) = tokio::sync::oneshot::channel();
    let aborted = tokio::spawn({
        let plan = plan.clone();
        async move {
            let _reservation = budgets.reserve(&plan, usd("1"), NOON).await.unwrap();
            held.send(()).unwrap();
            std::future::pending::<()>().await;
        }
    });
    is_held.await.unwrap();
    refusal(&world, &plan, "1").await;
    aborted.abort();
    assert!(aborted.await.is_err());
    assert!(world.budgets.reserve(&plan, usd("1"), NOON).await.is_ok());
}

#[tokio::test]
async fn f17_h06_a_settlement_that_is_repeated_changes_nothing() {
    let world = world();
    let capped = daily("1");
    let mut plan = user_capped(&capped);
    plan.key.mainline.1 = Some(daily("1"));
    plan.key.group = Some((group(Axis::Key, 1, 5), daily("1")));
    let reservation = world.budgets.reserve(&plan, usd("0.5"), NOON).await.unwrap();
    world.settle(&reservation, &plan, usd("0.25"));
    let again = reservation.settle(99, NOON, usd("0.5"));
    assert!(!again.counted_in_key_global && again.counted_in_user_global);
    reservation.raise_to(usd("1"));
    drop(reservation);
    assert_eq!(used(&world, user(1), &capped).await, usd("0.25"));
    assert_eq!(used(&world, group(Axis::Key, 1, 5), &capped).await, usd("0.25"));
    // The axis that the group paid for is bypassed.
    assert_eq!(used(&world, key(1), &capped).await, Usd::ZERO);
}

#[tokio::test]
async fn f13_a_quarter_of_a_dollar_leaves_three_quarters() {
    let world = world();
    let capped = daily("1");
    let plan = user_capped(&capped);
    let reservation = world.budgets.reserve(&plan, usd("1"), NOON).await.unwrap();
    world.settle(&reservation, &plan, usd("0.25"));
    let view = world.budgets.state(user(1), &capped, NOON).await.unwrap();
    assert_eq!((view.windows[0].remaining, view.windows[0].reserved), (usd("0.75"), Usd::ZERO));
}

#[tokio::test]
async fn f12_a_budget_that_cannot_be_charged_keeps_no_other_from_it() {
    let world = world();
    let capped = daily("1");
    let mut plan = user_capped(&capped);
    plan.key.mainline.1 = Some(Arc::clone(&capped));
    plan.provider.1 = Some(Arc::clone(&capped));
    // Nothing is set aside for a request without a price, so its budgets are made when it is settled.
    let reservation = world.budgets.reserve(&plan, Usd::ZERO, NOON).await.unwrap();
    assert_eq!(world.budgets.known(), 0, "nobody was asked");
    world.ledger.panics.store(true, Ordering::SeqCst);
    world.settle(&reservation, &plan, usd("0.25"));
    assert!(!world.ledger.panics.load(Ordering::SeqCst), "the key's budget failed");
    assert_eq!(used(&world, user(1), &capped).await, usd("0.25"));
    assert_eq!(used(&world, provider(1), &capped).await, usd("0.25"));
}

#[tokio::test]
async fn another_attempt_keeps_what_both_have_in_common_even_at_the_cap() {
    let world = world();
    let mut first = user_capped(&daily("1"));
    first.provider.1 = Some(daily("5"));
    let mut reservation = world.budgets.reserve(&first, usd("1"), NOON).await.unwrap();
    let mut poor = first.clone();
    poor.provider = (provider(2), Some(daily("0.5")));
    let refused = reservation.move_to(&poor, usd("1"), NOON).await.unwrap_err();
    let ReserveError::Denied(denied) = refused else { panic!("{refused:?}") };
    assert_eq!((denied.first.budget, denied.all().count()), (provider(2), 1));
    assert_eq!((reservation.reserved(Axis::User), reservation.reserved(Axis::Provider)), (usd("1"), usd("1")));
    let mut rich = first.clone();
    rich.provider = (provider(3), Some(daily("5")));
    reservation.move_to(&rich, usd("1"), NOON).await.unwrap();
    assert_eq!((reservation.reserved(Axis::User), reservation.reserved(Axis::Provider)), (usd("1"), usd("1")));
    world.pass(3_000).await;
    assert_eq!((world.held(provider(1)), world.held(provider(2))), (Usd::ZERO, Usd::ZERO));
    assert_eq!((world.held(user(1)), world.held(provider(3))), (usd("1"), usd("1")));
    drop(reservation);
    world.pass(3_000).await;
    assert_eq!((world.held(user(1)), world.held(provider(3))), (Usd::ZERO, Usd::ZERO));
}

#[tokio::test]
async fn a_request_that_costs_more_than_expected_is_a_debt_that_others_see() {
    let world = world();
    let capped = daily("1");
    let plan = user_capped(&capped);
    let reservation = world.budgets.reserve(&plan, usd("0.5"), NOON).await.unwrap();
    reservation.raise_to(usd("2"));
    assert_eq!(reservation.reserved(Axis::User), usd("2"));
    refusal(&world, &plan, "0.1").await;
    world.settle(&reservation, &plan, usd("2"));
    assert_eq!(used(&world, user(1), &capped).await, usd("2"));
    let denied = refusal(&world, &plan, "0.1").await;
    assert_eq!((denied.first.used, denied.first.cap), (usd("2"), usd("1")));
}

#[tokio::test]
async fn a_cap_that_is_set_while_a_request_runs_knows_its_cost() {
    let world = world();
    let running = world.budgets.reserve(&uncapped(), usd("0.5"), NOON).await.unwrap();
    let capped = daily("1");
    let plan = user_capped(&capped);
    drop(world.budgets.reserve(&plan, usd("0.1"), NOON).await.unwrap());
    world.settle(&running, &uncapped(), usd("0.75"));
    assert_eq!(used(&world, user(1), &capped).await, usd("0.75"));
}

#[tokio::test]
async fn refusals_are_reported_key_before_user_and_in_the_order_of_windows() {
    let world = world();
    let mut plan = user_capped(&daily("0.1"));
    let windows = [Window::Total, Window::Monthly].map(|window| cap(window, mode(window), usd("0.2")));
    plan.key.mainline.1 = Some(policy(1, windows.to_vec()));
    plan.provider.1 = Some(daily("0.1"));
    let denied = refusal(&world, &plan, "0.5").await;
    let order: Vec<_> = denied.all().map(|denial| (denial.budget, denial.window)).collect();
    let expected =
        [(key(1), Window::Total), (key(1), Window::Monthly), (user(1), Window::Daily), (provider(1), Window::Daily)];
    assert_eq!(order, expected);
    let explained = world.budgets.explain(&plan, usd("0.5"), NOON).await;
    let Err(ReserveError::Denied(same)) = explained.verdict else { panic!("{:?}", explained.verdict) };
    let explained: Vec<_> = same.all().map(|denial| (denial.budget, denial.window)).collect();
    assert_eq!(explained, expected);
}

#[tokio::test]
async fn expected_takes_all_that_is_left_for_a_request_dearer_than_the_cap() {
    let plan = user_capped(&daily("1"));
    let lenient = World::new(BudgetSettings::default());
    let reservation = lenient.budgets.reserve(&plan, usd("3"), NOON).await.unwrap();
    assert_eq!(reservation.reserved(Axis::User), usd("1"));
    refusal(&lenient, &plan, "0.1").await;
    refusal(&world(), &plan, "3").await;
}

#[tokio::test]
async fn f26_leases_have_the_size_that_is_configured_for_their_kind_and_a_least_one() {
    let group_lease = LeaseSettings { fraction_ppm: 200_000, ..LeaseSettings::default() };
    let small = LeaseSettings { min: usd("0.005"), ..LeaseSettings::default() };
    let settings = BudgetSettings { model_group_lease: group_lease, lease: small, ..worst_case() };
    let world = World::new(settings);
    let mut plan = user_capped(&daily("100"));
    plan.key.group = Some((group(Axis::Key, 1, 5), daily("100")));
    plan.provider.1 = Some(daily("0.01"));
    let _reservation = world.budgets.reserve(&plan, usd("0.001"), NOON).await.unwrap();
    assert_eq!(world.held(user(1)), usd("5"));
    assert_eq!(world.held(group(Axis::Key, 1, 5)), usd("20"));
    assert_eq!(world.held(provider(1)), usd("0.005"));
}

#[tokio::test]
async fn a_group_that_cannot_be_asked_neither_refuses_nor_bypasses() {
    let world = world();
    let mut plan = user_capped(&daily("1"));
    let taken = world.budgets.reserve(&plan, usd("1"), NOON).await.unwrap();
    world.ledger.away.store(true, Ordering::SeqCst);
    plan.user.group = Some((group(Axis::User, 1, 5), daily("100")));
    // The mainline budget is known to have nothing left.
    assert_eq!(refusal(&world, &plan, "0.1").await.first.budget, user(1));
    drop(taken);
    let reservation = world.budgets.reserve(&plan, usd("0.1"), NOON).await.unwrap();
    assert!(reservation.counted_globally(Axis::User));
    assert_eq!(world.budgets.stats().unenforced_violations(), 0);
}

#[tokio::test]
async fn when_nothing_is_known_open_admits_and_counts_it_and_closed_refuses() {
    for (on_failure, admitted) in [(OnFailure::Open, true), (OnFailure::Closed, false)] {
        let world = World::new(BudgetSettings { on_failure, ..worst_case() });
        world.ledger.away.store(true, Ordering::SeqCst);
        let plan = user_capped(&daily("1"));
        let result = world.budgets.reserve(&plan, usd("0.5"), NOON).await;
        assert_eq!(result.is_ok(), admitted);
        assert_eq!(world.budgets.stats().unenforced_violations(), u64::from(admitted));
        let Ok(reservation) = result else {
            assert_eq!(result.unwrap_err(), ReserveError::Unavailable);
            continue;
        };
        world.settle(&reservation, &plan, usd("0.75"));
        // What was admitted unchecked is counted as soon as the ledger can be read again.
        world.ledger.away.store(false, Ordering::SeqCst);
        world.time.pass(1_000);
        assert_eq!(used(&world, user(1), &daily("1")).await, usd("0.75"));
    }
}

#[tokio::test]
async fn h17_a_boost_that_ends_while_its_money_is_leased_is_not_spent_after_its_end() {
    let world = world();
    let end = NOON + 700;
    let mut boosted = cap(Window::Daily, Mode::Calendar { at: 0 }, usd("1"));
    boosted.caps = vec![
        CapStep { from: i64::MIN, cap: usd("1") },
        CapStep { from: NOON - 1_000, cap: usd("100") },
        CapStep { from: end, cap: usd("1") },
    ];
    let plan = user_capped(&policy(1, vec![boosted]));
    let reservation = world.budgets.reserve(&plan, usd("1.5"), NOON).await.unwrap();
    world.settle(&reservation, &plan, usd("1.5"));
    let before = world.budgets.reserve(&plan, usd("0.1"), end - 1).await;
    assert!(before.is_ok(), "it is leased");
    drop(before);
    world.time.pass(701);
    let denied = refusal(&world, &plan, "0.1").await;
    assert_eq!((denied.first.cap, denied.first.boost), (usd("1"), Usd::ZERO));
}

#[tokio::test]
async fn h23_after_a_reset_nothing_is_used_and_what_runs_is_charged_in_the_new_era() {
    let world = world();
    let mut plan = user_capped(&daily("1"));
    let spent = world.budgets.reserve(&plan, usd("0.5"), NOON).await.unwrap();
    let running = world.budgets.reserve(&plan, usd("0.5"), NOON).await.unwrap();
    world.settle(&spent, &plan, usd("0.5"));
    let mut reset = Policy::clone(&daily("1"));
    (reset.version, reset.era, reset.windows[0].since_era) = (2, 1, 1);
    let reset = Arc::new(reset);
    let old = plan.clone();
    (plan.user.era, plan.user.mainline.1) = (1, Some(Arc::clone(&reset)));
    world.budgets.policies_changed(&[user(1)]);
    assert_eq!(used(&world, user(1), &reset).await, Usd::ZERO);
    world.settle(&running, &old, usd("0.25"));
    assert_eq!(used(&world, user(1), &reset).await, usd("0.25"));
    assert_eq!(world.ledger.rows.lock().iter().rfind(|row| row.budget == user(1)).unwrap().era, 1);
}

#[tokio::test]
async fn a_lower_cap_acts_at_once_and_forgets_nothing() {
    let world = world();
    let plan = user_capped(&daily("100"));
    let reservation = world.budgets.reserve(&plan, usd("2"), NOON).await.unwrap();
    world.settle(&reservation, &plan, usd("2"));
    let mut lower = Policy::clone(&daily("1"));
    lower.version = 2;
    let denied = refusal(&world, &user_capped(&Arc::new(lower)), "0.1").await;
    assert_eq!((denied.first.used, denied.first.cap), (usd("2"), usd("1")));
    // A request that was admitted with the old caps does not bring them back.
    let denied = refusal(&world, &plan, "0.1").await;
    assert_eq!(denied.first.cap, usd("1"));
}

#[tokio::test]
async fn idle_budgets_are_forgotten_and_come_back_with_what_was_used() {
    let world = world();
    let capped = daily("1");
    let plan = user_capped(&capped);
    let reservation = world.budgets.reserve(&plan, usd("0.5"), NOON).await.unwrap();
    world.settle(&reservation, &plan, usd("0.4"));
    drop(reservation);
    world.pass(2_000).await;
    world.ledger.write_all();
    world.pass(30_000).await;
    assert_eq!(world.budgets.known(), 0);
    let now = world.time.pass(600_001);
    for turn in 0..128 {
        crate::budget::Authority::sweep(&*world.authority, turn, now);
    }
    assert!(world.authority.is_empty());
    assert_eq!(used(&world, user(1), &capped).await, usd("0.4"));
}
