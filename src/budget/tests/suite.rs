//! What every authority must do, written against the trait; each implementation runs all of it.

use std::future::Future;
use std::sync::Arc;

use super::suite_counts::*;
use super::world::*;
use crate::budget::{
    Answer, Authority, Incarnation, Item, Lsn, MemoryAuthority, Position, Seed, SeedStatement, Seeded, Statement,
    Taken, Terms, WindowSeed,
};
use crate::limit::{BudgetId, CountKind, Policy, Window};
use crate::money::Usd;

pub const A: Incarnation = 1;
pub const B: Incarnation = 2;

/// An authority that was born long ago (nobody has to join), with the clock that it reads.
pub trait Fresh {
    type Authority: Authority;

    /// `settles`: it was born just now.
    fn fresh(&self, time: &Time, settles: bool) -> impl Future<Output = Self::Authority>;
}

struct InMemory;

impl Fresh for InMemory {
    type Authority = MemoryAuthority;

    async fn fresh(&self, time: &Time, settles: bool) -> MemoryAuthority {
        MemoryAuthority::new(time.clock(), if settles { 30_000 } else { 0 })
    }
}

fn budget() -> BudgetId {
    user(1)
}

/// A node that says what the test wants.
pub struct Talk<'a, T: Authority> {
    pub authority: &'a T,
    pub time: &'a Time,
    pub terms: Arc<Terms>,
}

impl<T: Authority> Talk<'_, T> {
    pub fn budget(&self) -> BudgetId {
        match self.terms.policy.windows[0].window {
            Window::Minute => count_of_user(1, CountKind::Rpm),
            Window::AtOnce => count_of_user(1, CountKind::Concurrency),
            _ => budget(),
        }
    }

    pub fn statement(&self, inc: Incarnation, seq: u64) -> Statement {
        Statement {
            inc,
            seq,
            sent: self.time.now(),
            // The first after a seed, and later ones without charges.
            from: if seq == 1 { Position::Mark(0, 0) } else { Position::At(0) },
            to: 0,
            items: Vec::new(),
            reserved: Usd::ZERO,
            kept: Usd::ZERO,
            written: 0,
            unwritten: Usd::ZERO,
            need_min: Usd::ZERO,
            need_sum: Usd::ZERO,
            slice: Usd::ZERO,
            slice_min: Usd::ZERO,
            ends_after: i64::MAX,
            last: false,
            report: false,
            terms: Arc::clone(&self.terms),
        }
    }

    pub fn asks(&self, inc: Incarnation, seq: u64, need: &str) -> Statement {
        Statement { need_min: usd(need), need_sum: usd(need), ..self.statement(inc, seq) }
    }

    pub fn item(&self, amount: &str) -> Item {
        Item { minute: self.time.now().div_euclid(60_000) * 60_000, era: 0, amount: usd(amount) }
    }

    /// A place in the journal it says as this authority has it, of whose birth the test knows nothing.
    pub async fn say(&self, statement: &Statement) -> Answer {
        let mut said = statement.clone();
        if let Position::Mark(lsn, 0) = said.from
            && let Some(audit) = self.authority.audit(self.budget()).await.unwrap()
            && let Some(holder) = audit.holders.iter().find(|holder| holder.inc == said.inc)
            && matches!(holder.position, Position::Mark(counted, _) if counted == lsn)
        {
            said.from = holder.position;
        }
        self.authority.exchange(self.budget(), &said).await.unwrap()
    }

    pub async fn ok(&self, statement: &Statement) -> Taken {
        match self.say(statement).await {
            Answer::Ok(taken) => *taken,
            other => panic!("{other:?}"),
        }
    }

    pub async fn seed(&self, spent: &str, marks: &[(Incarnation, Lsn)]) -> Seeded {
        let windows = self.terms.policy.windows.iter();
        let windows = windows.map(|policy| WindowSeed { window: policy.window, sum: usd(spent), minutes: Vec::new() });
        let seed = Seed {
            query_started: self.time.now(),
            windows: windows.collect(),
            first_charge_start: None,
            marks: marks.to_vec(),
        };
        self.authority.seed(self.budget(), &SeedStatement { seed, terms: Arc::clone(&self.terms) }).await.unwrap()
    }

    pub async fn spent(&self) -> Usd {
        self.authority.audit(self.budget()).await.unwrap().expect("known").windows[0].spent
    }
}

pub fn terms(policy: &Arc<Policy>) -> Arc<Terms> {
    Arc::new(crate::budget::terms::of(Arc::clone(policy), &jiff::tz::TimeZone::UTC, NOON))
}

async fn an_unknown_budget_wants_a_seed(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let talk = Talk { authority: &authority, time: &time, terms: terms(&only(Window::Total, usd("1"))) };
    assert!(matches!(talk.say(&talk.asks(A, 1, "0.1")).await, Answer::Seed));
    assert_eq!(authority.audit(budget()).await.unwrap(), None);
    assert_eq!(talk.seed("0.4", &[(A, 0)]).await, Seeded::Taken);
    let taken = talk.ok(&talk.asks(A, 1, "0.1")).await;
    assert_eq!((taken.granted, taken.kept, taken.free), (usd("0.1"), usd("0.1"), usd("0.5")));
}

async fn a_seed_from_a_clock_that_is_far_ahead_is_refused_and_no_clock_shuts_out_the_others(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let talk = Talk { authority: &authority, time: &time, terms: terms(&only(Window::Total, usd("1"))) };
    let seed = async |ahead: i64, spent: &str| {
        let window = WindowSeed { window: Window::Total, sum: usd(spent), minutes: Vec::new() };
        let query_started = time.now() + ahead;
        let seed = Seed { query_started, windows: vec![window], first_charge_start: None, marks: vec![(A, 0), (B, 0)] };
        authority.seed(budget(), &SeedStatement { seed, terms: Arc::clone(&talk.terms) }).await.unwrap()
    };
    assert_eq!(seed(3_600_000, "0.1").await, Seeded::Refused);
    assert_eq!(seed(0, "0.2").await, Seeded::Taken);
    assert_eq!(seed(3_600_000, "0.3").await, Seeded::Refused);
    assert_eq!(seed(5_001, "0.3").await, Seeded::Refused);
    assert_eq!(talk.spent().await, usd("0.2"));
    assert_eq!(seed(5_000, "0.3").await, Seeded::Taken);
    assert_eq!(seed(0, "0.4").await, Seeded::Refused, "it may be from before");
    time.pass(5_000);
    assert_eq!(seed(0, "0.4").await, Seeded::Taken);
    assert_eq!(talk.spent().await, usd("0.4"));
}

async fn what_is_asked_is_granted_or_nothing_is(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let talk = Talk { authority: &authority, time: &time, terms: terms(&only(Window::Total, usd("1"))) };
    talk.seed("0.9", &[(A, 0)]).await;
    let denied = talk.ok(&talk.asks(A, 1, "0.2")).await;
    assert_eq!((denied.granted, denied.free), (Usd::ZERO, usd("0.1")));
    assert_eq!((denied.windows[0].spent, denied.windows[0].cap), (usd("0.9"), usd("1")));
    let granted = talk.ok(&talk.asks(A, 2, "0.1")).await;
    assert_eq!((granted.granted, granted.free), (usd("0.1"), Usd::ZERO));
}

async fn a_statement_that_is_repeated_or_overtaken_counts_once(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let talk = Talk { authority: &authority, time: &time, terms: terms(&only(Window::Total, usd("1"))) };
    talk.seed("0", &[(A, 0)]).await;
    let said = Statement { from: Position::Mark(0, 0), to: 1, items: vec![talk.item("0.2")], ..talk.statement(A, 5) };
    talk.ok(&said).await;
    assert!(matches!(talk.say(&said).await, Answer::Old));
    // The answer was lost: the node says the same from the same position.
    let again = Statement { seq: 6, ..said };
    assert!(matches!(talk.say(&again).await, Answer::Resend(Position::At(1))));
    assert_eq!(talk.spent().await, usd("0.2"));
    let late = Statement { sent: NOON - 2_001, ..talk.asks(A, 7, "0.1") };
    assert!(matches!(talk.say(&late).await, Answer::Stale));
}

async fn what_is_told_again_after_a_seed_costs_nothing_of_what_is_kept(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let talk = Talk { authority: &authority, time: &time, terms: terms(&only(Window::Total, usd("1"))) };
    talk.seed("0", &[(A, 0)]).await;
    talk.ok(&talk.asks(A, 1, "0.5")).await;
    let (items, left) = (vec![talk.item("0.2")], usd("0.3"));
    let said = Statement { to: 1, items, kept: left, unwritten: usd("0.2"), ..talk.statement(A, 2) };
    assert_eq!(talk.ok(&said).await.kept, left);
    // The database does not have it yet.
    talk.seed("0", &[(A, 0)]).await;
    let taken = talk.ok(&Statement { seq: 3, from: Position::Mark(0, 0), ..said }).await;
    assert_eq!((taken.kept, taken.free), (left, usd("0.5")));
}

async fn a_seed_from_before_what_was_told_to_be_written_is_refused(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let talk = Talk { authority: &authority, time: &time, terms: terms(&only(Window::Total, usd("1"))) };
    talk.seed("0", &[(A, 0), (B, 0)]).await;
    let told = Statement { to: 1, items: vec![talk.item("0.6")], written: 4, ..talk.statement(A, 1) };
    talk.ok(&told).await;
    assert_eq!(talk.seed("0", &[(A, 3), (B, 0)]).await, Seeded::Refused, "0.6 would be forgotten");
    assert_eq!(talk.ok(&talk.asks(B, 1, "0.5")).await.granted, Usd::ZERO);
    assert_eq!(talk.seed("0.6", &[(A, 4), (B, 0)]).await, Seeded::Taken);
}

async fn a_debt_is_never_credit(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let talk = Talk { authority: &authority, time: &time, terms: terms(&only(Window::Total, usd("1"))) };
    talk.seed("0", &[(A, 0), (B, 0)]).await;
    talk.ok(&talk.asks(A, 1, "0.1")).await;
    // 0.1 was held; 0.7 was spent and 0.2 is reserved.
    let over = Statement { to: 1, items: vec![talk.item("0.7")], reserved: usd("0.2"), ..talk.statement(A, 2) };
    talk.ok(&over).await;
    let other = talk.ok(&talk.asks(B, 1, "0.2")).await;
    assert_eq!((other.granted, other.free), (Usd::ZERO, usd("0.1")));
    let audit = authority.audit(budget()).await.unwrap().expect("known");
    assert!(audit.holders.iter().all(|holding| holding.reserved >= Usd::ZERO && holding.kept >= Usd::ZERO));
}

async fn a_node_keeps_no_more_than_it_was_granted(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let talk = Talk { authority: &authority, time: &time, terms: terms(&only(Window::Total, usd("1"))) };
    talk.seed("0", &[(A, 0)]).await;
    talk.ok(&talk.asks(A, 1, "0.3")).await;
    let taken = talk.ok(&Statement { kept: usd("0.9"), ..talk.statement(A, 2) }).await;
    assert_eq!((taken.kept, taken.free), (usd("0.3"), usd("0.7")));
}

async fn time_never_moves_money_and_others_can_be_asked_for_it(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let talk = Talk { authority: &authority, time: &time, terms: terms(&only(Window::Total, usd("1"))) };
    talk.seed("0", &[(A, 0), (B, 0)]).await;
    talk.ok(&talk.asks(A, 1, "0.8")).await;
    time.pass(3_600_000);
    let denied = talk.ok(&talk.asks(B, 1, "0.5")).await;
    assert_eq!((denied.granted, denied.recallable), (Usd::ZERO, usd("0.8")));
    let again = talk.ok(&talk.asks(B, 2, "0.5")).await;
    assert_eq!(again.recallable, Usd::ZERO, "they were asked a moment ago");
    talk.ok(&talk.statement(A, 2)).await;
    assert_eq!(talk.ok(&talk.asks(B, 3, "0.5")).await.granted, usd("0.5"));
}

async fn after_a_flush_all_say_what_they_hold_before_anything_is_granted(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, true).await;
    let talk = Talk { authority: &authority, time: &time, terms: terms(&only(Window::Total, usd("1"))) };
    talk.seed("0", &[(A, 0), (B, 0)]).await;
    let waits = talk.ok(&talk.asks(A, 1, "0.5")).await;
    assert!(waits.settling && waits.granted == Usd::ZERO);
    let joins = Statement { reserved: usd("0.7"), ..talk.statement(B, 1) };
    assert_eq!(talk.ok(&joins).await.free, usd("0.3"), "its claim is taken as it is");
    assert_eq!(talk.ok(&talk.asks(A, 2, "0.5")).await.granted, Usd::ZERO);
    assert_eq!(talk.ok(&talk.asks(A, 3, "0.3")).await.granted, usd("0.3"));
}

async fn a_seed_over_a_living_budget_holds_what_was_told_and_not_written(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let talk = Talk { authority: &authority, time: &time, terms: terms(&only(Window::Total, usd("1"))) };
    talk.seed("0", &[(A, 0), (B, 0)]).await;
    let told = Statement { to: 1, items: vec![talk.item("0.6")], unwritten: usd("0.6"), ..talk.statement(A, 1) };
    talk.ok(&told).await;
    assert_eq!(talk.seed("0", &[(A, 0), (B, 0)]).await, Seeded::Taken);
    assert_eq!(talk.ok(&talk.asks(B, 1, "0.5")).await.free, usd("0.4"));
    // It tells once more, from where the seed ends.
    let told = Statement { seq: 2, from: Position::At(1), items: Vec::new(), ..told };
    assert!(matches!(talk.say(&told).await, Answer::Resend(Position::Mark(0, _))));
    let told = Statement { seq: 3, from: Position::Mark(0, 0), items: vec![talk.item("0.6")], ..told };
    talk.ok(&told).await;
    assert_eq!(talk.spent().await, usd("0.6"));
    assert_eq!(talk.ok(&talk.asks(B, 2, "0.5")).await.free, usd("0.4"));
}

async fn seeds_that_are_old_are_refused(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let capped = only(Window::Total, usd("1"));
    let talk = Talk { authority: &authority, time: &time, terms: terms(&capped) };
    let windows = vec![WindowSeed { window: Window::Total, sum: Usd::ZERO, minutes: Vec::new() }];
    let seed = Seed { query_started: NOON, windows, first_charge_start: None, marks: vec![(A, 0)] };
    let slow = SeedStatement { seed, terms: Arc::clone(&talk.terms) };
    time.pass(5_001);
    assert_eq!(authority.seed(budget(), &slow).await.unwrap(), Seeded::Refused);
    let later = Talk { authority: &authority, time: &time, terms: terms(&edited(&capped, 3, |_| {})) };
    assert_eq!(later.seed("0", &[(A, 0)]).await, Seeded::Taken);
    assert_eq!(talk.seed("0", &[(A, 0)]).await, Seeded::Refused, "made for older caps");
}

async fn later_caps_win_and_are_told_to_those_who_have_older_ones(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let capped = only(Window::Total, usd("1"));
    let lower = edited(&capped, 2, |policy| policy.windows[0] = cap(Window::Total, mode(Window::Total), usd("0.5")));
    let talk = Talk { authority: &authority, time: &time, terms: terms(&capped) };
    talk.seed("0.4", &[(A, 0), (B, 0)]).await;
    talk.ok(&talk.asks(A, 1, "0.3")).await;
    let edits = Talk { authority: &authority, time: &time, terms: terms(&lower) };
    let taken = edits.ok(&Statement { kept: usd("0.3"), ..edits.statement(A, 2) }).await;
    assert!(taken.reseed);
    assert_eq!((taken.kept, taken.free), (usd("0.1"), Usd::ZERO), "what was kept is cut to the new cap");
    let older = talk.ok(&talk.asks(B, 1, "0.1")).await;
    assert_eq!((older.granted, older.policy), (Usd::ZERO, Some(lower)));
}

async fn a_closed_node_holds_until_the_ledger_has_what_it_spent(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let talk = Talk { authority: &authority, time: &time, terms: terms(&only(Window::Total, usd("1"))) };
    talk.seed("0", &[(A, 0), (B, 0)]).await;
    talk.ok(&talk.asks(A, 1, "0.8")).await;
    authority.close(A, &[budget()]).await.unwrap();
    assert!(matches!(talk.say(&talk.asks(A, 2, "0.1")).await, Answer::Stale), "it is dead");
    let waits = talk.ok(&talk.asks(B, 1, "0.5")).await;
    assert!(waits.reseed && waits.granted == Usd::ZERO);
    // A snapshot that still lists it may miss the end of its journal.
    talk.seed("0", &[(A, 3), (B, 0)]).await;
    let asks = |seq| Statement { from: Position::Mark(0, 0), ..talk.asks(B, seq, "0.5") };
    assert_eq!(talk.ok(&asks(2)).await.free, usd("0.2"));
    talk.seed("0.3", &[(B, 0)]).await;
    let taken = talk.ok(&asks(3)).await;
    assert_eq!((taken.granted, taken.reseed), (usd("0.5"), false));
}

async fn what_was_charged_by_nobody_who_tells_is_counted_by_what_the_ledger_says(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let talk = Talk { authority: &authority, time: &time, terms: terms(&only(Window::Total, usd("1"))) };
    authority.count_anew(&[budget()]).await.unwrap();
    // A was written off, and then it came back.
    talk.seed("0.3", &[(B, 0)]).await;
    let taken = talk.ok(&talk.asks(B, 1, "0.1")).await;
    assert_eq!((taken.free, taken.reseed), (usd("0.6"), false));
    authority.close(A, &[budget()]).await.unwrap();
    assert!(!talk.ok(&talk.statement(B, 2)).await.reseed, "it holds nothing here");
    authority.count_anew(&[budget()]).await.unwrap();
    assert!(talk.ok(&talk.statement(B, 3)).await.reseed);
    talk.seed("0.5", &[(B, 0)]).await;
    let taken = talk.ok(&Statement { from: Position::Mark(0, 0), ..talk.statement(B, 4) }).await;
    assert_eq!((taken.free, taken.reseed), (usd("0.5"), false));
}

async fn amounts_are_exact_at_any_size(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let cap = usd("9000000");
    let talk = Talk { authority: &authority, time: &time, terms: terms(&only(Window::Total, cap)) };
    talk.seed("0", &[(A, 0)]).await;
    let mut spent = Usd::ZERO;
    for (seq, nanos) in [1, 99_999_999_999_999, 100_000_000_000_000, 8_000_000_000_000_001].into_iter().enumerate() {
        let seq = seq as u64;
        let amount = Usd::from_nanos(nanos);
        let from = if seq == 0 { Position::Mark(0, 0) } else { Position::At(seq) };
        let items = vec![Item { amount, ..talk.item("0") }];
        let taken = talk.ok(&Statement { from, to: seq + 1, items, ..talk.statement(A, seq + 1) }).await;
        spent += amount;
        assert_eq!((talk.spent().await, taken.free), (spent, cap - spent));
    }
}

/// Runs the whole suite on one kind of authority.
macro_rules! suite {
    ($module:ident, $fresh:expr, [$($name:ident),* $(,)?]) => {
        mod $module {
            $(#[tokio::test]
            async fn $name() {
                super::$name($fresh).await;
            })*
        }
    };
}

/// The whole suite on one kind of authority.
macro_rules! whole_suite {
    ($module:ident, $fresh:expr) => {
        suite!(
            $module,
            $fresh,
            [
                an_unknown_budget_wants_a_seed,
                a_seed_from_a_clock_that_is_far_ahead_is_refused_and_no_clock_shuts_out_the_others,
                what_is_asked_is_granted_or_nothing_is,
                a_statement_that_is_repeated_or_overtaken_counts_once,
                what_is_told_again_after_a_seed_costs_nothing_of_what_is_kept,
                a_seed_from_before_what_was_told_to_be_written_is_refused,
                a_debt_is_never_credit,
                a_node_keeps_no_more_than_it_was_granted,
                time_never_moves_money_and_others_can_be_asked_for_it,
                after_a_flush_all_say_what_they_hold_before_anything_is_granted,
                a_seed_over_a_living_budget_holds_what_was_told_and_not_written,
                seeds_that_are_old_are_refused,
                later_caps_win_and_are_told_to_those_who_have_older_ones,
                a_closed_node_holds_until_the_ledger_has_what_it_spent,
                what_was_charged_by_nobody_who_tells_is_counted_by_what_the_ledger_says,
                amounts_are_exact_at_any_size,
                a_minute_of_requests_moves_on_by_seconds,
                what_happens_at_once_is_held_and_never_spent,
                where_there_are_few_places_nodes_keep_none,
                a_lease_of_requests_is_at_least_one,
                what_a_silent_node_holds_of_a_count_ends_and_of_money_does_not,
                a_count_that_lives_takes_no_seed_and_keeps_what_it_counted_under_other_limits,
                a_node_tells_a_forgotten_count_its_minute_again_before_anything_is_granted,
            ]
        );
    };
}

whole_suite!(memory, super::InMemory);
whole_suite!(redis, super::super::redis::OnRedis);
