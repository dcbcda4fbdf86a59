//! What nodes do while the authority cannot be asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::world::*;
use crate::budget::{
    Answer, Audit, Authority, AuthorityError, BudgetSettings, Budgets, Counts, Event, Incarnation, MemoryAuthority,
    Plan, ReserveError, SeedStatement, Seeded, Statement,
};
use crate::config::{OnAuthorityFailure, ReservationMode};
use crate::limit::{Axis, BudgetId, CountKind, CountLimits, CountSubject, Policy, Window};
use crate::money::Usd;

/// An authority that goes away, comes back, and answers too late as often as it is told to.
struct Fickle {
    memory: MemoryAuthority,
    away: AtomicBool,
    /// So many answers come too late, though it has heard.
    late: AtomicUsize,
    /// What is kept of this owner's budgets makes no sense.
    garbled: AtomicI64,
    exchanges: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

#[async_trait]
impl Authority for Fickle {
    async fn exchange(&self, budget: BudgetId, statement: &Statement) -> Result<Answer, AuthorityError> {
        self.exchanges.fetch_add(1, Ordering::SeqCst);
        if self.is_away(budget) {
            return Err(AuthorityError::Away("refused".to_owned()));
        }
        if budget.owner == self.garbled.load(Ordering::SeqCst) {
            return Err(AuthorityError::Garbled("a number".to_owned()));
        }
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        let answer = self.memory.exchange_now(budget, statement);
        let late = self.late.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |late| late.checked_sub(1));
        if late.is_ok() { Err(AuthorityError::Late) } else { Ok(answer) }
    }

    async fn seed(&self, budget: BudgetId, seed: &SeedStatement) -> Result<Seeded, AuthorityError> {
        Ok(self.memory.seed_now(budget, seed))
    }

    async fn close(&self, inc: Incarnation, budgets: &[BudgetId]) -> Result<(), AuthorityError> {
        self.memory.close_now(inc, budgets);
        Ok(())
    }

    fn is_away(&self, _: BudgetId) -> bool {
        self.away.load(Ordering::SeqCst)
    }

    async fn audit(&self, budget: BudgetId) -> Result<Option<Audit>, AuthorityError> {
        Ok(self.memory.audit_now(budget))
    }
}

/// Nodes, the ledger that all of them write to and can ask, and the authority between them.
struct Fleet {
    time: Time,
    ledger: Arc<PretendLedger>,
    authority: Arc<Fickle>,
    nodes: Vec<Arc<Budgets>>,
}

impl Fleet {
    fn new(nodes: usize, settings: &BudgetSettings) -> Self {
        let time = Time::at(NOON);
        let ledger = PretendLedger::new(&time);
        ledger.others.store(i64::try_from(nodes).unwrap() - 1, Ordering::SeqCst);
        let authority = Arc::new(Fickle {
            memory: MemoryAuthority::new(time.clock(), 0),
            away: AtomicBool::new(false),
            late: AtomicUsize::new(0),
            garbled: AtomicI64::new(0),
            exchanges: AtomicUsize::new(0),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        });
        let node = |at: usize| {
            let (authority, ledger) = (Arc::<Fickle>::clone(&authority), Arc::<PretendLedger>::clone(&ledger));
            let inc = NODE + Incarnation::try_from(at).unwrap();
            let budgets = Budgets::new(inc, authority, ledger, settings.clone(), time.clock());
            budgets.set_nodes(nodes);
            budgets
        };
        let nodes = (0..nodes).map(node).collect();
        Self { time, ledger, authority, nodes }
    }

    fn one(settings: &BudgetSettings) -> Self {
        Self::new(1, settings)
    }

    fn goes_away(&self) {
        self.authority.away.store(true, Ordering::SeqCst);
    }

    fn comes_back(&self) {
        self.authority.away.store(false, Ordering::SeqCst);
    }

    fn ledger_is(&self, away: bool) {
        self.ledger.away.store(away, Ordering::SeqCst);
    }

    /// A request that is admitted by a node, and costs what it set aside.
    async fn spend(&self, node: usize, plan: &Plan, amount: Usd) -> Result<(), ReserveError> {
        let reservation = self.nodes[node].reserve(plan, amount, self.time.now()).await?;
        let (lsn, at) = (self.ledger.number(), self.time.now());
        reservation.settle(lsn, at, amount);
        for budget in [plan.key.mainline.0, plan.user.mainline.0, plan.provider.0] {
            self.ledger.add(Row { lsn, budget, at, era: 0, amount });
        }
        Ok(())
    }

    async fn denied(&self, node: usize, plan: &Plan, amount: Usd) -> crate::budget::Denial {
        match self.nodes[node].reserve(plan, amount, self.time.now()).await {
            Err(ReserveError::Denied(denied)) => denied.first,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Time passes, and the nodes do what is due.
    async fn pass(&self, ms: i64) {
        let end = self.time.now() + ms;
        while self.time.now() < end {
            let now = self.time.pass(100.min(end - self.time.now()));
            for node in &self.nodes {
                node.tick(now).await;
            }
        }
    }

    fn violations(&self) -> u64 {
        self.nodes.iter().map(|node| node.stats().unenforced_violations()).sum()
    }
}

fn open() -> BudgetSettings {
    BudgetSettings { on_failure: OnAuthorityFailure::Open, ..worst_case() }
}

fn closed() -> BudgetSettings {
    BudgetSettings { on_failure: OnAuthorityFailure::Closed, ..worst_case() }
}

fn daily(cap: &str) -> Arc<Policy> {
    only(Window::Daily, usd(cap))
}

/// Whatever was done, nobody waited: time is paused, and would have gone on.
async fn at_once<T>(work: impl Future<Output = T>) -> T {
    let began = tokio::time::Instant::now();
    let done = work.await;
    assert_eq!(began.elapsed(), Duration::ZERO, "somebody waited");
    done
}

#[tokio::test]
async fn one_late_answer_is_asked_for_again_and_counts_once() {
    let fleet = Fleet::one(&closed());
    let plan = user_capped(&daily("1"));
    fleet.spend(0, &plan, usd("0.1")).await.unwrap();
    fleet.authority.late.store(1, Ordering::SeqCst);
    fleet.spend(0, &plan, usd("0.9")).await.unwrap();
    fleet.pass(3_000).await;
    let audit = fleet.authority.memory.audit_now(user(1)).unwrap();
    assert_eq!(audit.windows[0].spent, usd("1"));
    assert!(audit.holders.iter().all(|held| held.reserved + held.kept == Usd::ZERO), "{audit:?}");
}

#[tokio::test]
async fn what_may_have_been_told_is_said_again_within_a_second() {
    let settings = closed();
    let slow = crate::budget::LeaseSettings { idle_return: 60_000, life: 60_000, ..settings.lease };
    let fleet = Fleet::one(&BudgetSettings { lease: slow, ..settings });
    let plan = user_capped(&daily("1"));
    fleet.spend(0, &plan, usd("0.1")).await.unwrap();
    fleet.authority.late.store(2, Ordering::SeqCst);
    fleet.nodes[0].policies_changed(&[user(1)]);
    fleet.nodes[0].tick(fleet.time.now()).await;
    assert_eq!(fleet.authority.late.load(Ordering::SeqCst), 0, "tried twice");
    let before = fleet.authority.exchanges.load(Ordering::SeqCst);
    fleet.pass(1_100).await;
    assert!(fleet.authority.exchanges.load(Ordering::SeqCst) > before);
}

#[tokio::test(start_paused = true)]
async fn leases_in_hand_are_spent_first_and_then_closed_refuses_at_once() {
    let fleet = Fleet::one(&closed());
    let plan = user_capped(&daily("100"));
    // A lease of 5.
    fleet.spend(0, &plan, usd("1")).await.unwrap();
    fleet.goes_away();
    for _ in 0..4 {
        at_once(fleet.spend(0, &plan, usd("1"))).await.unwrap();
    }
    let exchanges = fleet.authority.exchanges.load(Ordering::SeqCst);
    for _ in 0..100 {
        assert_eq!(at_once(fleet.spend(0, &plan, usd("1"))).await, Err(ReserveError::Unavailable));
    }
    assert_eq!(fleet.authority.exchanges.load(Ordering::SeqCst), exchanges, "nobody is asked");
    at_once(fleet.spend(0, &uncapped(), usd("1"))).await.expect("whoever has no budget passes");
    assert_eq!(fleet.violations(), 0);
}

#[tokio::test(start_paused = true)]
async fn closed_says_unavailable_though_the_last_answer_was_a_refusal() {
    let fleet = Fleet::one(&closed());
    let plan = user_capped(&daily("1"));
    fleet.denied(0, &plan, usd("2")).await;
    fleet.goes_away();
    assert_eq!(at_once(fleet.spend(0, &plan, usd("2"))).await, Err(ReserveError::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn open_goes_on_from_what_the_authority_said_last_when_the_ledger_cannot_be_asked() {
    let fleet = Fleet::one(&open());
    let plan = user_capped(&daily("10"));
    fleet.spend(0, &plan, usd("4")).await.unwrap();
    fleet.goes_away();
    fleet.ledger_is(true);
    for _ in 0..6 {
        at_once(fleet.spend(0, &plan, usd("1"))).await.unwrap();
    }
    let denial = at_once(fleet.denied(0, &plan, usd("0.1"))).await;
    assert_eq!((denial.window, denial.used, denial.cap), (Window::Daily, usd("10"), usd("10")));
    assert_eq!((denial.source, denial.reserved), (plan_source(), Usd::ZERO));
    assert_eq!(denial.resets_at, Some(instant("2025-10-16T00:00:00Z")));
    assert_eq!(fleet.violations(), 0);
}

const fn plan_source() -> crate::limit::Source {
    crate::limit::Source::User(1)
}

#[tokio::test(start_paused = true)]
async fn open_goes_on_from_the_ledger_where_the_authority_was_never_asked() {
    let fleet = Fleet::one(&open());
    let plan = user_capped(&daily("10"));
    fleet.ledger.had_before(user(1), NOON - 60_000, usd("7"));
    fleet.goes_away();
    at_once(fleet.spend(0, &plan, usd("2"))).await.unwrap();
    let running = fleet.nodes[0].reserve(&plan, usd("1"), NOON).await.unwrap();
    let denial = at_once(fleet.denied(0, &plan, usd("0.1"))).await;
    assert_eq!((denial.used, denial.reserved), (usd("9"), usd("1")));
    drop(running);
    at_once(fleet.spend(0, &plan, usd("1"))).await.unwrap();
    let seen = fleet.nodes[0].state(user(1), plan.user.mainline.1.as_ref().unwrap(), NOON).await.unwrap();
    assert_eq!((seen.windows[0].used, seen.windows[0].remaining), (usd("10"), Usd::ZERO));
    let explained = fleet.nodes[0].explain(&plan, usd("0.1"), NOON).await;
    assert!(matches!(explained.verdict, Err(ReserveError::Denied(_))), "{explained:?}");
    assert_eq!(fleet.violations(), 0);
}

#[tokio::test(start_paused = true)]
async fn only_what_neither_says_anything_about_is_admitted_unchecked_and_counted() {
    let fleet = Fleet::one(&open());
    let plan = user_capped(&daily("1"));
    fleet.goes_away();
    fleet.ledger_is(true);
    for n in 1..=3 {
        at_once(fleet.spend(0, &plan, usd("2"))).await.unwrap();
        assert_eq!(fleet.violations(), n);
    }
    // As soon as the ledger can be asked again it is known.
    fleet.ledger_is(false);
    fleet.time.pass(1_000);
    assert_eq!(at_once(fleet.denied(0, &plan, usd("0.1"))).await.used, usd("6"));
    assert_eq!(fleet.violations(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_is_there_and_never_says_anything_does_not_let_anybody_pass_unchecked() {
    let fleet = Fleet::one(&open());
    let plan = user_capped(&daily("10"));
    fleet.ledger.had_before(user(1), NOON - 60_000, usd("9"));
    fleet.authority.late.store(usize::MAX, Ordering::SeqCst);
    fleet.spend(0, &plan, usd("1")).await.unwrap();
    let denial = fleet.denied(0, &plan, usd("0.1")).await;
    assert_eq!((denial.used, denial.cap), (usd("10"), usd("10")));
    assert_eq!(fleet.violations(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_the_authority_cannot_read_stops_no_other() {
    let fleet = Fleet::one(&closed());
    let plan_of = |owner: i64| {
        let mut plan = user_capped(&daily("10"));
        plan.user.mainline.0 = user(owner);
        plan
    };
    fleet.authority.garbled.store(7, Ordering::SeqCst);
    assert_eq!(fleet.spend(0, &plan_of(7), usd("1")).await, Err(ReserveError::Unavailable));
    at_once(fleet.spend(0, &plan_of(8), usd("1"))).await.expect("nothing is wrong with this one");
    // Whoever asks again at once is told at once.
    let exchanges = fleet.authority.exchanges.load(Ordering::SeqCst);
    assert_eq!(at_once(fleet.spend(0, &plan_of(7), usd("1"))).await, Err(ReserveError::Unavailable));
    assert_eq!(fleet.authority.exchanges.load(Ordering::SeqCst), exchanges);
    fleet.authority.garbled.store(0, Ordering::SeqCst);
    fleet.pass(300).await;
    fleet.spend(0, &plan_of(7), usd("1")).await.expect("it was put right");
}

#[tokio::test(start_paused = true)]
async fn nodes_that_are_each_alone_spend_together_no_more_than_the_cap() {
    // Whether the ledger shows what the others spend at once, late, or never; and from what each begins.
    for (written, known, ledger_away) in
        [(true, false, false), (false, false, false), (true, true, false), (false, true, true)]
    {
        let fleet = Fleet::new(3, &open());
        let plan = user_capped(&daily("30"));
        fleet.ledger.had_before(user(1), NOON - 60_000, usd("6"));
        if known {
            for node in 0..3 {
                fleet.spend(node, &plan, usd("0.1")).await.unwrap();
            }
            fleet.pass(200).await;
        }
        fleet.goes_away();
        fleet.ledger_is(ledger_away);
        let mut refused = [false; 3];
        for turn in 0..1_000 {
            let node = turn * 7 % 3;
            refused[node] = fleet.spend(node, &plan, usd("0.1")).await.is_err();
            if written {
                fleet.ledger.write_all();
            }
            fleet.time.pass(i64::try_from(turn % 4).unwrap() * 150);
        }
        let spent = fleet.ledger.spent(user(1));
        assert_eq!(refused, [true; 3]);
        // What others were granted since a node was last told is in its part too: a lease each at the most.
        let stale = if ledger_away { usd("1.5") } else { Usd::ZERO };
        assert!(spent <= usd("30") + stale, "{spent} written {written} known {known}");
        assert!(spent >= usd("21"), "each has its part: {spent} written {written} known {known}");
        assert_eq!(fleet.violations(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_that_ends_meanwhile_begins_anew() {
    for ledger_away in [false, true] {
        let fleet = Fleet::one(&open());
        let plan = user_capped(&daily("10"));
        fleet.spend(0, &plan, usd("9")).await.unwrap();
        fleet.goes_away();
        fleet.ledger_is(ledger_away);
        fleet.spend(0, &plan, usd("1")).await.unwrap();
        fleet.denied(0, &plan, usd("0.1")).await;
        fleet.ledger.write_all();
        fleet.time.pass(instant("2025-10-16T00:00:01Z") - NOON);
        fleet.spend(0, &plan, usd("10")).await.unwrap();
        let denial = fleet.denied(0, &plan, usd("0.1")).await;
        assert_eq!((denial.used, denial.resets_at), (usd("10"), Some(instant("2025-10-17T00:00:00Z"))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_groups_budget_neither_refuses_nor_bypasses() {
    let fleet = Fleet::one(&open());
    let mut plan = user_capped(&daily("1"));
    plan.user.group = Some((group(Axis::User, 1, 5), daily("50")));
    fleet.goes_away();
    let reservation = at_once(fleet.nodes[0].reserve(&plan, usd("1"), NOON)).await.unwrap();
    assert!(reservation.counted_globally(Axis::User));
    assert_eq!(at_once(fleet.denied(0, &plan, usd("0.1"))).await.budget, user(1));
}

#[tokio::test(start_paused = true)]
async fn keys_and_providers_are_enforced_like_users() {
    let fleet = Fleet::one(&open());
    let (mut of_key, mut of_provider) = (uncapped(), uncapped());
    of_key.key.mainline.1 = Some(daily("1"));
    of_provider.provider.1 = Some(daily("2"));
    fleet.goes_away();
    fleet.spend(0, &of_key, usd("1")).await.unwrap();
    assert_eq!(at_once(fleet.denied(0, &of_key, usd("0.1"))).await.budget, key(1));
    // The provider was charged for the first request as well.
    fleet.ledger.write_all();
    fleet.spend(0, &of_provider, usd("1")).await.unwrap();
    assert_eq!(at_once(fleet.denied(0, &of_provider, usd("0.1"))).await.budget, provider(1));
}

#[tokio::test(start_paused = true)]
async fn an_edited_cap_holds_at_once() {
    let fleet = Fleet::one(&open());
    let first = daily("10");
    fleet.spend(0, &user_capped(&first), usd("4")).await.unwrap();
    fleet.goes_away();
    fleet.spend(0, &user_capped(&first), usd("1")).await.unwrap();
    let lowered = edited(&first, 2, |policy| policy.windows[0].caps[0].cap = usd("5.5"));
    let denial = at_once(fleet.denied(0, &user_capped(&lowered), usd("1"))).await;
    assert_eq!((denial.used, denial.cap), (usd("5"), usd("5.5")));
    fleet.spend(0, &user_capped(&lowered), usd("0.5")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_estimate_above_the_cap_takes_what_is_left_to_this_node() {
    let settings = BudgetSettings { reservation: ReservationMode::Expected, ..open() };
    let fleet = Fleet::new(2, &settings);
    let plan = user_capped(&daily("1"));
    fleet.goes_away();
    let big = fleet.nodes[0].reserve(&plan, usd("3"), NOON).await.unwrap();
    assert_eq!(big.reserved(Axis::User), usd("0.5"));
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_hangs_costs_one_request_a_moment_and_not_each() {
    let fleet = Fleet::one(&open());
    let plan = user_capped(&daily("1"));
    fleet.goes_away();
    fleet.ledger_is(true);
    fleet.spend(0, &plan, usd("0.1")).await.unwrap();
    for _ in 0..100 {
        at_once(fleet.spend(0, &plan, usd("0.1"))).await.unwrap();
    }
}

#[tokio::test]
async fn on_the_way_back_everything_is_told_once_by_few_at_once_and_nothing_is_blocked() {
    const USERS: i64 = 100;
    let fleet = Fleet::one(&open());
    let plan_of = |owner: i64| {
        let mut plan = user_capped(&daily("10"));
        plan.user.mainline.0 = user(owner);
        plan
    };
    for owner in 1..=USERS {
        fleet.spend(0, &plan_of(owner), usd("1")).await.unwrap();
    }
    fleet.pass(100).await;
    fleet.goes_away();
    let stream = fleet.nodes[0].reserve(&plan_of(1), usd("4"), fleet.time.now()).await.unwrap();
    for owner in 1..=USERS {
        fleet.spend(0, &plan_of(owner), usd("3")).await.unwrap();
        fleet.pass(100).await;
    }
    fleet.ledger.write_all();
    fleet.pass(60_000).await;
    fleet.authority.most_at_once.store(0, Ordering::SeqCst);
    fleet.comes_back();
    fleet.pass(1_000).await;
    for owner in 1..=USERS {
        let audit = fleet.authority.memory.audit_now(user(owner)).unwrap();
        assert_eq!(audit.windows[0].spent, usd("4"), "{owner}");
    }
    assert!(fleet.authority.most_at_once.load(Ordering::SeqCst) <= 16);
    drop(stream);
    fleet.pass(3_000).await;
    for owner in [1, USERS] {
        fleet.spend(0, &plan_of(owner), usd("6")).await.unwrap();
        let denial = fleet.denied(0, &plan_of(owner), usd("0.1")).await;
        assert_eq!((denial.used, denial.reserved), (usd("10"), Usd::ZERO));
    }
    assert_eq!(fleet.violations(), 0);
    assert_eq!(fleet.nodes[0].audit(user(1)).await.unwrap(), Some(vec![]), "as the ledger says");
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_what_a_node_spent_that_died_meanwhile_is_counted_though_others_go_on() {
    let fleet = Fleet::new(2, &open());
    let plan = user_capped(&daily("100"));
    for node in 0..2 {
        fleet.spend(node, &plan, usd("1")).await.unwrap();
    }
    fleet.pass(3_000).await;
    fleet.goes_away();
    // A third one met the budget only then. Nobody but the ledger has heard of it.
    fleet.ledger.had_before(user(1), fleet.time.now(), usd("40"));
    fleet.comes_back();
    let stop = tokio_util::sync::CancellationToken::new();
    let background = tokio::spawn(Arc::clone(&fleet.nodes[0]).reconcile(stop.clone()));
    let spent = || fleet.authority.memory.audit_now(user(1)).unwrap().windows[0].spent;
    for turn in 0..20 {
        fleet.spend(turn % 2, &plan, usd("0.1")).await.unwrap();
        fleet.pass(1_000).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(spent(), usd("4"), "nobody can compare what another node uses all the time");
    fleet.nodes[0].hear_of(Event::Returned);
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.cancel();
    background.await.unwrap();
    fleet.pass(3_000).await;
    assert_eq!(spent(), usd("44"));
}

#[tokio::test]
async fn a_budget_that_only_a_message_speaks_of_is_soon_forgotten() {
    let fleet = Fleet::one(&open());
    for owner in 1..=100 {
        fleet.nodes[0].hear_of(Event::Joins(user(owner)));
    }
    assert_eq!(fleet.nodes[0].known(), 100);
    fleet.pass(30_000).await;
    assert_eq!(fleet.nodes[0].known(), 0, "neither this node nor the authority has ever used them");
}

#[tokio::test(start_paused = true)]
async fn counts_fall_back_to_this_node_alone_at_once() {
    for settings in [open(), closed()] {
        let fleet = Fleet::one(&settings);
        let authority = Arc::<Fickle>::clone(&fleet.authority);
        let counts = Counts::shared(NODE, authority, Arc::new(|| vec![NODE]), settings, fleet.time.clock());
        let none = CountLimits { rpm: None, max_concurrent: None, stamp: 1 };
        let user = CountLimits { rpm: Some(3), ..none };
        let subject = CountSubject { key_id: 1, key: none, user_id: 1, user };
        let mut guards = vec![counts.admit(&subject, NOON).await.unwrap()];
        fleet.goes_away();
        for _ in 0..2 {
            guards.push(at_once(counts.admit(&subject, NOON)).await.unwrap());
        }
        let refusal = at_once(counts.admit(&subject, NOON)).await.unwrap_err();
        assert_eq!((refusal.kind, refusal.current), (CountKind::Rpm, 3));
    }
}
