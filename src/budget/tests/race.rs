//! Many requests at once against little money.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use futures::StreamExt;
use futures::stream;

use super::world::*;
use crate::budget::{BudgetSettings, Plan, ReserveError};
use crate::config::ReservationMode;
use crate::limit::{Axis, Mode, Window};
use crate::money::Usd;

/// What became of a crowd of requests.
struct Crowd {
    served: usize,
    refused: usize,
    spent: Usd,
}

/// So many requests, so many at a time; each sets `estimate` aside and costs `cost`.
async fn crowd(world: &World, plan: &Plan, requests: usize, at_once: usize, estimate: Usd, cost: Usd) -> Crowd {
    let spent = AtomicI64::new(0);
    let served = AtomicUsize::new(0);
    let refused = AtomicUsize::new(0);
    stream::iter(0..requests)
        .for_each_concurrent(at_once, |turn| {
            let (spent, served, refused) = (&spent, &served, &refused);
            async move {
                match world.budgets.reserve(plan, estimate, world.time.now()).await {
                    Ok(reservation) => {
                        for _ in 0..turn % 7 {
                            tokio::task::yield_now().await;
                        }
                        world.settle(&reservation, plan, cost);
                        spent.fetch_add(cost.nanos(), Ordering::SeqCst);
                        served.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(ReserveError::Denied(_)) => {
                        refused.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(ReserveError::Unavailable) => panic!("nothing is away"),
                }
            }
        })
        .await;
    Crowd { served: served.into_inner(), refused: refused.into_inner(), spent: Usd::from_nanos(spent.into_inner()) }
}

fn settings(reservation: ReservationMode) -> BudgetSettings {
    BudgetSettings { reservation, ..BudgetSettings::default() }
}

fn ways() -> Vec<(Window, Mode)> {
    let mut ways: Vec<_> = Window::ALL.into_iter().map(|window| (window, mode(window))).collect();
    ways.extend([(Window::FiveHours, Mode::FromFirstCharge), (Window::Daily, Mode::Rolling)]);
    ways
}

#[tokio::test]
async fn exactly_the_cap_is_spent_in_every_window_and_not_a_cent_more() {
    for (window, mode) in ways() {
        let capped = policy(1, vec![cap(window, mode, usd("1"))]);
        let mut plans = [uncapped(), uncapped(), uncapped(), uncapped()];
        plans[0].user.mainline.1 = Some(Arc::clone(&capped));
        plans[1].key.mainline.1 = Some(Arc::clone(&capped));
        plans[2].user.group = Some((group(Axis::User, 1, 5), Arc::clone(&capped)));
        plans[3].key.group = Some((group(Axis::Key, 1, 5), Arc::clone(&capped)));
        for plan in plans {
            let world = World::new(settings(ReservationMode::WorstCase));
            let crowd = crowd(&world, &plan, 200, 50, usd("0.05"), usd("0.05")).await;
            assert_eq!(crowd.spent, usd("1"), "{window} {mode:?}");
            assert_eq!((crowd.served, crowd.refused), (20, 180));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_that_race_for_three_budgets_spend_exactly_the_smallest() {
    let world = Arc::new(World::new(settings(ReservationMode::WorstCase)));
    let mut plan = user_capped(&only(Window::Daily, usd("1")));
    plan.key.mainline.1 = Some(only(Window::Total, usd("2")));
    plan.provider.1 = Some(only(Window::FiveHours, usd("3")));
    let plan = Arc::new(plan);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (world, plan) = (Arc::clone(&world), Arc::clone(&plan));
        tasks.spawn(async move {
            for turn in 0..400 {
                let reserved = world.budgets.reserve(&plan, usd("0.005"), world.time.now()).await;
                let Ok(reservation) = reserved else { continue };
                tokio::task::yield_now().await;
                if turn % 3 == 0 {
                    world.settle(&reservation, &plan, usd("0.005"));
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(world.ledger.spent(user(1)), usd("1"));
    world.pass(5_000).await;
    for id in [user(1), key(1), provider(1)] {
        assert_eq!((world.ledger.spent(id), world.held(id)), (usd("1"), Usd::ZERO));
    }
}

#[tokio::test]
async fn the_last_requests_find_what_dear_estimates_gave_back() {
    let world = World::new(settings(ReservationMode::WorstCase));
    let plan = user_capped(&only(Window::Daily, usd("1")));
    crowd(&world, &plan, 100, 50, usd("0.2"), usd("0.05")).await;
    crowd(&world, &plan, 100, 1, usd("0.2"), usd("0.05")).await;
    // What is left at last is less than one estimate.
    assert_eq!(world.ledger.spent(user(1)), usd("0.85"));
}

#[tokio::test]
async fn expected_passes_the_cap_by_no_more_than_the_estimates_were_wrong() {
    let world = World::new(settings(ReservationMode::Expected));
    let plan = user_capped(&only(Window::Daily, usd("1")));
    let crowd = crowd(&world, &plan, 200, 50, usd("0.02"), usd("0.05")).await;
    // At most 50 in flight, each wrong by 0.03.
    assert!(crowd.spent <= usd("2.5"), "{}", crowd.spent);
    assert!(crowd.spent >= usd("1"));
}

#[tokio::test]
async fn none_admits_while_anything_is_left_and_passes_the_cap_by_what_is_in_flight() {
    let world = World::new(settings(ReservationMode::None));
    let plan = user_capped(&only(Window::Daily, usd("1")));
    let crowd = crowd(&world, &plan, 200, 50, usd("0.05"), usd("0.05")).await;
    assert!(crowd.spent >= usd("1") && crowd.spent <= usd("3.5"), "{}", crowd.spent);
    let later = world.budgets.reserve(&plan, usd("0.05"), world.time.now()).await;
    assert!(matches!(later, Err(ReserveError::Denied(_))), "{later:?}");
}

#[tokio::test]
async fn h08_bursts_are_not_refused_while_the_cap_can_pay() {
    let mut world = World::new(settings(ReservationMode::WorstCase));
    let plan = user_capped(&only(Window::Daily, usd("100")));
    world.ledger.had_before(user(1), NOON - 60_000, usd("12"));
    world.restart(settings(ReservationMode::WorstCase));
    for burst in 0..3 {
        let crowd = crowd(&world, &plan, 50, 50, usd("0.5"), usd("0.5")).await;
        assert_eq!((crowd.served, crowd.refused), (50, 0), "burst {burst}");
        world.pass(10_000).await;
    }
    // 13 are left: 26 more.
    let last = crowd(&world, &plan, 50, 50, usd("0.5"), usd("0.5")).await;
    assert_eq!((last.served, last.refused), (26, 24));
    assert_eq!(world.ledger.spent(user(1)), usd("100"));
}

#[tokio::test]
async fn f08_h05_the_total_is_exact_like_every_other_window() {
    let plan = user_capped(&only(Window::Total, usd("1")));
    let world = World::new(settings(ReservationMode::WorstCase));
    let crowd = crowd(&world, &plan, 5, 1, usd("0.3"), usd("0.3")).await;
    assert_eq!((crowd.served, crowd.refused), (3, 2));
}

#[tokio::test]
async fn h09_a_hundred_at_once_do_not_pass_the_cap() {
    let plan = user_capped(&only(Window::Monthly, usd("10")));
    let world = World::new(settings(ReservationMode::WorstCase));
    let crowd = crowd(&world, &plan, 100, 100, usd("1"), usd("1")).await;
    assert_eq!((crowd.served, crowd.spent), (10, usd("10")));
}

#[tokio::test]
async fn a_thousand_waiters_are_served_in_a_few_exchanges() {
    let plan = user_capped(&only(Window::Daily, usd("1000")));
    let world = World::new(settings(ReservationMode::WorstCase));
    let crowd = crowd(&world, &plan, 1_000, 1_000, usd("1"), usd("1")).await;
    assert_eq!(crowd.served, 1_000);
    let exchanges: u64 =
        crate::budget::ExchangeResult::ALL.iter().map(|&result| world.budgets.stats().exchanges(result)).sum();
    assert!(exchanges < 100, "{exchanges} exchanges");
}
