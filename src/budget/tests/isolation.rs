//! Random traffic over shared budgets: every dollar is charged once per axis, whatever becomes of requests.

use std::sync::Arc;

use proptest::prelude::*;

use super::world::*;
use crate::budget::{BudgetSettings, Plan, Reservation, ReservationMode, ReserveError};
use crate::limit::{Axis, BudgetId, Policy, Window};
use crate::money::Usd;

/// What is done next. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Deed {
    Reserve { plan: usize, cents: i64 },
    Settle { which: usize, percent: i64 },
    Drop { which: usize },
    Move { which: usize, plan: usize, cents: i64 },
    Pass { ms: i64 },
    Write,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => (0..PLANS, 1..60_i64).prop_map(|(plan, cents)| Deed::Reserve { plan, cents }),
        4 => (0..64_usize, 0..=100_i64).prop_map(|(which, percent)| Deed::Settle { which, percent }),
        1 => (0..64_usize).prop_map(|which| Deed::Drop { which }),
        2 => (0..64_usize, 0..PLANS, 1..60_i64).prop_map(|(which, plan, cents)| Deed::Move { which, plan, cents }),
        2 => (1..15_000_i64).prop_map(|ms| Deed::Pass { ms }),
        1 => Just(Deed::Write),
    ]
}

/// The budgets that have a cap.
type Caps = Vec<(BudgetId, Arc<Policy>)>;

const PLANS: usize = 12;

fn budgets() -> Vec<BudgetId> {
    let mut all = Vec::new();
    for owner in [1, 2] {
        all.extend([key(owner), user(owner), provider(owner)]);
        all.extend([group(Axis::Key, owner, 5), group(Axis::User, owner, 5)]);
    }
    all
}

fn plan_of(number: usize, caps: &Caps) -> Plan {
    let capped = |id: BudgetId| caps.iter().find(|(budget, _)| *budget == id).map(|(_, policy)| Arc::clone(policy));
    let owner = |bit: usize| if number & bit == 0 { 1 } else { 2 };
    let mut plan = uncapped();
    plan.key.mainline = (key(owner(1)), capped(key(owner(1))));
    plan.user.mainline = (user(owner(2)), capped(user(owner(2))));
    plan.provider = (provider(owner(4)), capped(provider(owner(4))));
    if number >= 8 {
        let (keys, users) = (group(Axis::Key, owner(1), 5), group(Axis::User, owner(2), 5));
        plan.key.group = capped(keys).map(|policy| (keys, policy));
        plan.user.group = capped(users).map(|policy| (users, policy));
    }
    plan
}

async fn play(deeds: Vec<Deed>, caps: Caps) -> Result<(), TestCaseError> {
    let world = World::new(BudgetSettings { reservation: ReservationMode::WorstCase, ..BudgetSettings::default() });
    let mut running: Vec<(Reservation, usize, Usd)> = Vec::new();
    let mut settled = Usd::ZERO;
    for deed in deeds {
        let now = world.time.now();
        match deed {
            Deed::Reserve { plan, cents } => {
                let amount = Usd::from_nanos(cents * 10_000_000);
                match world.budgets.reserve(&plan_of(plan, &caps), amount, now).await {
                    Ok(reservation) => running.push((reservation, plan, amount)),
                    Err(ReserveError::Denied(denied)) => prop_assert!(denied.first.requested > Usd::ZERO),
                    Err(ReserveError::Unavailable) => prop_assert!(false, "nothing is away"),
                }
            }
            Deed::Settle { which, percent } if !running.is_empty() => {
                let (reservation, plan, amount) = running.swap_remove(which % running.len());
                let cost = Usd::from_nanos(amount.nanos() / 100 * percent);
                world.settle(&reservation, &plan_of(plan, &caps), cost);
                settled += cost;
            }
            Deed::Drop { which } if !running.is_empty() => {
                drop(running.swap_remove(which % running.len()));
            }
            Deed::Move { which, plan, cents } if !running.is_empty() => {
                let at = which % running.len();
                let amount = Usd::from_nanos(cents * 10_000_000);
                let (reservation, old_plan, old_amount) = &mut running[at];
                let before = [Axis::Key, Axis::User, Axis::Provider].map(|axis| reservation.reserved(axis));
                if reservation.move_to(&plan_of(plan, &caps), amount, now).await.is_ok() {
                    (*old_plan, *old_amount) = (plan, amount);
                } else {
                    let after = [Axis::Key, Axis::User, Axis::Provider].map(|axis| reservation.reserved(axis));
                    prop_assert_eq!(before, after);
                }
            }
            Deed::Pass { ms } => world.pass(ms).await,
            Deed::Write => world.ledger.write_all(),
            Deed::Settle { .. } | Deed::Drop { .. } | Deed::Move { .. } => {}
        }
    }
    drop(running);
    world.pass(15_000).await;
    for axis in [Axis::Key, Axis::User, Axis::Provider] {
        let rows = world.ledger.rows.lock();
        let charged: Usd = rows.iter().filter(|row| row.budget.axis == axis).map(|row| row.amount).sum();
        prop_assert_eq!(charged, settled, "{:?}", axis);
    }
    for (budget, policy) in &caps {
        let view = world.budgets.state(*budget, policy, world.time.now()).await.unwrap();
        prop_assert_eq!(view.windows[0].used, world.ledger.spent(*budget), "{:?}", budget);
        prop_assert!(view.windows[0].used <= view.windows[0].cap, "{:?}", view);
        prop_assert_eq!(view.windows[0].reserved, Usd::ZERO);
    }
    world.pass(15_000).await;
    for (budget, _) in &caps {
        prop_assert_eq!(world.held(*budget), Usd::ZERO, "{:?}", budget);
    }
    prop_assert_eq!(world.budgets.stats().outstanding(), Usd::ZERO);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_dollar_is_charged_once_per_axis_and_nothing_stays_held(
        deeds in prop::collection::vec(deed(), 1..80),
        cents in prop::collection::vec(prop::option::weighted(0.7, 20..1_000_i64), 10),
    ) {
        let caps = budgets().into_iter().zip(cents).filter_map(|(budget, cents)| {
            Some((budget, only(Window::Total, Usd::from_nanos(cents? * 10_000_000))))
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(play(deeds, caps.collect()))?;
    }
}
