//! When spend counts, and when it counts no more.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::world::*;
use crate::budget::{BudgetSettings, Plan, ReserveError};
use crate::limit::{Axis, CapStep, Mode, Policy, Window};
use crate::money::Usd;

/// The time of a world that has spent its dollar at `at`.
async fn spent_out(window: Window, mode: Mode, at: &str) -> (World, Plan) {
    spent_out_in(window, mode, at, worst_case()).await
}

async fn spent_out_in(window: Window, mode: Mode, at: &str, settings: BudgetSettings) -> (World, Plan) {
    let world = World::new(settings);
    world.time.pass(instant(at) - NOON);
    let plan = user_capped(&policy(1, vec![cap(window, mode, usd("1"))]));
    world.spend(&plan, usd("1")).await.unwrap();
    (world, plan)
}

/// Refused until this instant, which the refusal names, and admitted from it on.
async fn resets(world: &World, plan: &Plan, at: &str) {
    let at = instant(at);
    assert_eq!(world.denial(plan, usd("0.5")).await.resets_at, Some(at));
    world.jump(at - 1 - world.time.now()).await;
    assert_eq!(world.denial(plan, usd("0.5")).await.resets_at, Some(at), "one millisecond before");
    world.jump(1).await;
    world.spend(plan, usd("0.5")).await.unwrap();
}

#[tokio::test]
async fn a_rolling_window_lets_go_when_all_of_a_minute_is_five_hours_old() {
    let (world, plan) = spent_out(Window::FiveHours, Mode::Rolling, "2025-10-15T10:00:30Z").await;
    resets(&world, &plan, "2025-10-15T15:01:00Z").await;
}

#[tokio::test]
async fn a_rolling_day_lets_go_when_all_of_five_minutes_is_a_day_old() {
    let (world, plan) = spent_out(Window::Daily, Mode::Rolling, "2025-10-15T10:00:30Z").await;
    resets(&world, &plan, "2025-10-16T10:05:00Z").await;
}

#[tokio::test]
async fn a_rolling_window_resets_for_a_request_when_enough_for_it_has_left() {
    let world = World::new(worst_case());
    let plan = user_capped(&only(Window::FiveHours, usd("1")));
    world.spend(&plan, usd("0.5")).await.unwrap();
    world.jump(3_600_000).await;
    world.spend(&plan, usd("0.5")).await.unwrap();
    assert_eq!(world.denial(&plan, usd("0.4")).await.resets_at, Some(instant("2025-10-15T15:01:00Z")));
    assert_eq!(world.denial(&plan, usd("0.8")).await.resets_at, Some(instant("2025-10-15T16:01:00Z")));
    assert_eq!(world.denial(&plan, usd("1.01")).await.resets_at, None, "more than the cap never fits");
    assert_eq!(world.denial(&plan, usd("0.4")).await.resets_at, Some(instant("2025-10-15T15:01:00Z")));
}

#[tokio::test]
async fn fixed_five_hours_begin_with_the_minute_of_the_first_charge() {
    let (world, plan) = spent_out(Window::FiveHours, Mode::FromFirstCharge, "2025-10-15T10:00:30Z").await;
    resets(&world, &plan, "2025-10-15T15:00:00Z").await;
    // The next ones began with the next charge.
    world.spend(&plan, usd("0.5")).await.unwrap();
    resets(&world, &plan, "2025-10-15T20:00:00Z").await;
    let starts = world.ledger.starts.lock().iter().map(|(_, start)| *start).collect::<Vec<_>>();
    let expected = ["2025-10-15T10:00:00Z", "2025-10-15T15:00:00Z"].map(instant);
    assert_eq!(starts, expected);
}

#[tokio::test]
async fn fixed_five_hours_that_have_not_begun_have_no_reset() {
    let world = World::new(worst_case());
    let plan = user_capped(&policy(1, vec![cap(Window::FiveHours, Mode::FromFirstCharge, usd("1"))]));
    assert_eq!(world.denial(&plan, usd("2")).await.resets_at, None);
    world.spend(&plan, usd("1")).await.unwrap();
    world.jump(6 * 3_600_000).await;
    assert_eq!(world.denial(&plan, usd("2")).await.resets_at, None, "between two");
}

#[tokio::test]
async fn h19_fixed_five_hours_are_the_same_after_everything_was_forgotten() {
    let (mut world, plan) = spent_out(Window::FiveHours, Mode::FromFirstCharge, "2025-10-15T10:00:30Z").await;
    world.jump(3_600_000).await;
    let before = world.denial(&plan, usd("0.1")).await;
    world.restart(worst_case());
    assert_eq!(world.denial(&plan, usd("0.1")).await, before, "with the stored start");
    world.ledger.starts.lock().clear();
    world.restart(worst_case());
    assert_eq!(world.denial(&plan, usd("0.1")).await, before, "from the charges alone");
    resets(&world, &plan, "2025-10-15T15:00:00Z").await;
}

#[tokio::test]
async fn fixed_five_hours_that_follow_others_at_once_do_not_begin_in_them() {
    let mut world = World::new(worst_case());
    let plan = user_capped(&policy(1, vec![cap(Window::FiveHours, Mode::FromFirstCharge, usd("1"))]));
    let starts = || instant("2025-10-15T15:00:00Z");
    world.spend(&plan, usd("0.1")).await.unwrap();
    world.time.pass(starts() - 30_000 - world.time.now());
    world.spend(&plan, usd("0.4")).await.unwrap();
    let late = world.budgets.reserve(&plan, usd("0.1"), world.time.now()).await.unwrap();
    world.jump(40_000).await;
    world.spend(&plan, usd("0.2")).await.unwrap();
    world.jump(1_000).await;
    // Settled in the five hours before, and heard of when these have begun.
    let (lsn, at) = (world.ledger.number(), starts() - 1_000);
    late.settle(lsn, at, usd("0.1"));
    world.ledger.add(Row { lsn, budget: user(1), at, era: 0, amount: usd("0.1") });
    let expected = (usd("0.2"), Some(instant("2025-10-15T20:00:00Z")));
    let seen = async |world: &World| {
        let denial = world.denial(&plan, usd("0.9")).await;
        (denial.used, denial.resets_at)
    };
    assert_eq!(seen(&world).await, expected);
    world.pass(10_000).await;
    for turn in 0..256 {
        crate::budget::Authority::sweep(&*world.authority, turn, world.time.now());
    }
    assert_eq!(seen(&world).await, expected, "packed meanwhile");
    for _ in 0..3 {
        world.restart(worst_case());
        assert_eq!(seen(&world).await, expected, "from the ledger");
    }
}

#[tokio::test]
async fn a_charge_of_the_previous_five_hours_does_not_count_in_these() {
    let mut world = World::new(worst_case());
    let plan = user_capped(&policy(1, vec![cap(Window::FiveHours, Mode::FromFirstCharge, usd("1"))]));
    world.ledger.had_before(user(1), instant("2025-10-15T04:00:00Z"), usd("0.9"));
    world.ledger.had_before(user(1), instant("2025-10-15T08:59:00Z"), usd("0.9"));
    world.ledger.had_before(user(1), instant("2025-10-15T09:10:00Z"), usd("0.3"));
    world.ledger.starts.lock().push((user(1), instant("2025-10-15T04:00:00Z")));
    world.restart(worst_case());
    let denial = world.denial(&plan, usd("0.8")).await;
    assert_eq!((denial.used, denial.resets_at), (usd("0.3"), Some(instant("2025-10-15T14:10:00Z"))));
}

#[tokio::test]
async fn a_day_starts_anew_at_its_time_in_its_zone_also_when_clocks_change() {
    let berlin = BudgetSettings { zone: TimeZone::get("Europe/Berlin").unwrap(), ..worst_case() };
    let at = Mode::Calendar { at: 4 * 60 + 30 };
    // Clocks go back on 26 October 2025: that day has 25 hours.
    let (world, plan) = spent_out_in(Window::Daily, at, "2025-10-25T02:30:00Z", berlin).await;
    resets(&world, &plan, "2025-10-26T03:30:00Z").await;
    world.spend(&plan, usd("0.5")).await.unwrap();
    resets(&world, &plan, "2025-10-27T03:30:00Z").await;
}

#[tokio::test]
async fn weeks_start_on_monday_and_months_on_day_1() {
    let (world, plan) = spent_out(Window::Weekly, Mode::Calendar { at: 0 }, "2025-10-15T10:00:30Z").await;
    resets(&world, &plan, "2025-10-20T00:00:00Z").await;
    let (world, plan) = spent_out(Window::Monthly, Mode::Calendar { at: 0 }, "2025-10-31T23:59:59Z").await;
    resets(&world, &plan, "2025-11-01T00:00:00Z").await;
}

#[tokio::test]
async fn a_total_never_resets() {
    let (world, plan) = spent_out(Window::Total, Mode::Forever, "2025-10-15T10:00:30Z").await;
    world.jump(400 * 86_400_000).await;
    let denial = world.denial(&plan, Usd::from_nanos(1)).await;
    assert_eq!((denial.used, denial.resets_at), (usd("1"), None));
}

#[tokio::test]
async fn a_request_that_runs_over_midnight_counts_on_the_day_that_it_ends() {
    let world = World::new(worst_case());
    let plan = user_capped(&only(Window::Daily, usd("1")));
    world.time.pass(instant("2025-10-15T23:59:00Z") - NOON);
    let long = world.budgets.reserve(&plan, usd("0.6"), world.time.now()).await.unwrap();
    world.jump(120_000).await;
    assert_eq!(world.denial(&plan, usd("0.5")).await.reserved, usd("0.6"), "what is held is bound to no window");
    world.settle(&long, &plan, usd("0.6"));
    let denial = world.denial(&plan, usd("0.5")).await;
    assert_eq!((denial.used, denial.reserved), (usd("0.6"), Usd::ZERO));
    world.spend(&plan, usd("0.4")).await.unwrap();
}

#[tokio::test]
async fn of_several_windows_the_first_in_order_is_reported_and_all_are_named() {
    let world = World::new(worst_case());
    let windows = [Window::Total, Window::FiveHours, Window::Daily, Window::Weekly, Window::Monthly];
    let amounts = ["5", "1", "3", "1", "1"];
    let caps = windows.iter().zip(amounts).map(|(&window, amount)| cap(window, mode(window), usd(amount))).collect();
    let plan = user_capped(&policy(1, caps));
    let Err(ReserveError::Denied(denied)) = world.budgets.reserve(&plan, usd("2"), NOON).await else { panic!() };
    let windows: Vec<_> = denied.all().map(|denial| denial.window).collect();
    assert_eq!(windows, [Window::FiveHours, Window::Weekly, Window::Monthly]);
}

fn boosted(from: &str, to: &str) -> Arc<Policy> {
    edited(&only(Window::Weekly, usd("1")), 2, |policy| {
        policy.windows[0].caps = vec![
            CapStep { from: i64::MIN, cap: usd("1") },
            CapStep { from: instant(from), cap: usd("3") },
            CapStep { from: instant(to), cap: usd("1") },
        ];
    })
}

#[tokio::test]
async fn h17_a_boost_begins_and_ends_to_the_millisecond_inside_a_leases_life() {
    let world = World::new(worst_case());
    let plan = user_capped(&boosted("2025-10-15T10:00:31Z", "2025-10-15T10:00:33Z"));
    world.spend(&plan, usd("0.9")).await.unwrap();
    let early = world.denial(&plan, usd("0.5")).await;
    assert_eq!((early.cap, early.boost), (usd("1"), Usd::ZERO));
    world.time.pass(999);
    world.denial(&plan, usd("0.5")).await;
    world.time.pass(1);
    world.spend(&plan, usd("0.5")).await.unwrap();
    let boosted = world.denial(&plan, usd("1.7")).await;
    assert_eq!((boosted.cap, boosted.boost, boosted.used), (usd("3"), usd("2"), usd("1.4")));
    let running = world.budgets.reserve(&plan, usd("0.5"), world.time.now()).await.unwrap();
    world.time.pass(1_999);
    drop(world.budgets.reserve(&plan, usd("0.1"), world.time.now()).await.unwrap());
    world.time.pass(1);
    let over = world.denial(&plan, Usd::from_nanos(1)).await;
    assert_eq!((over.cap, over.boost, over.used), (usd("1"), Usd::ZERO, usd("1.4")));
    // What was reserved in boosted time stands.
    assert_eq!(running.reserved(Axis::User), usd("0.5"));
    world.settle(&running, &plan, usd("0.5"));
    assert_eq!(world.denial(&plan, Usd::from_nanos(1)).await.used, usd("1.9"));
}

#[tokio::test]
async fn h18_a_boost_on_a_week_counts_in_each_week_that_it_is_in_force() {
    let world = World::new(worst_case());
    let plan = user_capped(&boosted("2025-10-15T00:00:00Z", "2025-10-22T00:00:00Z"));
    world.spend(&plan, usd("3")).await.unwrap();
    world.jump(instant("2025-10-20T00:00:00Z") - world.time.now()).await;
    world.spend(&plan, usd("2.5")).await.unwrap();
    world.jump(instant("2025-10-22T00:00:00Z") - world.time.now()).await;
    assert_eq!(world.denial(&plan, usd("0.1")).await.used, usd("2.5"));
}

#[tokio::test]
async fn editing_caps_never_forgets_what_was_used() {
    let world = World::new(worst_case());
    let first = only(Window::Daily, usd("1"));
    world.spend(&user_capped(&first), usd("0.8")).await.unwrap();
    // Lowered below what was used.
    let lowered = edited(&first, 2, |policy| policy.windows[0] = cap(Window::Daily, mode(Window::Daily), usd("0.5")));
    let denial = world.denial(&user_capped(&lowered), Usd::from_nanos(1)).await;
    assert_eq!((denial.used, denial.cap), (usd("0.8"), usd("0.5")));
    // A window that had no cap knows what was spent in it.
    let total = edited(&first, 3, |policy| policy.windows = vec![cap(Window::Total, Mode::Forever, usd("1"))]);
    let denial = world.denial(&user_capped(&total), usd("0.3")).await;
    assert_eq!((denial.window, denial.used), (Window::Total, usd("0.8")));
    // From fixed to rolling.
    let rolling = edited(&first, 4, |policy| policy.windows = vec![cap(Window::Daily, Mode::Rolling, usd("1"))]);
    assert_eq!(world.denial(&user_capped(&rolling), usd("0.3")).await.used, usd("0.8"));
    // Taken away, spent without, and set again.
    world.spend(&uncapped(), usd("4")).await.unwrap();
    let again = edited(&first, 5, |_| {});
    assert_eq!(world.denial(&user_capped(&again), usd("0.3")).await.used, usd("4.8"));
    // Raised: at once.
    let raised = edited(&first, 6, |policy| policy.windows[0] = cap(Window::Daily, mode(Window::Daily), usd("6")));
    world.spend(&user_capped(&raised), usd("1.2")).await.unwrap();
    // A request that was resolved before the edits brings old caps: they change nothing.
    assert_eq!(world.denial(&user_capped(&first), usd("0.1")).await.cap, usd("6"));
}

#[tokio::test]
async fn h23_a_reset_starts_anew_for_all_and_what_runs_then_counts_in_the_new_era() {
    let world = World::new(worst_case());
    let first = only(Window::Monthly, usd("1"));
    let plan = user_capped(&first);
    world.spend(&plan, usd("0.7")).await.unwrap();
    let running = world.budgets.reserve(&plan, usd("0.2"), world.time.now()).await.unwrap();
    let reset = edited(&first, 2, |policy| {
        policy.era = 1;
        policy.windows[0].since_era = 1;
    });
    let mut after = user_capped(&reset);
    after.user.era = 1;
    let denial = world.denial(&after, usd("0.9")).await;
    assert_eq!((denial.used, denial.reserved), (Usd::ZERO, usd("0.2")), "held stays");
    world.settle(&running, &plan, usd("0.2"));
    let row = *world.ledger.rows.lock().iter().rfind(|row| row.budget == user(1)).unwrap();
    assert_eq!((row.era, row.amount), (1, usd("0.2")), "the row says what the counter counts");
    assert_eq!(world.denial(&after, usd("0.9")).await.used, usd("0.2"));
    let mut world = world;
    world.restart(worst_case());
    assert_eq!(world.denial(&after, usd("0.9")).await.used, usd("0.2"), "and so does the ledger");
}

#[tokio::test]
async fn a_reset_of_one_window_leaves_the_others() {
    let world = World::new(worst_case());
    let caps =
        vec![cap(Window::Daily, mode(Window::Daily), usd("1")), cap(Window::Monthly, mode(Window::Monthly), usd("5"))];
    let first = policy(1, caps);
    world.spend(&user_capped(&first), usd("1")).await.unwrap();
    let reset = edited(&first, 2, |policy| {
        policy.era = 1;
        policy.windows[0].since_era = 1;
    });
    let plan = user_capped(&reset);
    world.spend(&plan, usd("1")).await.unwrap();
    let state = world.budgets.state(user(1), &reset, world.time.now()).await.unwrap();
    let used: Vec<_> = state.windows.iter().map(|window| window.used).collect();
    assert_eq!(used, [usd("1"), usd("2")]);
}

#[tokio::test]
async fn a_charge_that_is_told_late_belongs_to_the_day_of_its_instant() {
    let world = World::new(worst_case());
    let plan = user_capped(&only(Window::Daily, usd("1")));
    world.time.pass(instant("2025-10-15T23:59:59.999Z") - NOON);
    let reservation = world.budgets.reserve(&plan, usd("0.6"), world.time.now()).await.unwrap();
    world.settle(&reservation, &plan, usd("0.6"));
    world.time.pass(2);
    let denial = world.denial(&plan, usd("1.1")).await;
    assert_eq!((denial.used, denial.reserved), (Usd::ZERO, Usd::ZERO));
    world.spend(&plan, usd("1")).await.unwrap();
}
