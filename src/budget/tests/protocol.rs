//! Several nodes and one authority over a network that loses, delays, doubles and reorders messages, while nodes pause
//! and crash and the authority forgets. Leases and authority are the real ones; time and faults come from a seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::world::*;
use crate::budget::account::Account;
use crate::budget::denial::Need;
use crate::budget::lease::{Context, Heard, Lease, Occasion};
use crate::budget::rules::{Rule, Rules};
use crate::budget::{
    Answer, Incarnation, LeaseSettings, Lsn, MemoryAuthority, Position, Seed, SeedStatement, Statement, WindowSeed,
};
use crate::limit::{BudgetId, Policy, Window};
use crate::money::Usd;

const NODES: usize = 3;
const DEAD_AFTER: i64 = 30_000;
/// No answer after so long: another statement is made.
const TIMEOUT: i64 = 300;
/// A journal is adopted so long after its process died: by then its last messages are too old to be taken.
const ADOPTED_AFTER: i64 = 3_000;
const REMEMBER: i64 = 10_000;
const LENGTH: i64 = 60_000;

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
struct Faults {
    network: bool,
    pauses: bool,
    crashes: bool,
    flushes: bool,
    /// The authority goes back to an older state: what it granted since is granted twice.
    rollbacks: bool,
    /// Requests cost up to twice what was set aside.
    overruns: bool,
    /// What no rule allows: what a silent node holds is freed after so long.
    expiry: Option<i64>,
    rules: Rules,
}

const ALL: Faults = Faults {
    network: true,
    pauses: true,
    crashes: true,
    flushes: true,
    rollbacks: false,
    overruns: false,
    expiry: None,
    rules: Rules::ALL,
};

enum Message {
    Said(Statement),
    Answered(Incarnation, u64, Answer),
    Seed(Incarnation, SeedStatement),
    Seeded(Incarnation),
}

struct Node {
    inc: Incarnation,
    lease: Lease,
    running: Vec<(i64, Usd)>,
    waiting: Option<(u64, Need, u64)>,
    asked: Option<(u64, i64)>,
    seeding_until: i64,
    tell_at: i64,
    paused_until: i64,
    crashed_at: Option<i64>,
    written: Vec<(i64, Lsn)>,
}

/// What an incarnation charged, and how much of it the database has.
#[derive(Default)]
struct Journal {
    /// After each charge, what was charged in all.
    sums: Vec<Usd>,
    written: Lsn,
    closed: bool,
}

impl Journal {
    fn charge(&mut self, amount: Usd) -> Lsn {
        self.sums.push(self.up_to(Lsn::MAX) + amount);
        self.end()
    }

    fn end(&self) -> Lsn {
        self.sums.len() as u64
    }

    fn up_to(&self, lsn: Lsn) -> Usd {
        let count = usize::try_from(lsn).unwrap_or(usize::MAX).min(self.sums.len());
        count.checked_sub(1).map_or(Usd::ZERO, |last| self.sums[last])
    }
}

struct Sim {
    rng: StdRng,
    faults: Faults,
    calm: bool,
    time: Time,
    authority: MemoryAuthority,
    heard_of: BTreeMap<Incarnation, i64>,
    older: Option<(i64, Account)>,
    /// The last statement that was taken was granted something.
    granted: bool,
    nodes: Vec<Node>,
    journals: BTreeMap<Incarnation, Journal>,
    wire: Vec<(i64, Message)>,
    policy: Arc<Policy>,
    settings: LeaseSettings,
    incs: Incarnation,
}

const BUDGET: fn() -> BudgetId = || user(1);

impl Sim {
    fn new(seed: u64, faults: Faults) -> Self {
        let time = Time::at(NOON);
        let authority = MemoryAuthority::with_rules(time.clock(), DEAD_AFTER, faults.rules);
        let mut sim = Self {
            rng: StdRng::seed_from_u64(seed),
            faults,
            calm: false,
            time,
            authority,
            heard_of: BTreeMap::new(),
            older: None,
            granted: false,
            nodes: Vec::new(),
            journals: BTreeMap::new(),
            wire: Vec::new(),
            policy: only(Window::Total, usd("1")),
            settings: LeaseSettings::default(),
            incs: 0,
        };
        for _ in 0..NODES {
            let node = sim.start();
            sim.nodes.push(node);
        }
        sim
    }

    fn start(&mut self) -> Node {
        self.incs += 1;
        self.journals.insert(self.incs, Journal::default());
        let now = self.time.now();
        let mut lease = Lease::new(BUDGET(), Arc::clone(&self.policy), &TimeZone::UTC, now, self.faults.rules);
        lease.watched_from(0);
        Node {
            inc: self.incs,
            lease,
            running: Vec::new(),
            waiting: None,
            asked: None,
            seeding_until: i64::MIN,
            tell_at: now,
            paused_until: i64::MIN,
            crashed_at: None,
            written: Vec::new(),
        }
    }

    fn happens(&mut self, of: u32) -> bool {
        !self.calm && self.rng.random_ratio(1, of)
    }

    fn send(&mut self, copies: u32, message: impl Fn() -> Message) {
        if !self.faults.network || self.calm {
            self.wire.push((self.time.now() + 1, message()));
            return;
        }
        if self.happens(20) {
            return;
        }
        for _ in 0..copies {
            let late = if self.happens(15) { 3_000 } else { 20 };
            let at = self.time.now() + self.rng.random_range(1..late);
            self.wire.push((at, message()));
        }
    }

    /// One moment; then whatever must always be true is.
    fn step(&mut self) -> Result<(), String> {
        let by = self.rng.random_range(1..40);
        let now = self.time.pass(by);
        self.go_wrong(now);
        let (due, later) = std::mem::take(&mut self.wire).into_iter().partition(|(at, _)| *at <= now);
        self.wire = later;
        let mut due: Vec<(i64, Message)> = due;
        while !due.is_empty() {
            let at = self.rng.random_range(0..due.len());
            let (_, message) = due.swap_remove(at);
            self.deliver(message, now);
            self.check()?;
        }
        for at in 0..self.nodes.len() {
            if self.nodes[at].crashed_at.is_none() && self.nodes[at].paused_until <= now {
                self.act(at, now);
            }
        }
        self.check()
    }

    fn go_wrong(&mut self, now: i64) {
        for at in 0..self.nodes.len() {
            if self.faults.pauses && self.happens(800) {
                self.nodes[at].paused_until = now + self.rng.random_range(6_000..12_000);
            }
            if self.faults.crashes && self.happens(1_500) && self.nodes[at].crashed_at.is_none() {
                self.nodes[at].crashed_at = Some(now);
            }
            if self.nodes[at].crashed_at.is_some_and(|crashed| now - crashed > ADOPTED_AFTER) {
                self.adopt(at);
            }
        }
        let closed: Vec<_> = self.journals.iter().filter(|(_, journal)| journal.closed).map(|(&inc, _)| inc).collect();
        for inc in closed {
            // Closing is repeated: an older seed may have brought the node back.
            self.authority.close_now(inc, &[BUDGET()]);
        }
        if self.faults.flushes && self.happens(1_000) {
            self.authority = MemoryAuthority::with_rules(self.time.clock(), DEAD_AFTER, self.faults.rules);
        }
        if self.faults.rollbacks {
            self.older = self.older.take().filter(|(at, _)| now - at < 1_000);
            if self.older.is_none() {
                self.older = self.authority.copy_of(BUDGET()).map(|account| (now, account));
            } else if self.happens(200)
                && let Some((_, older)) = self.older.take()
            {
                self.authority.put(BUDGET(), older);
            }
        }
        if self.happens(150) {
            let cap = self.policy.windows[0].base + usd("0.5");
            let mut policy = Policy::clone(&only(Window::Total, cap));
            policy.version = self.policy.version + 1;
            self.policy = Arc::new(policy);
        }
        if let Some(life) = self.faults.expiry
            && let Some(mut account) = self.authority.copy_of(BUDGET())
        {
            for (&inc, _) in self.heard_of.iter().filter(|(_, at)| now - **at > life) {
                account.expire(inc);
            }
            self.authority.put(BUDGET(), account);
        }
    }

    /// Another process finds the journal of one that is gone.
    fn adopt(&mut self, at: usize) {
        let fresh = self.start();
        let gone = std::mem::replace(&mut self.nodes[at], fresh);
        let journal = self.journals.get_mut(&gone.inc).unwrap();
        for (_, estimate) in gone.running {
            journal.charge(estimate);
        }
        journal.written = journal.end();
        journal.closed = true;
    }

    fn deliver(&mut self, message: Message, now: i64) {
        match message {
            Message::Said(statement) => {
                let answer = self.authority.exchange_now(BUDGET(), &statement);
                self.granted = matches!(&answer, Answer::Ok(taken) if taken.granted > Usd::ZERO);
                self.heard_of.insert(statement.inc, now);
                let copies = 1 + u32::from(self.happens(20));
                let (inc, seq) = (statement.inc, statement.seq);
                self.send(copies, || Message::Answered(inc, seq, answer.clone()));
            }
            Message::Seed(inc, seed) => {
                self.granted = false;
                self.authority.seed_now(BUDGET(), &seed);
                self.send(1, || Message::Seeded(inc));
            }
            Message::Answered(inc, seq, answer) => {
                let Some(at) = self.listening(inc, now, |asleep| (asleep, Message::Answered(inc, seq, answer.clone())))
                else {
                    return;
                };
                let node = &mut self.nodes[at];
                let heard = node.lease.hear(seq, answer, DEAD_AFTER, now);
                if heard != Heard::Ignored {
                    node.asked = None;
                }
                match heard {
                    Heard::Seed | Heard::Done { reseed: true, .. } => self.seed(at, now),
                    Heard::Again => self.speak(at, now),
                    Heard::Done { .. } | Heard::Ignored => {}
                }
            }
            Message::Seeded(inc) => {
                if let Some(at) = self.listening(inc, now, |asleep| (asleep, Message::Seeded(inc))) {
                    self.nodes[at].seeding_until = i64::MIN;
                    self.nodes[at].tell_at = now;
                }
            }
        }
    }

    /// The node, if it lives and is awake; messages to sleepers wait.
    fn listening(&mut self, inc: Incarnation, now: i64, again: impl FnOnce(i64) -> (i64, Message)) -> Option<usize> {
        let at = self.nodes.iter().position(|node| node.inc == inc && node.crashed_at.is_none())?;
        if self.nodes[at].paused_until > now {
            self.wire.push(again(self.nodes[at].paused_until));
            return None;
        }
        Some(at)
    }

    fn speak(&mut self, at: usize, now: i64) {
        let node = &mut self.nodes[at];
        if node.asked.is_some() || node.seeding_until > now {
            return;
        }
        let with = Context {
            inc: node.inc,
            settings: &self.settings,
            zone: &TimeZone::UTC,
            written: self.journals[&node.inc].written,
            now,
        };
        let statement = node.lease.state(Occasion::default(), &with);
        node.asked = Some((statement.seq, now + TIMEOUT));
        let copies = 1 + u32::from(self.happens(20));
        self.send(copies, || Message::Said(statement.clone()));
    }

    fn seed(&mut self, at: usize, now: i64) {
        let terms = Arc::clone(self.nodes[at].lease.terms(&TimeZone::UTC, now));
        let sum = self.journals.values().map(|journal| journal.up_to(journal.written)).sum();
        let open = self.journals.iter().filter(|(_, journal)| !journal.closed);
        let marks = open.map(|(&inc, journal)| (inc, journal.written)).collect();
        let seed = Seed {
            query_started: now,
            windows: vec![WindowSeed { window: Window::Total, sum, minutes: Vec::new() }],
            first_charge_start: None,
            marks,
        };
        self.nodes[at].seeding_until = now + TIMEOUT;
        let inc = self.nodes[at].inc;
        let statement = SeedStatement { seed, terms };
        self.send(1, || Message::Seed(inc, statement.clone()));
    }

    fn act(&mut self, at: usize, now: i64) {
        let adopts = self.happens(20);
        let writes = self.calm || self.happens(30);
        let asks = self.happens(3);
        let estimate = Usd::from_nanos(self.rng.random_range(1_000_000..20_000_000));
        let lasts = self.rng.random_range(10..6_000);
        let node = &mut self.nodes[at];
        let journal = self.journals.get_mut(&node.inc).unwrap();
        if adopts {
            node.lease.adopt(&self.policy, &TimeZone::UTC, now);
        }
        let (over, running): (Vec<_>, Vec<_>) = node.running.iter().partition(|(end, _)| *end <= now);
        node.running = running;
        for (_, estimate) in over {
            let most = if self.faults.overruns { estimate.nanos() * 2 } else { estimate.nanos() };
            let cost = Usd::from_nanos(self.rng.random_range(1..=most));
            let lsn = journal.charge(cost);
            node.lease.release(estimate);
            node.lease.charge(lsn, now, 0, cost);
        }
        if writes {
            journal.written = journal.end();
            node.written.push((now, journal.written));
        }
        let old = node.written.iter().rev().find(|(at, _)| now - at >= REMEMBER).map_or(0, |&(_, lsn)| lsn);
        node.lease.trim(old);
        if let Some((ticket, need, since)) = node.waiting {
            if let Some(amount) = node.lease.fits_after(need, since, now) {
                node.lease.wait_no_longer(ticket);
                node.lease.take(amount, now);
                node.running.push((now + lasts, amount));
                node.waiting = None;
            } else if node.lease.heard() > since + 2 || self.calm {
                node.lease.wait_no_longer(ticket);
                node.waiting = None;
            }
        } else if asks {
            let need = Need { amount: estimate, least: estimate };
            if let Some(amount) = node.lease.fits(need, now) {
                node.lease.take(amount, now);
                node.running.push((now + lasts, amount));
            } else {
                node.waiting = Some((node.lease.wait(need), need, node.lease.heard()));
            }
        }
        if let Some((seq, until)) = node.asked
            && until <= now
        {
            node.lease.hear_nothing(seq);
            node.asked = None;
        }
        let due = node.waiting.is_some() || (node.lease.has_news(now) && node.tell_at <= now);
        if due && node.asked.is_none() && node.seeding_until <= now {
            node.tell_at = now + if self.calm { 200 } else { self.rng.random_range(200..2_000) };
            self.speak(at, now);
        }
    }

    fn spent(&self) -> Usd {
        self.journals.values().map(|journal| journal.up_to(Lsn::MAX)).sum()
    }

    fn check(&self) -> Result<(), String> {
        let running: Usd = self.nodes.iter().flat_map(|node| &node.running).map(|(_, estimate)| *estimate).sum();
        let cap = self.policy.windows[0].base;
        let exact = !self.faults.overruns && !self.faults.rollbacks;
        if exact && self.spent() + running > cap {
            return Err(format!("{} spent and {running} running of {cap}", self.spent()));
        }
        let Some(audit) = self.authority.audit_now(BUDGET()) else { return Ok(()) };
        let mut counted = Usd::ZERO;
        let mut held = Usd::ZERO;
        for (inc, journal) in &self.journals {
            let holder = audit.holders.iter().find(|holder| holder.inc == *inc);
            let to = match holder.map(|holder| holder.position) {
                Some(Position::At(to) | Position::Mark(to)) => to,
                Some(Position::Start) | None if journal.closed => Lsn::MAX,
                Some(Position::Start) | None => 0,
            };
            counted += journal.up_to(to);
            if let Some(holder) = holder {
                if holder.reserved.min(holder.kept).min(holder.pending) < Usd::ZERO {
                    return Err(format!("negative: {holder:?}"));
                }
                held += holder.reserved + holder.kept + holder.pending;
            }
        }
        let spent = audit.windows[0].spent;
        // After going back, a node that is closed already may be there again until it is closed once more.
        if spent != counted && !self.faults.rollbacks {
            return Err(format!("the authority counts {spent}, the journals say {counted}"));
        }
        // A seed may count what a node has not told yet and still holds; until it tells, nothing is granted for that.
        if exact && self.granted && spent + held > cap {
            return Err(format!("{spent} spent and {held} held of {cap}"));
        }
        Ok(())
    }

    /// Faults and traffic, then peace: whatever must always be true is, and in the end nothing is held.
    fn run(mut self) -> Result<(Usd, Usd), String> {
        while self.time.now() < NOON + LENGTH {
            self.step()?;
        }
        self.calm = true;
        self.faults.expiry = None;
        while self.time.now() < NOON + LENGTH + DEAD_AFTER + 10_000 {
            self.step()?;
        }
        let audit = self.authority.audit_now(BUDGET()).ok_or("nothing is known")?;
        let held: Usd = audit.holders.iter().map(|holder| holder.reserved + holder.kept + holder.pending).sum();
        if held != Usd::ZERO {
            return Err(format!("{held} is held for ever: {audit:?}"));
        }
        if audit.windows[0].spent != self.spent() {
            return Err(format!("in the end {} of {}", audit.windows[0].spent, self.spent()));
        }
        Ok((self.spent(), self.policy.windows[0].base))
    }
}

fn hold(faults: Faults, seeds: std::ops::Range<u64>) -> (Usd, Usd) {
    let mut all = (Usd::ZERO, Usd::ZERO);
    for seed in seeds {
        match Sim::new(seed, faults).run() {
            Ok((spent, cap)) => all = (all.0 + spent, all.1 + cap),
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    all
}

/// A run that would pass without the rule proves nothing about it, nor does one that fails with all of them.
fn must_fail(faults: Faults) {
    let caught = (0..40).find(|seed| Sim::new(*seed, faults).run().is_err());
    let Some(caught) = caught else { panic!("nothing notices: {faults:?}") };
    hold(Faults { rules: Rules::ALL, expiry: None, ..faults }, 0..caught + 1);
}

fn without(rule: Rule) -> Faults {
    Faults { rules: Rules::without(rule), ..ALL }
}

#[test]
fn no_message_that_is_lost_late_or_doubled_costs_anything() {
    let (spent, cap) = hold(Faults { pauses: false, crashes: false, flushes: false, ..ALL }, 0..15);
    assert!(spent.nanos() > cap.nanos() / 2, "{spent} of {cap}: too little traffic to prove anything");
}

#[test]
fn nothing_is_overspent_while_nodes_pause_and_crash_and_the_authority_forgets() {
    hold(ALL, 100..130);
}

#[test]
fn debts_are_counted_once_and_end() {
    hold(Faults { overruns: true, ..ALL }, 200..215);
}

#[test]
fn an_authority_that_went_back_in_time_ends_with_the_ledgers_sums() {
    hold(Faults { rollbacks: true, flushes: false, ..ALL }, 300..315);
}

#[test]
fn leases_that_expire_overspend() {
    must_fail(Faults { expiry: Some(5_000), ..ALL });
}

#[test]
fn statements_without_numbers_fail() {
    must_fail(without(Rule::Numbered));
}

#[test]
fn charges_without_positions_fail() {
    must_fail(without(Rule::Addressed));
}

#[test]
fn a_position_that_moves_without_its_charges_fails() {
    must_fail(without(Rule::Rebased));
}

#[test]
fn a_seed_without_marks_fails() {
    must_fail(without(Rule::Marks));
}

#[test]
fn granting_before_all_have_spoken_fails() {
    must_fail(without(Rule::Join));
}

#[test]
fn a_debt_as_a_negative_holding_fails() {
    must_fail(Faults { overruns: true, ..without(Rule::Forced) });
}

#[test]
fn a_seed_over_what_was_told_and_not_written_fails() {
    must_fail(without(Rule::Pending));
}
