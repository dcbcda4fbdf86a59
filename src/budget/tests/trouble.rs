//! What happens when something goes wrong: refusals, panics, leaving clients, debts, and a database that is away.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::world::*;
use crate::budget::{BudgetSettings, LeaseSettings, ReserveError};
use crate::config::{OnAuthorityFailure, ReservationMode};
use crate::limit::{Axis, CapStep, Window};
use crate::money::Usd;

fn closed() -> BudgetSettings {
    BudgetSettings { on_failure: OnAuthorityFailure::Closed, ..worst_case() }
}

#[tokio::test]
async fn f24_a_thousand_refusals_leave_nothing_behind() {
    let world = World::new(worst_case());
    let mut plan = user_capped(&only(Window::Daily, usd("100")));
    plan.provider.1 = Some(only(Window::Daily, usd("0.1")));
    for _ in 0..1_000 {
        assert!(world.budgets.reserve(&plan, usd("0.2"), world.time.now()).await.is_err());
    }
    world.pass(5_000).await;
    assert_eq!((world.held(user(1)), world.held(provider(1))), (Usd::ZERO, Usd::ZERO));
    assert_eq!(world.budgets.stats().outstanding(), Usd::ZERO);
}

#[tokio::test]
async fn f24_a_panic_a_time_out_and_a_client_that_leaves_give_everything_back() {
    let world = World::new(worst_case());
    let plan = user_capped(&only(Window::Daily, usd("1")));
    let reservation = world.budgets.reserve(&plan, usd("1"), NOON).await.unwrap();
    let panics = std::panic::AssertUnwindSafe(|| {
        let _held = reservation;
        panic!("as the test wants");
    });
    assert!(std::panic::catch_unwind(panics).is_err());
    let aborted = tokio::spawn({
        let reservation = world.budgets.reserve(&plan, usd("1"), NOON).await.unwrap();
        async move {
            let _held = reservation;
            std::future::pending::<()>().await;
        }
    });
    aborted.abort();
    assert!(aborted.await.is_err());
    let timed_out = tokio::time::timeout(std::time::Duration::ZERO, async {
        let _held = world.budgets.reserve(&plan, usd("1"), NOON).await.unwrap();
        std::future::pending::<()>().await;
    });
    assert!(timed_out.await.is_err());
    world.spend(&plan, usd("1")).await.unwrap();
}

#[tokio::test]
async fn f12_a_budget_that_cannot_be_charged_does_not_keep_the_others_from_being_charged() {
    let world = World::new(worst_case());
    let capped = only(Window::Daily, usd("1"));
    world.spend(&user_capped(&capped), usd("0.1")).await.unwrap();
    let mut plan = user_capped(&capped);
    plan.key.mainline.1 = Some(Arc::clone(&capped));
    let free = world.budgets.try_reserve(&plan, Usd::ZERO, NOON).expect("at once").unwrap();
    let lsn = world.ledger.number();
    // The key's budget is not known yet: to charge it is to look at the journal.
    world.ledger.panics.store(true, Ordering::SeqCst);
    free.settle(lsn, NOON, usd("0.3"));
    assert!(!world.ledger.panics.load(Ordering::SeqCst), "it did fail");
    let used = world.budgets.state(user(1), &capped, NOON).await.unwrap().windows[0].used;
    assert_eq!(used, usd("0.4"));
}

#[tokio::test]
async fn f13_fractions_of_a_dollar_are_not_cut() {
    let world = World::new(worst_case());
    let capped = only(Window::Daily, usd("1"));
    let plan = user_capped(&capped);
    world.spend(&plan, usd("0.25")).await.unwrap();
    let remaining = async || world.budgets.state(user(1), &capped, NOON).await.unwrap().windows[0].remaining;
    assert_eq!(remaining().await, usd("0.75"));
    world.spend(&plan, Usd::from_nanos(1)).await.unwrap();
    assert_eq!(remaining().await, usd("0.749999999"));
}

#[tokio::test]
async fn f17_h06_settling_twice_changes_nothing() {
    let world = World::new(worst_case());
    let mut plan = user_capped(&only(Window::Total, usd("1")));
    plan.key.group = Some((group(Axis::Key, 1, 5), only(Window::Total, usd("1"))));
    let reservation = world.budgets.reserve(&plan, usd("0.5"), NOON).await.unwrap();
    let first = reservation.settle(1, NOON, usd("0.4"));
    assert_eq!(reservation.settle(2, NOON, usd("0.9")), first);
    reservation.raise_to(usd("0.9"));
    drop(reservation);
    let Err(ReserveError::Denied(denied)) = world.budgets.reserve(&plan, usd("0.7"), NOON).await else { panic!() };
    for denial in denied.all() {
        assert_eq!((denial.used, denial.reserved), (usd("0.4"), Usd::ZERO), "{denial:?}");
    }
    assert_eq!(denied.all().count(), 2);
}

#[tokio::test]
async fn f26_slices_follow_their_settings_and_never_exceed_what_is_left() {
    let lease = |fraction_ppm, min| LeaseSettings { fraction_ppm, min: usd(min), ..LeaseSettings::default() };
    // Cap, fraction, least slice, held after a request of a nano-dollar.
    let cases = [
        ("100", 50_000, "0.001", "5"),
        ("100", 200_000, "0.001", "20"),
        ("0.01", 50_000, "0.005", "0.005"),
        ("0.01", 50_000, "0.5", "0.01"),
    ];
    for (cap, fraction, min, expected) in cases {
        let world = World::new(BudgetSettings { model_group_lease: lease(fraction, min), ..worst_case() });
        let mut plan = uncapped();
        let id = group(Axis::User, 1, 5);
        plan.user.group = Some((id, only(Window::Daily, usd(cap))));
        let _running = world.budgets.reserve(&plan, Usd::from_nanos(1), NOON).await.unwrap();
        assert_eq!(world.held(id), usd(expected), "cap {cap}, {fraction} ppm, at least {min}");
    }
}

#[tokio::test]
async fn a_reservation_that_is_raised_beyond_the_cap_is_a_debt_that_others_see_at_once() {
    let world = World::new(worst_case());
    let plan = user_capped(&only(Window::Daily, usd("1")));
    let long = world.budgets.reserve(&plan, usd("0.1"), NOON).await.unwrap();
    long.raise_to(usd("0.05"));
    assert_eq!(long.reserved(Axis::User), usd("0.1"), "never lowered");
    long.raise_to(usd("1.2"));
    let denial = world.denial(&plan, Usd::from_nanos(1)).await;
    assert_eq!((denial.used, denial.reserved), (Usd::ZERO, usd("1.2")));
    world.settle(&long, &plan, usd("1.3"));
    let denial = world.denial(&plan, Usd::from_nanos(1)).await;
    assert_eq!((denial.used, denial.reserved), (usd("1.3"), Usd::ZERO));
    world.pass(5_000).await;
    assert_eq!(world.held(user(1)), Usd::ZERO);
}

#[tokio::test]
async fn an_estimate_above_the_cap_reserves_all_that_is_left_when_nothing_is_held() {
    let world = World::new(BudgetSettings::default());
    let plan = user_capped(&only(Window::Daily, usd("1")));
    world.spend(&plan, usd("0.3")).await.unwrap();
    let big = world.budgets.reserve(&plan, usd("2"), NOON).await.unwrap();
    assert_eq!(big.reserved(Axis::User), usd("0.7"));
    world.denial(&plan, usd("2")).await;
    drop(big);
    let refuses = World::new(worst_case());
    assert_eq!(refuses.denial(&plan, usd("2")).await.requested, usd("2"));
}

#[tokio::test]
async fn none_sets_a_nano_dollar_aside_and_keeps_the_lease_under_running_requests() {
    let world = World::new(BudgetSettings { reservation: ReservationMode::None, ..BudgetSettings::default() });
    let plan = user_capped(&only(Window::Daily, usd("1")));
    let running = world.budgets.reserve(&plan, usd("5"), NOON).await.unwrap();
    assert_eq!(running.reserved(Axis::User), Usd::from_nanos(1));
    world.pass(20_000).await;
    assert_eq!(world.held(user(1)), Usd::from_nanos(1));
}

#[tokio::test]
async fn f25_open_without_a_database_neither_refuses_nor_bypasses() {
    let world = World::new(worst_case());
    let mainline = only(Window::Daily, usd("1"));
    world.spend(&user_capped(&mainline), usd("0.9")).await.unwrap();
    world.ledger.away.store(true, Ordering::SeqCst);
    let mut plan = user_capped(&mainline);
    plan.user.group = Some((group(Axis::User, 1, 5), only(Window::Daily, usd("50"))));
    let reservation = world.budgets.reserve(&plan, usd("0.1"), NOON).await.unwrap();
    assert!(reservation.counted_globally(Axis::User));
    assert_eq!(world.budgets.stats().unenforced_violations(), 0, "the mainline budget is known");
    assert_eq!(world.denial(&plan, usd("0.1")).await.budget, user(1), "and refuses");
    let explained = world.budgets.explain(&plan, usd("0.1"), NOON).await;
    assert!(matches!(explained.verdict, Err(ReserveError::Denied(_))));
}

#[tokio::test]
async fn f09_open_admits_what_nothing_is_known_about_and_counts_it() {
    let world = World::new(worst_case());
    world.ledger.away.store(true, Ordering::SeqCst);
    let plan = user_capped(&only(Window::Daily, usd("1")));
    let unchecked = world.budgets.reserve(&plan, usd("3"), NOON).await.unwrap();
    assert_eq!(world.budgets.stats().unenforced_violations(), 1);
    world.settle(&unchecked, &plan, usd("3"));
    world.ledger.away.store(false, Ordering::SeqCst);
    world.pass(5_000).await;
    let denial = world.denial(&plan, usd("0.1")).await;
    assert_eq!(denial.used, usd("3"), "known when the database is back");
}

#[tokio::test]
async fn f18_closed_refuses_what_nothing_is_known_about_and_spends_what_is_held() {
    let world = World::new(closed());
    let known = user_capped(&only(Window::Daily, usd("100")));
    world.spend(&known, usd("0.1")).await.unwrap();
    world.ledger.away.store(true, Ordering::SeqCst);
    world.spend(&known, usd("0.1")).await.unwrap();
    let mut unknown = uncapped();
    unknown.key.mainline.1 = Some(only(Window::Daily, usd("1")));
    let refused = world.budgets.reserve(&unknown, usd("0.1"), NOON).await.unwrap_err();
    assert_eq!(refused, ReserveError::Unavailable);
    let explained = world.budgets.explain(&unknown, usd("0.1"), NOON).await;
    assert_eq!(explained.verdict, Err(ReserveError::Unavailable));
    world.spend(&uncapped(), usd("0.1")).await.unwrap();
}

#[tokio::test]
async fn caps_that_were_edited_while_the_database_is_away_go_on_with_the_counters() {
    let world = World::new(closed());
    let first = only(Window::Daily, usd("1"));
    world.spend(&user_capped(&first), usd("0.8")).await.unwrap();
    world.ledger.away.store(true, Ordering::SeqCst);
    let raised = edited(&first, 2, |policy| {
        policy.windows[0].base = usd("2");
        policy.windows[0].caps = vec![CapStep { from: i64::MIN, cap: usd("2") }];
    });
    world.spend(&user_capped(&raised), usd("1.2")).await.unwrap();
    assert_eq!(world.denial(&user_capped(&raised), usd("0.1")).await.used, usd("2"));
}

#[tokio::test]
async fn a_request_that_is_given_up_while_it_waits_leaves_the_way_free_for_others() {
    let world = World::new(worst_case());
    let plan = user_capped(&only(Window::Daily, usd("1")));
    {
        let mut waiting = Box::pin(world.budgets.reserve(&plan, usd("0.5"), NOON));
        // Polled once, if it waits at all, and dropped.
        let _ = futures::poll!(&mut waiting);
    }
    world.spend(&plan, usd("1")).await.unwrap();
}

#[tokio::test]
async fn idle_budgets_leave_memory_and_come_back_with_what_was_used() {
    let world = World::new(worst_case());
    let plan = user_capped(&only(Window::Monthly, usd("1")));
    for _ in 0..30 {
        world.spend(&plan, usd("0.02")).await.unwrap();
    }
    assert_eq!((world.budgets.known(), world.authority.len()), (1, 1));
    world.ledger.write_all();
    world.pass(30_000).await;
    assert_eq!(world.budgets.known(), 0, "forgotten by the node");
    for turn in 0..256 {
        crate::budget::Authority::sweep(&*world.authority, turn, world.time.now());
    }
    assert_eq!(world.authority.len(), 1, "remembered for a while by the authority");
    drop(world.budgets.reserve(&plan, usd("0.4"), world.time.now()).await.unwrap());
    assert_eq!(world.denial(&plan, usd("0.5")).await.used, usd("0.6"));
    world.pass(900_000).await;
    for turn in 0..256 {
        crate::budget::Authority::sweep(&*world.authority, turn, world.time.now());
    }
    assert_eq!((world.budgets.known(), world.authority.len()), (0, 0));
    assert_eq!(world.denial(&plan, usd("0.5")).await.used, usd("0.6"));
}

#[tokio::test]
async fn limits_that_are_edited_are_asked_for_before_anything_is_spent() {
    let world = World::new(worst_case());
    let first = only(Window::Daily, usd("100"));
    let plan = user_capped(&first);
    world.spend(&plan, usd("1")).await.unwrap();
    assert!(world.held(user(1)) > Usd::ZERO);
    world.budgets.policies_changed(&[user(1)]);
    world.pass(100).await;
    assert_eq!(world.held(user(1)), Usd::ZERO, "what was kept is given back");
    let lowered = edited(&first, 2, |policy| policy.windows[0].caps[0].cap = usd("1"));
    world.denial(&user_capped(&lowered), Usd::from_nanos(1)).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_others_is_refused_in_the_end_however_many_are_let_through_meanwhile() {
    let world = World::new(worst_case());
    let plan = user_capped(&only(Window::Daily, usd("1")));
    let _running = world.budgets.reserve(&plan, usd("0.5"), NOON).await.unwrap();
    // Grants to others are the last that is heard of the budget, and say nothing about why there is too little.
    let small = async {
        for _ in 0..300 {
            world.spend(&plan, usd("0.0001")).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(7)).await;
        }
    };
    let big = async {
        let asking = (0..20).map(|_| world.budgets.reserve(&plan, usd("0.55"), NOON));
        futures::future::join_all(asking).await
    };
    for refused in tokio::join!(big, small).0 {
        assert!(matches!(refused, Err(ReserveError::Denied(_))), "{refused:?}");
    }
    assert_eq!(world.budgets.stats().unenforced_violations(), 0);
}

#[tokio::test]
async fn a_request_that_was_free_for_one_attempt_leaves_nothing_behind_where_its_budget_was_made_anew() {
    let world = World::new(worst_case());
    let plan = user_capped(&only(Window::Daily, usd("1")));
    let mut reservation = world.budgets.reserve(&plan, usd("0.1"), world.time.now()).await.unwrap();
    reservation.move_to(&plan, Usd::ZERO, world.time.now()).await.unwrap();
    world.pass(20_000).await;
    reservation.move_to(&plan, usd("0.2"), world.time.now()).await.unwrap();
    assert_eq!(reservation.reserved(Axis::User), usd("0.2"));
    drop(reservation);
    world.pass(6_000).await;
    assert_eq!(world.held(user(1)), Usd::ZERO);
    assert_eq!(world.budgets.stats().outstanding(), Usd::ZERO);
}
