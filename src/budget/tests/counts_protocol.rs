//! Several nodes that count requests together, over a network that loses, delays, doubles and reorders messages, while
//! nodes pause and crash and the authority forgets. Leases and authority are the real ones; time and faults come from
//! a seed.

use std::sync::Arc;

use jiff::tz::TimeZone;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::world::*;
use crate::budget::denial::Need;
use crate::budget::lease::{Context, Heard, Lease, Occasion};
use crate::budget::rules::{Rule, Rules};
use crate::budget::{Answer, Incarnation, LeaseSettings, MemoryAuthority, Seed, SeedStatement, Statement, WindowSeed};
use crate::limit::{BudgetId, CountKind, Policy};
use crate::money::Usd;

const NODES: usize = 3;
const DEAD_AFTER: i64 = 30_000;
const MINUTE: i64 = 60_000;
/// No answer after so long: another statement is made.
const TIMEOUT: i64 = 300;
/// Another process takes the place of one that died after so long.
const REPLACED_AFTER: i64 = 3_000;
const LENGTH: i64 = 180_000;
const ONE: Usd = Usd::from_nanos(1);
const NEED: Need = Need { amount: ONE, least: ONE };

#[derive(Clone, Copy, Debug)]
struct Faults {
    network: bool,
    pauses: bool,
    crashes: bool,
    flushes: bool,
    /// Statements say that their holdings end after so long, whatever the rule is.
    ends_after: Option<i64>,
    rules: Rules,
}

const ALL: Faults =
    Faults { network: true, pauses: true, crashes: true, flushes: true, ends_after: None, rules: Rules::ALL };

enum Message {
    Said(Statement),
    Answered(Incarnation, u64, Answer),
    Seed(Incarnation, SeedStatement),
    Seeded(Incarnation),
}

struct Node {
    inc: Incarnation,
    lease: Lease,
    /// Of each request that has set one aside: when it was admitted, and when it ends or is decided.
    running: Vec<(i64, i64)>,
    waiting: Option<(u64, u64)>,
    asked: Option<(u64, i64)>,
    seeding_until: i64,
    tell_at: i64,
    paused_until: i64,
    crashed_at: Option<i64>,
}

struct Sim {
    rng: StdRng,
    kind: CountKind,
    cap: u32,
    faults: Faults,
    calm: bool,
    time: Time,
    authority: MemoryAuthority,
    nodes: Vec<Node>,
    wire: Vec<(i64, Message)>,
    policy: Arc<Policy>,
    settings: LeaseSettings,
    incs: Incarnation,
    /// Requests that were decided, by the instant of their admission.
    decided: Vec<i64>,
    admitted: usize,
}

impl Sim {
    fn new(seed: u64, kind: CountKind, cap: u32, faults: Faults) -> Self {
        let time = Time::at(NOON);
        let authority = MemoryAuthority::with_rules(time.clock(), DEAD_AFTER, faults.rules);
        let mut sim = Self {
            rng: StdRng::seed_from_u64(seed),
            kind,
            cap,
            faults,
            calm: false,
            time,
            authority,
            nodes: Vec::new(),
            wire: Vec::new(),
            policy: count_policy(kind, 1, cap),
            settings: LeaseSettings::default(),
            incs: 0,
            decided: Vec::new(),
            admitted: 0,
        };
        sim.nodes = (0..NODES).map(|_| sim.start()).collect();
        sim
    }

    fn budget(&self) -> BudgetId {
        count_of_user(1, self.kind)
    }

    fn start(&mut self) -> Node {
        self.incs += 1;
        let now = self.time.now();
        let mut lease = Lease::new(self.budget(), Arc::clone(&self.policy), &TimeZone::UTC, now, self.faults.rules);
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

    fn step(&mut self) -> Result<(), String> {
        let by = self.rng.random_range(1..60);
        let now = self.time.pass(by);
        self.go_wrong(now);
        let (due, later) = std::mem::take(&mut self.wire).into_iter().partition(|(at, _)| *at <= now);
        self.wire = later;
        let mut due: Vec<(i64, Message)> = due;
        while !due.is_empty() {
            let at = self.rng.random_range(0..due.len());
            let (_, message) = due.swap_remove(at);
            self.deliver(message, now);
        }
        for at in 0..self.nodes.len() {
            if self.nodes[at].crashed_at.is_none() && self.nodes[at].paused_until <= now {
                self.act(at, now);
                self.check(now)?;
            }
        }
        Ok(())
    }

    fn go_wrong(&mut self, now: i64) {
        for at in 0..self.nodes.len() {
            if self.faults.pauses && self.happens(800) {
                self.nodes[at].paused_until = now + self.rng.random_range(6_000..12_000);
            }
            if self.faults.crashes && self.happens(1_500) && self.nodes[at].crashed_at.is_none() {
                self.nodes[at].crashed_at = Some(now);
                self.nodes[at].running.clear();
            }
            if self.nodes[at].crashed_at.is_some_and(|crashed| now - crashed > REPLACED_AFTER) {
                let fresh = self.start();
                let gone = std::mem::replace(&mut self.nodes[at], fresh);
                self.authority.close_now(gone.inc, &[self.budget()]);
            }
        }
        if self.faults.flushes && self.happens(1_000) {
            self.authority = MemoryAuthority::with_rules(self.time.clock(), DEAD_AFTER, self.faults.rules);
        }
    }

    fn deliver(&mut self, message: Message, now: i64) {
        match message {
            Message::Said(statement) => {
                let answer = self.authority.exchange_now(self.budget(), &statement);
                let copies = 1 + u32::from(self.happens(20));
                let (inc, seq) = (statement.inc, statement.seq);
                self.send(copies, || Message::Answered(inc, seq, answer.clone()));
            }
            Message::Seed(inc, seed) => {
                self.authority.seed_now(self.budget(), &seed);
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
        let with = Context { inc: node.inc, settings: &self.settings, zone: &TimeZone::UTC, written: 0, now };
        let mut statement = node.lease.state(Occasion::default(), &with);
        statement.ends_after = self.faults.ends_after.unwrap_or(statement.ends_after);
        node.asked = Some((statement.seq, now + TIMEOUT));
        let copies = 1 + u32::from(self.happens(20));
        self.send(copies, || Message::Said(statement.clone()));
    }

    fn seed(&mut self, at: usize, now: i64) {
        let terms = Arc::clone(self.nodes[at].lease.terms(&TimeZone::UTC, now));
        let window = self.policy.windows[0].window;
        let seed = Seed {
            query_started: now,
            windows: vec![WindowSeed { window, sum: Usd::ZERO, minutes: Vec::new() }],
            first_charge_start: None,
            marks: self.nodes.iter().map(|node| (node.inc, 0)).collect(),
        };
        self.nodes[at].seeding_until = now + TIMEOUT;
        let inc = self.nodes[at].inc;
        let statement = SeedStatement { seed, terms };
        self.send(1, || Message::Seed(inc, statement.clone()));
    }

    fn act(&mut self, at: usize, now: i64) {
        let asks = self.happens(3);
        let refused = self.happens(4);
        let lasts = match self.kind {
            CountKind::Concurrency => self.rng.random_range(10..40_000),
            CountKind::Rpm => self.rng.random_range(1..2_000),
        };
        let node = &mut self.nodes[at];
        let (over, running): (Vec<_>, Vec<_>) = node.running.iter().partition(|(_, end)| *end <= now);
        node.running = running;
        for (admitted, _) in over {
            node.lease.release(ONE);
            if self.kind == CountKind::Rpm && !refused {
                node.lease.charge(admitted.cast_unsigned(), admitted, 0, ONE);
                self.decided.push(admitted);
            }
        }
        node.lease.trim((now - MINUTE - 10_000).cast_unsigned());
        let mut fits = None;
        if let Some((ticket, since)) = node.waiting {
            fits = node.lease.fits_after(NEED, since, now);
            if fits.is_some() || node.lease.heard() > since + 2 || self.calm {
                node.lease.wait_no_longer(ticket);
                node.waiting = None;
            }
        } else if asks {
            fits = node.lease.fits(NEED, now);
            if fits.is_none() {
                node.waiting = Some((node.lease.wait(NEED), node.lease.heard()));
            }
        }
        if fits.is_some() {
            node.lease.take(ONE, now);
            node.running.push((now, now + lasts));
            self.admitted += 1;
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

    /// Whatever goes wrong, no more are at once, or in any sixty seconds, than the cap.
    fn check(&mut self, now: i64) -> Result<(), String> {
        let second = |at: i64| at.div_euclid(1_000);
        self.decided.retain(|&at| second(now) - second(at) < 60);
        let running: usize = self.nodes.iter().map(|node| node.running.len()).sum();
        let all = running + self.decided.len();
        if all > self.cap as usize {
            return Err(format!("{all} of {} at {}: {:?}", self.cap, now - NOON, self.decided));
        }
        Ok(())
    }

    /// Faults and traffic, then peace until all that dead nodes held must have ended.
    fn run(mut self) -> Result<usize, String> {
        while self.time.now() < NOON + LENGTH {
            self.step()?;
        }
        self.calm = true;
        while self.time.now() < NOON + LENGTH + 2 * MINUTE {
            self.step()?;
        }
        // Somebody comes by.
        self.nodes[0].lease.must_ask();
        while self.nodes.iter().any(|node| node.asked.is_some() || node.lease.has_news(self.time.now())) {
            self.step()?;
        }
        let audit = self.authority.audit_now(self.budget()).ok_or("nothing is known")?;
        if audit.holders.iter().any(|holder| holder.reserved + holder.kept + holder.pending != Usd::ZERO) {
            return Err(format!("held for ever: {audit:?}"));
        }
        Ok(self.admitted)
    }
}

fn hold(kind: CountKind, faults: Faults, seeds: std::ops::Range<u64>, least: usize) {
    for cap in [1, 2, 5] {
        let mut admitted = 0;
        for seed in seeds.clone() {
            match Sim::new(seed, kind, cap, faults).run() {
                Ok(count) => admitted += count,
                Err(error) => panic!("seed {seed}, cap {cap}: {error}"),
            }
        }
        let least = least * cap as usize * seeds.clone().count();
        assert!(admitted >= least, "cap {cap}: {admitted} admitted, not {least}: too few to prove anything");
    }
}

/// A run that would pass without the rule proves nothing about it.
fn must_fail(kind: CountKind, faults: Faults) {
    let caught = (0..100).find(|seed| Sim::new(*seed, kind, 2, faults).run().is_err());
    let Some(caught) = caught else { panic!("nothing notices: {faults:?}") };
    let control = Faults { rules: Rules::ALL, ends_after: None, ..faults };
    assert!(Sim::new(caught, kind, 2, control).run().is_ok(), "it fails with all rules in force, too");
}

#[test]
fn no_more_are_at_once_than_the_limit_whatever_goes_wrong() {
    hold(CountKind::Concurrency, ALL, 0..10, 4);
}

#[test]
fn a_quiet_network_and_living_nodes_use_the_limit_up() {
    let none = Faults { network: false, pauses: false, crashes: false, flushes: false, ..ALL };
    // In three minutes, with requests of 20 s on average and a minute that begins four times.
    hold(CountKind::Concurrency, none, 50..53, 6);
    hold(CountKind::Rpm, none, 50..53, 4);
}

#[test]
fn no_more_are_in_any_minute_than_the_limit_while_nodes_pause_and_crash() {
    hold(CountKind::Rpm, Faults { flushes: false, ..ALL }, 100..110, 3);
}

#[test]
fn no_more_are_in_any_minute_than_the_limit_while_the_authority_forgets() {
    hold(CountKind::Rpm, Faults { crashes: false, ..ALL }, 200..210, 3);
}

#[test]
fn what_dead_nodes_held_must_end() {
    let faults = Faults { flushes: false, rules: Rules::without(Rule::Ends), ..ALL };
    must_fail(CountKind::Concurrency, faults);
}

#[test]
fn what_living_nodes_hold_must_not_end() {
    must_fail(CountKind::Concurrency, Faults { ends_after: Some(5_000), ..ALL });
}

#[test]
fn what_a_dead_node_admitted_last_counts_for_a_minute() {
    must_fail(CountKind::Rpm, Faults { flushes: false, ends_after: Some(DEAD_AFTER), ..ALL });
}

#[test]
fn granting_before_all_have_told_their_minute_fails() {
    must_fail(CountKind::Rpm, Faults { crashes: false, rules: Rules::without(Rule::Join), ..ALL });
}
