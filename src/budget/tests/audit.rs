//! What is counted is what the ledger says, at any moment; where it is not, that is found and put right.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::world::*;
use crate::budget::{Authority, Budgets, Drift, MemoryAuthority, SeedStatement, Seeded};
use crate::limit::{Mode, Policy, Window};
use crate::money::Usd;

/// Every kind of window.
fn all_windows() -> Arc<Policy> {
    let mut windows: Vec<_> = [Window::Total, Window::FiveHours, Window::Daily, Window::Weekly, Window::Monthly]
        .map(|window| cap(window, mode(window), usd("100")))
        .into();
    windows[2].mode = Mode::Rolling;
    policy(1, windows)
}

#[tokio::test]
async fn charges_that_are_on_their_way_are_no_difference() {
    let world = World::new(worst_case());
    let plan = user_capped(&all_windows());
    let mut compared = 0;
    for round in 0..400_i64 {
        world.spend(&plan, usd("0.05")).await.unwrap();
        match round % 4 {
            // In the database and not told, told and not in the database, both, neither.
            0 => world.ledger.write_all(),
            1 => world.pass(700).await,
            2 => {
                world.ledger.write_all();
                world.pass(2_600).await;
            }
            _ => {}
        }
        // Over the ends of slots, of five hours and of days.
        if round % 20 == 19 {
            world.jump(97 * 60_000).await;
        }
        if let Some(drifts) = world.budgets.audit(user(1)).await.unwrap() {
            assert_eq!(drifts, [], "round {round}");
            compared += 1;
        }
    }
    assert!(compared > 300, "compared {compared} times");
}

#[tokio::test]
async fn fixed_five_hours_are_compared_with_what_began_them() {
    let world = World::new(worst_case());
    let plan = user_capped(&policy(1, vec![cap(Window::FiveHours, Mode::FromFirstCharge, usd("100"))]));
    for _ in 0..50 {
        world.spend(&plan, usd("0.05")).await.unwrap();
        world.pass(41 * 60_000).await;
        assert_eq!(world.budgets.audit(user(1)).await.unwrap(), Some(vec![]));
    }
}

/// The authority takes it that so much more was spent.
async fn tamper(world: &World, by: Usd) {
    let entry = world.budgets.table.get(user(1)).expect("it is known");
    let SeedStatement { mut seed, terms } = world.budgets.ask_ledger(&entry).await.unwrap();
    for window in &mut seed.windows {
        window.sum += by;
        window.minutes.last_mut().into_iter().for_each(|minute| minute.1 += by);
    }
    assert_eq!(world.authority.seed(user(1), &SeedStatement { seed, terms }).await.unwrap(), Seeded::Taken);
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_not_counted_as_the_ledger_says_is_found_and_counted_anew() {
    let world = World::new(worst_case());
    let plan = user_capped(&all_windows());
    world.spend(&plan, usd("1")).await.unwrap();
    world.jump(1_000).await;
    assert_eq!(world.budgets.audit(user(1)).await.unwrap(), Some(vec![]));
    tamper(&world, usd("7")).await;
    let drifts = world.budgets.audit(user(1)).await.unwrap().expect("it can be told");
    assert_eq!(drifts.len(), 5, "{drifts:?}");
    assert!(drifts.iter().all(|drift| {
        *drift == Drift { budget: user(1), window: drift.window, counted: usd("8"), expected: usd("1") }
    }));

    let stop = CancellationToken::new();
    let background = tokio::spawn(Arc::clone(&world.budgets).reconcile(stop.clone()));
    while world.budgets.stats().drift() == Usd::ZERO {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop.cancel();
    background.await.unwrap();
    assert_eq!(world.budgets.stats().drift(), usd("35"));
    assert_eq!(world.budgets.audit(user(1)).await.unwrap(), Some(vec![]));
    assert_eq!(world.authority.audit_now(user(1)).unwrap().windows[0].spent, usd("1"));
}

#[tokio::test]
async fn what_others_use_is_compared_once_they_have_been_quiet_for_long() {
    let world = World::new(worst_case());
    let plan = user_capped(&all_windows());
    world.ledger.others.store(1, std::sync::atomic::Ordering::SeqCst);
    let other = Budgets::new(
        NODE + 1,
        Arc::<MemoryAuthority>::clone(&world.authority),
        Arc::<PretendLedger>::clone(&world.ledger),
        worst_case(),
        world.time.clock(),
    );
    let at = world.time.now();
    world.spend(&plan, usd("1")).await.unwrap();
    let reservation = other.reserve(&plan, usd("2"), at).await.unwrap();
    world.settle(&reservation, &plan, usd("2"));
    drop(reservation);
    for _ in 0..50 {
        let now = world.jump(500).await;
        other.tick(now).await;
    }
    assert_eq!(world.budgets.audit(user(1)).await.unwrap(), None, "it may have charged what nobody has heard of yet");
    world.jump(30_000).await;
    world.spend(&plan, usd("1")).await.unwrap();
    assert_eq!(world.budgets.audit(user(1)).await.unwrap(), Some(vec![]));
    world.ledger.had_before(user(1), world.time.now(), usd("4"));
    let drifts = world.budgets.audit(user(1)).await.unwrap().expect("it can be told");
    assert_eq!(drifts.len(), 5, "{drifts:?}");
    assert!(drifts.iter().all(|drift| drift.expected - drift.counted == usd("4")), "{drifts:?}");
}

#[tokio::test]
async fn what_cannot_be_compared_is_no_difference() {
    let world = World::new(worst_case());
    assert_eq!(world.budgets.audit(user(1)).await.unwrap(), None, "nobody knows it");
    let plan = user_capped(&all_windows());
    world.spend(&plan, usd("1")).await.unwrap();
    world.ledger.away.store(true, std::sync::atomic::Ordering::SeqCst);
    world.budgets.audit(user(1)).await.expect_err("the ledger is away");
    assert_eq!(world.budgets.stats().drift(), Usd::ZERO);
}
