//! Random traffic, limits, boosts, resets, failovers, aborts and restarts: every settled dollar is counted once per axis,
//! in the mainline budget or in one model group's; and no cap is passed by requests that cost what they set aside.

mod limits;

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::world::*;
use crate::budget::{BudgetSettings, Lsn, Plan, Reservation, ReserveError, Settled};
use crate::config::ReservationMode;
use crate::limit::{Axis, BudgetId, Scope};
use crate::money::Usd;
use limits::{Limits, ROWS, Served};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Act {
    Reserve { owner: i64, model: i64, cents: i64 },
    Raise { which: usize, cents: i64 },
    Move { which: usize, model: i64, cents: i64 },
    Settle { which: usize, cents: i64 },
    Abort { which: usize },
    Pass { ms: i64 },
    Edit { row: usize, cents: i64 },
    Boost { owner: i64, group: i64, cents: i64, starts_in: i64, lasts: i64 },
    Reset { axis: Axis, owner: i64 },
    Write,
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let owner = || 1..3_i64;
    // Of no group, of the first, of the second.
    let model = || 0..3_i64;
    let cents = || 0..60_i64;
    let axis = prop_oneof![Just(Axis::Key), Just(Axis::User)];
    let boost = (owner(), 1..3_i64, 1..100_i64, -1_000..10_000_i64, 1..30_000_i64);
    let act = prop_oneof![
        12 => (owner(), model(), cents()).prop_map(|(owner, model, cents)| Act::Reserve { owner, model, cents }),
        1 => (0..8_usize, cents()).prop_map(|(which, cents)| Act::Raise { which, cents }),
        2 => (0..8_usize, model(), cents()).prop_map(|(which, model, cents)| Act::Move { which, model, cents }),
        10 => (0..8_usize, cents()).prop_map(|(which, cents)| Act::Settle { which, cents }),
        1 => (0..8_usize).prop_map(|which| Act::Abort { which }),
        2 => (1..20_000_i64).prop_map(|ms| Act::Pass { ms }),
        // A cap of nothing is none.
        1 => (0..ROWS, prop_oneof![Just(0), 1..200_i64]).prop_map(|(row, cents)| Act::Edit { row, cents }),
        1 => boost.prop_map(|(owner, group, cents, starts_in, lasts)| {
            Act::Boost { owner, group, cents, starts_in, lasts }
        }),
        1 => (axis, owner()).prop_map(|(axis, owner)| Act::Reset { axis, owner }),
        1 => Just(Act::Write),
        1 => Just(Act::Restart),
    ];
    prop::collection::vec(act, 1..60)
}

fn dollars(cents: i64) -> Usd {
    Usd::from_nanos(cents * 10_000_000)
}

/// A row of the ledger: what is known of a settled request without its plan.
struct Charged {
    lsn: Lsn,
    at: i64,
    owner: i64,
    model_group: Option<i64>,
    said: Settled,
    amount: Usd,
}

impl Charged {
    /// Which budget of an axis it is charged to, and in which era.
    fn to(&self, axis: Axis) -> (BudgetId, i64) {
        let (globally, era) = match axis {
            Axis::Key => (self.said.counted_in_key_global, self.said.key_era),
            Axis::User => (self.said.counted_in_user_global, self.said.user_era),
            Axis::Provider => return (provider(1), 0),
        };
        let scope = match self.model_group {
            _ if globally => Scope::Mainline,
            Some(group) => Scope::ModelGroup(group),
            None => panic!("neither counted globally nor in a group: {:?}", self.said),
        };
        (BudgetId { axis, owner: self.owner, scope }, era)
    }
}

/// An admitted request.
struct Running {
    reservation: Reservation,
    served: Served,
    amount: Usd,
}

/// Which budget of an axis a request of this plan is charged to.
fn payer(plan: &Plan, axis: Axis) -> BudgetId {
    let side = match axis {
        Axis::Key => &plan.key,
        Axis::User => &plan.user,
        Axis::Provider => return plan.provider.0,
    };
    side.group.as_ref().map_or(side.mainline.0, |(id, _)| *id)
}

struct Game {
    world: World,
    limits: Limits,
    running: Vec<Running>,
    rows: Vec<Charged>,
    mode: ReservationMode,
    denials: usize,
}

impl Game {
    fn settings(&self) -> BudgetSettings {
        BudgetSettings { reservation: self.mode, ..BudgetSettings::default() }
    }

    async fn play(&mut self, act: Act) -> Result<(), TestCaseError> {
        let now = self.world.time.now();
        let pick = |which: usize, running: &Vec<_>| (!running.is_empty()).then(|| which % running.len());
        match act {
            Act::Reserve { owner, model, cents } => {
                let served = self.limits.serve(owner, model);
                match self.world.budgets.reserve(&served.plan, dollars(cents), now).await {
                    Ok(reservation) => self.running.push(Running { reservation, served, amount: dollars(cents) }),
                    Err(refused) => self.was_refused(&refused)?,
                }
            }
            Act::Raise { which, cents } => {
                if let Some(at) = pick(which, &self.running) {
                    let running = &mut self.running[at];
                    // More than was set aside may pass a cap, and is never the case when that was the most.
                    let cost = match self.mode {
                        ReservationMode::WorstCase => dollars(cents).min(running.amount),
                        _ => dollars(cents),
                    };
                    running.reservation.raise_to(cost);
                    running.amount = running.amount.max(cost);
                }
            }
            Act::Move { which, model, cents } => {
                if let Some(at) = pick(which, &self.running) {
                    let running = &mut self.running[at];
                    let next = self.limits.serve(running.served.owner, model);
                    match running.reservation.move_to(&next.plan, dollars(cents), now).await {
                        Ok(()) => (running.served, running.amount) = (next, dollars(cents)),
                        Err(refused) => self.was_refused(&refused)?,
                    }
                }
            }
            Act::Settle { which, cents } => {
                if let Some(at) = pick(which, &self.running) {
                    self.settle(at, dollars(cents))?;
                }
            }
            Act::Abort { which } => {
                if let Some(at) = pick(which, &self.running) {
                    drop(self.running.swap_remove(at));
                }
            }
            Act::Pass { ms } => self.world.pass(ms).await,
            Act::Edit { row, cents } => self.limits.edit(row, dollars(cents)),
            Act::Boost { owner, group, cents, starts_in, lasts } => {
                self.limits.boost(owner, group, dollars(cents), now + starts_in, lasts);
            }
            Act::Reset { axis, owner } => {
                let era = self.limits.reset(axis, owner);
                self.world.budgets.owner_was_reset(axis, owner, era);
            }
            Act::Write => self.world.ledger.write_all(),
            // What ran then is lost with the process, and so is what it had set aside.
            Act::Restart => {
                self.running.clear();
                self.world.restart(self.settings());
            }
        }
        Ok(())
    }

    fn was_refused(&mut self, refused: &ReserveError) -> Result<(), TestCaseError> {
        prop_assert!(matches!(refused, ReserveError::Denied(_)), "{:?}", refused);
        self.denials += 1;
        Ok(())
    }

    fn settle(&mut self, at: usize, cost: Usd) -> Result<(), TestCaseError> {
        let Running { reservation, served, amount } = self.running.swap_remove(at);
        let amount = match self.mode {
            ReservationMode::WorstCase => cost.min(amount),
            _ => cost,
        };
        let (lsn, now) = (self.world.ledger.number(), self.world.time.now());
        let said = reservation.settle(lsn, now, amount);
        prop_assert_eq!(said.counted_in_key_global, served.plan.key.group.is_none());
        prop_assert_eq!(said.counted_in_user_global, served.plan.user.group.is_none());
        let row = Charged { lsn, at: now, owner: served.owner, model_group: served.model_group, said, amount };
        for axis in [Axis::Key, Axis::User, Axis::Provider] {
            let (budget, era) = row.to(axis);
            self.world.ledger.add(Row { lsn: row.lsn, budget, at: row.at, era, amount });
        }
        self.rows.push(row);
        Ok(())
    }

    /// What the rows say that was charged to a budget from an era on.
    fn spent(&self, budget: BudgetId, since_era: i64) -> Usd {
        let to = |row: &&Charged| {
            let (charged, era) = row.to(budget.axis);
            charged == budget && era >= since_era
        };
        self.rows.iter().filter(to).map(|row| row.amount).sum()
    }

    /// What was charged to a budget and what running requests may still be charged.
    fn exposed(&self, budget: BudgetId) -> Usd {
        let pays = |running: &&Running| payer(&running.served.plan, budget.axis) == budget;
        let running: Usd = self.running.iter().filter(pays).map(|running| running.amount).sum();
        self.spent(budget, self.limits.era(budget.axis, budget.owner)) + running
    }

    /// No cap is passed, but those that somebody has changed: one that was lowered may have been passed before.
    fn check_caps(&self) -> Result<(), TestCaseError> {
        for (id, policy) in self.limits.budgets().into_iter().filter(|(id, _)| !self.limits.was_changed(*id)) {
            let exposed = self.exposed(id);
            for window in &policy.windows {
                prop_assert!(exposed <= window.base, "{:?} {}: {} of {}", id, window.window, exposed, window.base);
            }
        }
        Ok(())
    }

    /// Nothing runs any more: what is counted, in every budget that can have been charged, is what the rows say.
    async fn check(&mut self) -> Result<(), TestCaseError> {
        self.running.clear();
        self.world.pass(6_000).await;
        let capped = self.limits.budgets();
        self.compare(&capped).await?;
        // From here on all have a cap, and what was charged to those that had none is known as well.
        self.limits.cap_everything();
        let all = self.limits.budgets();
        prop_assert_eq!(all.len(), 1 + 2 * 2 * 3);
        let counted = self.compare(&all).await?;
        for axis in [Axis::Key, Axis::User, Axis::Provider] {
            let current = self.rows.iter().filter(|row| row.to(axis).1 >= self.limits.era(axis, row.owner));
            let settled: Usd = current.map(|row| row.amount).sum();
            let counted: Usd = counted.iter().filter(|(id, _)| id.axis == axis).map(|(_, used)| *used).sum();
            prop_assert_eq!(counted, settled, "{:?}", axis);
        }
        prop_assert_eq!(self.world.budgets.stats().outstanding(), Usd::ZERO);
        Ok(())
    }

    async fn compare(&self, budgets: &[limits::Capped]) -> Result<Vec<(BudgetId, Usd)>, TestCaseError> {
        let mut counted = Vec::new();
        for (id, policy) in budgets {
            let view = self.world.budgets.state(*id, policy, self.world.time.now()).await.expect("known");
            let expected = self.spent(*id, self.limits.era(id.axis, id.owner));
            for window in &view.windows {
                prop_assert_eq!(window.used, expected, "{:?} {}", id, window.window);
                prop_assert_eq!(window.reserved, Usd::ZERO, "{:?}", id);
            }
            prop_assert_eq!(self.world.held(*id), Usd::ZERO, "{:?}", id);
            counted.push((*id, expected));
        }
        Ok(counted)
    }
}

async fn play(acts: Vec<Act>, mode: ReservationMode) -> Result<usize, TestCaseError> {
    let settings = BudgetSettings { reservation: mode, ..BudgetSettings::default() };
    let (world, limits) = (World::new(settings), Limits::new());
    let mut game = Game { world, limits, running: Vec::new(), rows: Vec::new(), mode, denials: 0 };
    for act in acts {
        game.play(act).await?;
        if mode == ReservationMode::WorstCase {
            game.check_caps()?;
        }
    }
    game.check().await?;
    Ok(game.denials)
}

const CASES: u32 = 256;

/// Plays many games. Caps that never refuse anybody would prove nothing.
fn play_many(mode: ReservationMode) {
    let config = ProptestConfig { cases: CASES, ..ProptestConfig::with_source_file(file!()) };
    let denials = Cell::new(0);
    let played = TestRunner::new(config).run(&acts(), |acts| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        denials.set(denials.get() + runtime.expect("a runtime").block_on(play(acts, mode))?);
        Ok(())
    });
    played.unwrap_or_else(|failed| panic!("{failed}"));
    let denials = denials.get();
    assert!(denials > CASES as usize, "{mode:?}: {denials} denials in {CASES} games: the caps are too high");
}

#[test]
fn every_settled_dollar_is_counted_once_per_axis_and_no_cap_is_passed_in_worst_case() {
    play_many(ReservationMode::WorstCase);
}

#[test]
fn every_settled_dollar_is_counted_once_per_axis_when_estimates_are_wrong() {
    play_many(ReservationMode::Expected);
}

#[test]
fn every_settled_dollar_is_counted_once_per_axis_without_reservations() {
    play_many(ReservationMode::None);
}
