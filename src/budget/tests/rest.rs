//! Budgets that rest are packed, and are the same when they are woken.

use std::sync::Arc;

use jiff::tz::TimeZone;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::world::*;
use crate::budget::account::Resting;
use crate::budget::rules::Rules;
use crate::budget::{Statement, terms};
use crate::limit::{CapStep, Mode, Policy, Source, Window};
use crate::money::Usd;

/// Every window in every mode that it can have, with a boost that begins and ends.
fn policies() -> [Arc<Policy>; 2] {
    let windows = |five_hours, daily| {
        let windows = Window::ALL.into_iter().map(|window| {
            let mode = match window {
                Window::FiveHours => five_hours,
                Window::Daily => daily,
                _ => mode(window),
            };
            let mut cap = cap(window, mode, usd("1000"));
            cap.caps.push(CapStep { from: NOON + 7_200_000, cap: usd("1300") });
            cap.caps.push(CapStep { from: NOON + 9_000_000, cap: usd("1000") });
            cap.source = Source::UserGroup(9);
            cap
        });
        policy(1, windows.collect())
    };
    [windows(Mode::FromFirstCharge, Mode::Calendar { at: 90 }), windows(Mode::Rolling, Mode::Rolling)]
}

/// A statement that any account would take: it wants something, and to know all.
fn statement(policy: &Arc<Policy>, account: &crate::budget::Audit, now: i64) -> Statement {
    let holder = account.holders[0];
    Statement {
        inc: holder.inc,
        seq: 1 << 40,
        sent: now,
        from: holder.position,
        to: 1 << 40,
        items: Vec::new(),
        reserved: Usd::ZERO,
        kept: Usd::ZERO,
        written: 0,
        unwritten: Usd::ZERO,
        need_min: usd("1"),
        need_sum: usd("1"),
        slice: usd("3"),
        slice_min: Usd::ZERO,
        ends_after: i64::MAX,
        last: false,
        report: true,
        terms: Arc::new(terms::of(Arc::clone(policy), &TimeZone::UTC, now)),
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_has_rested_is_as_it_was_in_every_kind_of_window() {
    for (seed, policy) in policies().into_iter().enumerate() {
        let world = World::new(worst_case());
        let mut rng = StdRng::seed_from_u64(seed as u64);
        for round in 0..60 {
            let cost = Usd::from_nanos(rng.random_range(1..900_000_000));
            world.spend(&user_capped(&policy), cost).await.unwrap();
            let now = world.jump(rng.random_range(4_000..5_000_000)).await;
            let mut account = world.authority.copy_of(user(1)).expect("it is known");
            assert!(account.is_idle(), "round {round}");
            let packed = Resting::of(&account).expect("idle");
            assert_eq!(packed.last_contact(), account.last_contact());
            let mut woken = packed.wake(NOON, Rules::ALL);
            let audit = account.audit();
            assert_eq!(woken.audit(), audit, "round {round}");
            // What follows is the same, too.
            let said = statement(&policy, &audit, now);
            let (expected, answer) = (account.exchange(&said, now), woken.exchange(&said, now));
            assert_eq!(format!("{answer:?}"), format!("{expected:?}"), "round {round}");
            assert_eq!(woken.audit(), account.audit(), "round {round}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn idle_budgets_with_rolling_windows_are_packed_too() {
    let world = World::new(worst_case());
    let [_, rolling] = policies();
    world.spend(&user_capped(&rolling), usd("1")).await.unwrap();
    world.jump(6_000).await;
    let resting = |world: &World| {
        (0..128).for_each(|turn| crate::budget::Authority::sweep(&*world.authority, turn, world.time.now()));
        world.authority.resting()
    };
    assert_eq!(resting(&world), 0, "just spoken of");
    world.time.pass(6_000);
    assert_eq!(resting(&world), 1);
    assert_eq!(world.denial(&user_capped(&rolling), usd("1299.5")).await.used, usd("1"));
}
