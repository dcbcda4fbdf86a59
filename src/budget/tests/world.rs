//! A node with a pretend ledger and a clock that only moves when told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::budget::account::MINUTE;
use crate::budget::{
    AxisPlan, BudgetSettings, Budgets, Clock, Denial, Incarnation, Lsn, MemoryAuthority, Plan, Reservation,
    ReserveError, Seed, SeedError, SeedQuery, Seeds, WindowSeed,
};
use crate::config::ReservationMode;
use crate::limit::{Axis, BudgetId, CapStep, CountKind, Mode, Policy, Scope, Source, Window, WindowPolicy};
use crate::money::Usd;

/// Wednesday 15 October 2025, 10:00:30 UTC.
pub const NOON: i64 = 1_760_522_430_000;
pub const NODE: Incarnation = 7;

/// A time that only moves when told to.
#[derive(Clone, Default)]
pub struct Time(Arc<AtomicI64>);

impl Time {
    pub fn at(now: i64) -> Self {
        Self(Arc::new(AtomicI64::new(now)))
    }

    pub fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    pub fn pass(&self, ms: i64) -> i64 {
        self.0.fetch_add(ms, Ordering::SeqCst) + ms
    }

    pub fn clock(&self) -> Clock {
        let time = self.clone();
        Arc::new(move || time.now())
    }

    /// The same by a clock that may be behind, and go back.
    pub fn clock_behind(&self, behind: &Arc<AtomicI64>) -> Clock {
        let (time, behind) = (self.clone(), Arc::clone(behind));
        Arc::new(move || time.now() - behind.load(Ordering::SeqCst))
    }
}

/// One charge of a budget.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub lsn: Lsn,
    pub budget: BudgetId,
    pub at: i64,
    pub era: i64,
    pub amount: Usd,
}

/// The ledger as budgets see it: rows in a journal, and up to where they are in the database.
#[derive(Default)]
pub struct PretendLedger {
    pub rows: Mutex<Vec<Row>>,
    given_out: AtomicI64,
    written: AtomicI64,
    pub starts: Mutex<Vec<(BudgetId, i64)>>,
    pub away: AtomicBool,
    /// How many nodes write to it beside the first.
    pub others: AtomicI64,
    /// The next look at the journal panics.
    pub panics: AtomicBool,
    time: Time,
}

impl PretendLedger {
    pub fn new(time: &Time) -> Arc<Self> {
        Arc::new(Self { time: time.clone(), ..Self::default() })
    }

    /// The next place in the journal.
    pub fn number(&self) -> Lsn {
        self.given_out.fetch_add(1, Ordering::SeqCst).cast_unsigned() + 1
    }

    /// Everything that was charged is in the database.
    pub fn write_all(&self) {
        self.written.store(self.given_out.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    pub fn add(&self, row: Row) {
        self.rows.lock().push(row);
    }

    /// A charge of an earlier life: in the database since long.
    pub fn had_before(&self, budget: BudgetId, at: i64, amount: Usd) {
        self.add(Row { lsn: 0, budget, at, era: 0, amount });
    }

    pub fn spent(&self, budget: BudgetId) -> Usd {
        self.rows.lock().iter().filter(|row| row.budget == budget).map(|row| row.amount).sum()
    }
}

#[async_trait]
impl Seeds for PretendLedger {
    fn now_lsn(&self) -> Lsn {
        assert!(!self.panics.swap(false, Ordering::SeqCst), "as the test wants");
        self.given_out.load(Ordering::SeqCst).cast_unsigned()
    }

    fn written_lsn(&self) -> Lsn {
        self.written.load(Ordering::SeqCst).cast_unsigned()
    }

    async fn barrier(&self, lsn: Lsn) -> Result<(), SeedError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(SeedError("away".into()));
        }
        self.written.fetch_max(lsn.cast_signed(), Ordering::SeqCst);
        Ok(())
    }

    async fn seed(&self, query: &SeedQuery) -> Result<Seed, SeedError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(SeedError("away".into()));
        }
        let mark = self.written_lsn();
        let rows = self.rows.lock();
        let start = self.starts.lock().iter().filter(|(id, _)| *id == query.budget).map(|(_, start)| *start).max();
        Ok(Seed {
            query_started: self.time.now(),
            windows: query.windows.iter().map(|window| sum(&rows, query.budget, window, mark)).collect(),
            first_charge_start: start,
            marks: (0..=self.others.load(Ordering::SeqCst)).map(|at| (NODE + at, mark)).collect(),
        })
    }

    fn first_charge_started(&self, budget: BudgetId, start: i64) {
        self.starts.lock().push((budget, start));
    }
}

/// What the ledger's roll-up says about a window, from the rows up to a mark.
pub fn sum(rows: &[Row], budget: BudgetId, window: &crate::budget::WindowQuery, mark: Lsn) -> WindowSeed {
    let mut minutes = std::collections::BTreeMap::<i64, Usd>::new();
    for row in rows.iter().filter(|row| row.budget == budget && row.lsn <= mark && row.era >= window.since_era) {
        let minute = row.at.div_euclid(MINUTE) * MINUTE;
        if minute >= window.from {
            *minutes.entry(minute).or_default() += row.amount;
        }
    }
    WindowSeed {
        window: window.window,
        sum: minutes.values().sum(),
        minutes: if window.by_minute { minutes.into_iter().collect() } else { Vec::new() },
    }
}

/// A node.
pub struct World {
    pub time: Time,
    pub ledger: Arc<PretendLedger>,
    pub authority: Arc<MemoryAuthority>,
    pub budgets: Arc<Budgets>,
}

impl World {
    pub fn new(settings: BudgetSettings) -> Self {
        let time = Time::at(NOON);
        let ledger = PretendLedger::new(&time);
        let authority = Arc::new(MemoryAuthority::new(time.clock(), 30_000));
        let budgets = Budgets::new(
            NODE,
            Arc::<MemoryAuthority>::clone(&authority),
            Arc::<PretendLedger>::clone(&ledger),
            settings,
            time.clock(),
        );
        Self { time, ledger, authority, budgets }
    }

    /// The node's memory is empty again, and so is the authority's; the ledger stays.
    pub fn restart(&mut self, settings: BudgetSettings) {
        self.ledger.write_all();
        self.authority = Arc::new(MemoryAuthority::new(self.time.clock(), 30_000));
        self.budgets = Budgets::new(
            NODE,
            Arc::<MemoryAuthority>::clone(&self.authority),
            Arc::<PretendLedger>::clone(&self.ledger),
            settings,
            self.time.clock(),
        );
    }

    /// Settles a request of this plan, in the ledger as well.
    pub fn settle(&self, reservation: &Reservation, plan: &Plan, cost: Usd) {
        let (lsn, at) = (self.ledger.number(), self.time.now());
        let settled = reservation.settle(lsn, at, cost);
        let axes = [
            (&plan.key, settled.counted_in_key_global, settled.key_era),
            (&plan.user, settled.counted_in_user_global, settled.user_era),
        ];
        for (axis, global, era) in axes {
            let id = match &axis.group {
                Some((id, _)) if !global => *id,
                _ => axis.mainline.0,
            };
            self.ledger.add(Row { lsn, budget: id, at, era, amount: cost });
        }
        self.ledger.add(Row { lsn, budget: plan.provider.0, at, era: 0, amount: cost });
    }

    /// So much time passes, and the node does what is due.
    pub async fn pass(&self, ms: i64) {
        let end = self.time.now() + ms;
        while self.time.now() < end {
            let step = (end - self.time.now()).min(500);
            let now = self.time.pass(step);
            self.budgets.tick(now).await;
        }
    }

    /// What is held by anybody.
    pub fn held(&self, budget: BudgetId) -> Usd {
        let audit = self.authority.audit_now(budget);
        audit.map_or(Usd::ZERO, |audit| audit.holders.iter().map(|held| held.reserved + held.kept + held.pending).sum())
    }
}

pub fn usd(text: &str) -> Usd {
    text.parse().expect("an amount")
}

pub fn user(owner: i64) -> BudgetId {
    BudgetId { axis: Axis::User, owner, scope: Scope::Mainline }
}

pub fn key(owner: i64) -> BudgetId {
    BudgetId { axis: Axis::Key, owner, scope: Scope::Mainline }
}

pub fn provider(owner: i64) -> BudgetId {
    BudgetId { axis: Axis::Provider, owner, scope: Scope::Mainline }
}

pub fn group(axis: Axis, owner: i64, group: i64) -> BudgetId {
    BudgetId { axis, owner, scope: Scope::ModelGroup(group) }
}

/// A limit on a user's requests.
pub fn count_of_user(owner: i64, kind: CountKind) -> BudgetId {
    BudgetId { axis: Axis::User, owner, scope: Scope::Count(kind) }
}

/// So many requests at most.
pub fn count_policy(kind: CountKind, version: i64, limit: u32) -> Arc<Policy> {
    let window = match kind {
        CountKind::Rpm => Window::Minute,
        CountKind::Concurrency => Window::AtOnce,
    };
    policy(version, vec![cap(window, mode(window), Usd::from_nanos(limit.into()))])
}

/// How each window usually starts anew.
pub fn mode(window: Window) -> Mode {
    match window {
        Window::Total | Window::AtOnce => Mode::Forever,
        Window::FiveHours | Window::Minute => Mode::Rolling,
        _ => Mode::Calendar { at: 0 },
    }
}

pub fn cap(window: Window, mode: Mode, cap: Usd) -> WindowPolicy {
    WindowPolicy {
        window,
        mode,
        base: cap,
        caps: vec![CapStep { from: i64::MIN, cap }],
        source: Source::User(1),
        since_era: 0,
    }
}

pub fn policy(version: i64, windows: Vec<WindowPolicy>) -> Arc<Policy> {
    Arc::new(Policy { version, era: 0, windows })
}

pub fn only(window: Window, usd: Usd) -> Arc<Policy> {
    policy(1, vec![cap(window, mode(window), usd)])
}

/// A request of user 1, key 1 and provider 1, nothing of which has a cap.
pub fn uncapped() -> Plan {
    let axis = |id| AxisPlan { era: 0, group: None, mainline: (id, None) };
    Plan { key: axis(key(1)), user: axis(user(1)), provider: (provider(1), None) }
}

/// The same with a cap on the user.
pub fn user_capped(policy: &Arc<Policy>) -> Plan {
    let mut plan = uncapped();
    plan.user.mainline.1 = Some(Arc::clone(policy));
    plan
}

impl World {
    /// So much time passes at once, and the node does what is due.
    pub async fn jump(&self, ms: i64) -> i64 {
        let now = self.time.pass(ms);
        self.ledger.write_all();
        for _ in 0..3 {
            self.budgets.tick(now).await;
        }
        now
    }

    /// A request that is admitted and costs what it set aside.
    pub async fn spend(&self, plan: &Plan, amount: Usd) -> Result<(), ReserveError> {
        let reservation = self.budgets.reserve(plan, amount, self.time.now()).await?;
        self.settle(&reservation, plan, amount);
        Ok(())
    }

    /// The refusal of a request that is to be refused.
    pub async fn denial(&self, plan: &Plan, amount: Usd) -> Denial {
        match self.budgets.reserve(plan, amount, self.time.now()).await {
            Err(ReserveError::Denied(denied)) => denied.first,
            other => panic!("not refused: {other:?}"),
        }
    }
}

/// Every request sets aside the most that it can cost.
pub fn worst_case() -> BudgetSettings {
    BudgetSettings { reservation: ReservationMode::WorstCase, ..BudgetSettings::default() }
}

/// The instant of this RFC 3339 text.
pub fn instant(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().expect("an instant").as_millisecond()
}

/// The same caps, as later edits left them.
pub fn edited(policy: &Policy, version: i64, edit: impl FnOnce(&mut Policy)) -> Arc<Policy> {
    let mut policy = Policy { version, ..policy.clone() };
    edit(&mut policy);
    Arc::new(policy)
}
