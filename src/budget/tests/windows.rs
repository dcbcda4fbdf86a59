//! Windows at their boundaries, through a node and its authority.

use std::sync::Arc;

use super::world::*;
use crate::budget::{BudgetSettings, ReservationMode, ReserveError, WindowView};
use crate::limit::{Mode, Policy, Window};
use crate::money::Usd;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// The minute that the tests begin in: Wednesday, 15 October 2025, 10:00 UTC.
const TEN: i64 = NOON - 30_000;
const MIDNIGHT: i64 = TEN + 14 * HOUR;

fn settings() -> BudgetSettings {
    BudgetSettings { reservation: ReservationMode::WorstCase, ..BudgetSettings::default() }
}

async fn charge(world: &World, capped: &Arc<Policy>, amount: &str) {
    let plan = user_capped(capped);
    let reservation = world.budgets.reserve(&plan, usd(amount), world.time.now()).await.unwrap();
    world.settle(&reservation, &plan, usd(amount));
}

async fn view(world: &World, capped: &Arc<Policy>) -> WindowView {
    world.budgets.state(user(1), capped, world.time.now()).await.unwrap().windows.remove(0)
}

fn go_to(world: &World, at: i64) {
    world.time.pass(at - world.time.now());
}

/// A world in which a dollar of a dollar was spent at the beginning, and told.
async fn spent(capped: &Arc<Policy>) -> World {
    let world = World::new(settings());
    charge(&world, capped, "1").await;
    assert_eq!(view(&world, capped).await.used, usd("1"));
    world
}

/// Used up until just before the instant, and free from it on.
async fn free_from(capped: &Arc<Policy>, at: i64) -> World {
    let world = spent(capped).await;
    go_to(&world, at - 1);
    let refused = world.budgets.reserve(&user_capped(capped), usd("0.1"), world.time.now()).await;
    let Err(ReserveError::Denied(denied)) = refused else { panic!("{refused:?}") };
    assert_eq!(denied.first.resets_at, Some(at));
    assert_eq!(view(&world, capped).await.used, usd("1"));
    go_to(&world, at);
    assert_eq!(view(&world, capped).await.used, Usd::ZERO);
    charge(&world, capped, "1").await;
    world
}

#[tokio::test]
async fn a_charge_leaves_five_rolling_hours_when_its_whole_minute_has() {
    free_from(&only(Window::FiveHours, usd("1")), TEN + MINUTE + 5 * HOUR).await;
}

#[tokio::test]
async fn a_charge_leaves_a_rolling_day_when_its_whole_five_minutes_have() {
    let rolling = policy(1, vec![cap(Window::Daily, Mode::Rolling, usd("1"))]);
    free_from(&rolling, TEN + 5 * MINUTE + DAY).await;
}

#[tokio::test]
async fn days_weeks_and_months_start_anew_at_midnight() {
    let ways = [
        (Window::Daily, MIDNIGHT),
        // Monday, 20 October.
        (Window::Weekly, MIDNIGHT + 4 * DAY),
        // 1 November.
        (Window::Monthly, MIDNIGHT + 16 * DAY),
    ];
    for (window, at) in ways {
        free_from(&only(window, usd("1")), at).await;
    }
    let from_six = policy(1, vec![cap(Window::Daily, Mode::Calendar { at: 360 }, usd("1"))]);
    free_from(&from_six, MIDNIGHT + 6 * HOUR).await;
}

#[tokio::test]
async fn the_total_never_starts_anew() {
    let capped = only(Window::Total, usd("1"));
    let world = spent(&capped).await;
    world.time.pass(400 * DAY);
    let refused = world.budgets.reserve(&user_capped(&capped), usd("0.1"), world.time.now()).await;
    let Err(ReserveError::Denied(denied)) = refused else { panic!("{refused:?}") };
    assert_eq!((denied.first.used, denied.first.resets_at), (usd("1"), None));
}

#[tokio::test]
async fn five_fixed_hours_begin_with_the_minute_of_the_first_charge() {
    let capped = policy(1, vec![cap(Window::FiveHours, Mode::FromFirstCharge, usd("1"))]);
    let fresh = World::new(settings());
    let before = view(&fresh, &capped).await;
    assert_eq!((before.starts_at, before.resets_at), (None, None));
    let world = free_from(&capped, TEN + 5 * HOUR).await;
    let second = view(&world, &capped).await;
    assert_eq!(second.starts_at, Some(TEN + 5 * HOUR));
    assert_eq!(*world.ledger.starts.lock(), [(user(1), TEN), (user(1), TEN + 5 * HOUR)]);
}

#[tokio::test]
async fn h19_five_fixed_hours_survive_that_everything_in_memory_is_lost() {
    let capped = policy(1, vec![cap(Window::FiveHours, Mode::FromFirstCharge, usd("2"))]);
    let mut world = spent(&capped).await;
    world.time.pass(2 * HOUR);
    charge(&world, &capped, "0.5").await;
    let before = view(&world, &capped).await;
    world.restart(settings());
    assert_eq!(view(&world, &capped).await, before);
    // Also when the start was never stored.
    world.ledger.starts.lock().clear();
    world.restart(settings());
    assert_eq!(view(&world, &capped).await, before);
    assert_eq!((before.used, before.resets_at), (usd("1.5"), Some(TEN + 5 * HOUR)));
}

#[tokio::test]
async fn a_charge_that_is_told_late_belongs_to_the_day_of_its_instant() {
    let capped = only(Window::Daily, usd("1"));
    let world = World::new(settings());
    let plan = user_capped(&capped);
    go_to(&world, MIDNIGHT - 1_000);
    let reservation = world.budgets.reserve(&plan, usd("0.5"), world.time.now()).await.unwrap();
    let other = world.budgets.reserve(&plan, usd("0.5"), world.time.now()).await.unwrap();
    go_to(&world, MIDNIGHT + 500);
    reservation.settle(world.ledger.number(), MIDNIGHT - 1, usd("0.5"));
    other.settle(world.ledger.number(), MIDNIGHT, usd("0.25"));
    assert_eq!(view(&world, &capped).await.used, usd("0.25"));
}

#[tokio::test]
async fn a_window_that_starts_anew_in_another_way_counts_from_the_ledger() {
    let rolling = only(Window::FiveHours, usd("2"));
    let fixed = policy(2, vec![cap(Window::FiveHours, Mode::FromFirstCharge, usd("2"))]);
    let again = policy(3, vec![cap(Window::FiveHours, Mode::Rolling, usd("2"))]);
    let world = spent(&rolling).await;
    let now = view(&world, &fixed).await;
    assert_eq!((now.used, now.starts_at), (usd("1"), Some(TEN)));
    assert_eq!(view(&world, &again).await.used, usd("1"));
}

#[tokio::test]
async fn a_rolling_window_says_when_enough_has_left() {
    let capped = only(Window::FiveHours, usd("1"));
    let world = World::new(settings());
    for minute in 0..4 {
        go_to(&world, NOON + minute * MINUTE);
        charge(&world, &capped, "0.25").await;
    }
    let plan = user_capped(&capped);
    for (amount, slots) in [("0.25", 1), ("0.3", 2), ("1", 4)] {
        let refused = world.budgets.reserve(&plan, usd(amount), world.time.now()).await;
        let Err(ReserveError::Denied(denied)) = refused else { panic!("{refused:?}") };
        assert_eq!(denied.first.resets_at, Some(TEN + slots * MINUTE + 5 * HOUR), "{amount}");
    }
    // Never: not even an empty window could pay.
    let refused = world.budgets.reserve(&plan, usd("2"), world.time.now()).await;
    let Err(ReserveError::Denied(denied)) = refused else { panic!("{refused:?}") };
    assert_eq!(denied.first.resets_at, None);
}
