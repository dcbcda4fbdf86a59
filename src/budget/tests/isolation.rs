//! Random traffic, limits, failovers, aborts and restarts: every settled dollar is counted once per axis.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::world::*;
use crate::budget::{BudgetSettings, Plan, Reservation};
use crate::config::ReservationMode;
use crate::limit::{Axis, BudgetId, Policy, Window};
use crate::money::Usd;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Act {
    Reserve { owner: i64, group: Option<i64>, cents: i64 },
    Raise { which: usize, cents: i64 },
    Move { which: usize, group: Option<i64>, cents: i64 },
    Settle { which: usize, cents: i64 },
    Abort { which: usize },
    Pass { ms: i64 },
    Edit { group: i64, cents: i64 },
    Write,
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let group = || prop_oneof![Just(None), (1..3_i64).prop_map(Some)];
    let cents = || 0..60_i64;
    let act = prop_oneof![
        6 => (1..3_i64, group(), cents()).prop_map(|(owner, group, cents)| Act::Reserve { owner, group, cents }),
        1 => (0..8_usize, cents()).prop_map(|(which, cents)| Act::Raise { which, cents }),
        2 => (0..8_usize, group(), cents()).prop_map(|(which, group, cents)| Act::Move { which, group, cents }),
        5 => (0..8_usize, cents()).prop_map(|(which, cents)| Act::Settle { which, cents }),
        1 => (0..8_usize).prop_map(|which| Act::Abort { which }),
        2 => (1..20_000_i64).prop_map(|ms| Act::Pass { ms }),
        1 => (1..3_i64, 1..400_i64).prop_map(|(group, cents)| Act::Edit { group, cents }),
        1 => Just(Act::Write),
        1 => Just(Act::Restart),
    ];
    prop::collection::vec(act, 1..60)
}

fn dollars(cents: i64) -> Usd {
    Usd::from_nanos(cents * 10_000_000)
}

/// Who has which caps.
struct Limits {
    groups: HashMap<i64, Arc<Policy>>,
    mainline: Arc<Policy>,
    version: i64,
}

impl Limits {
    fn new() -> Self {
        let groups = [(1, only(Window::Daily, usd("2"))), (2, only(Window::Total, usd("3")))];
        Self { groups: groups.into_iter().collect(), mainline: only(Window::Weekly, usd("5")), version: 1 }
    }

    /// Keys have no mainline cap; the second group has none for keys.
    fn plan(&self, owner: i64, model_group: Option<i64>) -> Plan {
        let mut plan = uncapped();
        plan.key.mainline.0 = key(owner);
        plan.user.mainline = (user(owner), Some(Arc::clone(&self.mainline)));
        if let Some(id) = model_group {
            let policy = &self.groups[&id];
            plan.user.group = Some((group(Axis::User, owner, id), Arc::clone(policy)));
            if id == 1 {
                plan.key.group = Some((group(Axis::Key, owner, id), Arc::clone(policy)));
            }
        }
        plan.provider.1 = Some(only(Window::Monthly, usd("40")));
        plan
    }

    fn edit(&mut self, group: i64, cap: Usd) {
        self.version += 1;
        let policy = edited(&self.groups[&group], self.version, |policy| {
            policy.windows[0].base = cap;
            policy.windows[0].caps[0].cap = cap;
        });
        self.groups.insert(group, policy);
    }

    fn budgets(&self) -> Vec<(BudgetId, Arc<Policy>)> {
        let owners = [1, 2];
        let mut all = vec![(provider(1), only(Window::Monthly, usd("40")))];
        for owner in owners {
            all.push((user(owner), Arc::clone(&self.mainline)));
            all.push((group(Axis::Key, owner, 1), Arc::clone(&self.groups[&1])));
            for id in [1, 2] {
                all.push((group(Axis::User, owner, id), Arc::clone(&self.groups[&id])));
            }
        }
        all
    }
}

async fn play(acts: Vec<Act>, mode: ReservationMode) -> Result<(), TestCaseError> {
    let settings = BudgetSettings { reservation: mode, ..BudgetSettings::default() };
    let mut world = World::new(settings.clone());
    let mut limits = Limits::new();
    let mut running: Vec<(Reservation, Plan, Usd)> = Vec::new();
    let mut settled = Usd::ZERO;
    for act in acts {
        let now = world.time.now();
        let pick = |which: usize, running: &Vec<_>| (!running.is_empty()).then(|| which % running.len());
        match act {
            Act::Reserve { owner, group, cents } => {
                let plan = limits.plan(owner, group);
                if let Ok(reservation) = world.budgets.reserve(&plan, dollars(cents), now).await {
                    prop_assert_eq!(reservation.counted_globally(Axis::User), group.is_none());
                    prop_assert_eq!(reservation.counted_globally(Axis::Key), group != Some(1));
                    running.push((reservation, plan, dollars(cents)));
                }
            }
            Act::Raise { which, cents } => {
                if let Some(at) = pick(which, &running) {
                    running[at].0.raise_to(dollars(cents));
                    running[at].2 = running[at].2.max(dollars(cents));
                }
            }
            Act::Move { which, group, cents } => {
                if let Some(at) = pick(which, &running) {
                    let (reservation, plan, amount) = &mut running[at];
                    let next = limits.plan(plan.user.mainline.0.owner, group);
                    if reservation.move_to(&next, dollars(cents), now).await.is_ok() {
                        (*plan, *amount) = (next, dollars(cents));
                    }
                }
            }
            Act::Settle { which, cents } => {
                if let Some(at) = pick(which, &running) {
                    let (reservation, plan, amount) = running.swap_remove(at);
                    let cost = match mode {
                        ReservationMode::WorstCase => dollars(cents).min(amount),
                        _ => dollars(cents),
                    };
                    world.settle(&reservation, &plan, cost);
                    settled += cost;
                }
            }
            Act::Abort { which } => {
                if let Some(at) = pick(which, &running) {
                    drop(running.swap_remove(at));
                }
            }
            Act::Pass { ms } => world.pass(ms).await,
            Act::Edit { group, cents } => limits.edit(group, dollars(cents)),
            Act::Write => world.ledger.write_all(),
            // What ran then is lost with the process, and so is what it had set aside.
            Act::Restart => {
                running.clear();
                world.restart(settings.clone());
            }
        }
        if mode == ReservationMode::WorstCase {
            // No caps of these are edited, and no estimate is too low.
            for owner in [1, 2] {
                prop_assert!(world.ledger.spent(user(owner)) <= usd("5"));
            }
        }
    }
    drop(running);
    world.pass(6_000).await;
    let mut by_axis = HashMap::<Axis, Usd>::new();
    for row in world.ledger.rows.lock().iter() {
        *by_axis.entry(row.budget.axis).or_default() += row.amount;
    }
    for axis in [Axis::Key, Axis::User, Axis::Provider] {
        prop_assert_eq!(by_axis.get(&axis).copied().unwrap_or_default(), settled, "{:?}", axis);
    }
    for (id, policy) in limits.budgets() {
        let view = world.budgets.state(id, &policy, world.time.now()).await.expect("known");
        prop_assert_eq!(view.windows[0].used, world.ledger.spent(id), "{:?}", id);
        prop_assert_eq!(view.windows[0].reserved, Usd::ZERO, "{:?}", id);
        prop_assert_eq!(world.held(id), Usd::ZERO, "{:?}", id);
    }
    prop_assert_eq!(world.budgets.stats().outstanding(), Usd::ZERO);
    Ok(())
}

fn block_on(mode: ReservationMode, acts: Vec<Act>) -> Result<(), TestCaseError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(play(acts, mode))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_settled_dollar_is_counted_once_per_axis_in_worst_case(acts in acts()) {
        block_on(ReservationMode::WorstCase, acts)?;
    }

    #[test]
    fn every_settled_dollar_is_counted_once_per_axis_when_estimates_are_wrong(acts in acts()) {
        block_on(ReservationMode::Expected, acts)?;
    }

    #[test]
    fn every_settled_dollar_is_counted_once_per_axis_without_reservations(acts in acts()) {
        block_on(ReservationMode::None, acts)?;
    }
}
