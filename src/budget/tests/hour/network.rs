//! What happens next: messages that are lost, late, doubled and in any order, and what nodes do by themselves.

use std::sync::Arc;

use rand::Rng;

use super::node::Running;
use super::{BUDGETS, Sim, TIMEOUT, of_both};
use crate::budget::lease::Heard;
use crate::budget::{Answer, Incarnation, SeedStatement, Statement};
use crate::money::Usd;

/// Statements and seeds that come late are under way for so long at most.
pub const LATEST: i64 = 10_000;
/// Answers that come late.
const LATE: i64 = 3_000;
/// What is in the database is remembered for so long.
const REMEMBER: i64 = 10_000;
/// Nodes look at what is due so often.
const TICK: i64 = 250;

/// What happens; about a budget, the first number says which.
#[derive(Clone)]
pub enum Event {
    /// With what the node owed when it was made.
    Said(usize, Statement, Usd),
    Answered(usize, Incarnation, u64, Answer),
    /// With the journals that were closed when the ledger was asked.
    Seed(usize, Incarnation, SeedStatement, Vec<Incarnation>),
    Seeded(usize, Incarnation),
    /// Somebody makes a request.
    Request(Incarnation),
    /// Requests end.
    Ends(Incarnation),
    /// A node looks at what is due.
    Tick(Incarnation),
    Trouble,
}

impl Sim {
    pub fn happen(&mut self, event: Event, now: i64) -> Result<(), String> {
        // Messages to sleepers wait, and so does what they do themselves.
        let at = match event {
            Event::Answered(_, inc, ..) | Event::Seeded(_, inc) => inc,
            Event::Request(inc) | Event::Ends(inc) | Event::Tick(inc) => inc,
            Event::Trouble => return self.trouble(now),
            Event::Said(budget, statement, owed) => return self.take(budget, &statement, owed, now),
            Event::Seed(budget, inc, seed, closed) => return self.take_seed(budget, inc, &seed, closed, now),
        };
        let Some(at) = self.node(at) else { return Ok(()) };
        if self.nodes[at].paused_until > now {
            let awake = self.nodes[at].paused_until + self.rng.random_range(0..3);
            self.later(awake, event);
            return Ok(());
        }
        match event {
            Event::Answered(budget, inc, seq, answer) => {
                let heard = self.nodes[at].hear(budget, seq, answer, now);
                self.claims(budget, inc, matches!(heard, Heard::Done { .. }))?;
                match heard {
                    Heard::Seed | Heard::Done { reseed: true, .. } => self.seed(at, budget, now),
                    Heard::Again => self.speak(at, budget, now)?,
                    Heard::Done { .. } | Heard::Ignored => {}
                }
                if let Heard::Done { started: Some(start), .. } = heard {
                    self.books.started(budget, start);
                }
            }
            Event::Seeded(budget, _) => {
                // Whether it was taken or refused, the answer to the next statement tells.
                let seat = &mut self.nodes[at].seats[budget];
                (seat.seeding_until, seat.tell_at) = (i64::MIN, now);
                self.speak(at, budget, now)?;
            }
            Event::Request(inc) => self.request(at, inc, now),
            Event::Ends(inc) => self.settle(at, inc, now)?,
            Event::Tick(inc) => self.tick(at, inc, now),
            Event::Said(..) | Event::Seed(..) | Event::Trouble => {}
        }
        self.act(at, now)
    }

    fn request(&mut self, at: usize, inc: Incarnation, now: i64) {
        let gap = self.rng.random_range(300..2_000);
        self.later(now + gap, Event::Request(inc));
        if !self.calm {
            let budgets = [self.rng.random_range(0..2), self.rng.random_range(2..4)];
            let estimate = Usd::from_nanos(self.rng.random_range(1_000_000..20_000_000));
            let lasts = self.rng.random_range(10..6_000);
            self.nodes[at].ask(budgets, estimate, lasts, self.faults.overruns, now);
        }
    }

    /// Whatever is over now is charged.
    fn settle(&mut self, at: usize, inc: Incarnation, now: i64) -> Result<(), String> {
        while let Some(over) = self.nodes[at].running.iter().position(|running| running.until <= now) {
            let owned = self.nodes[at].running[over].budgets.map(|budget| self.nodes[at].owns(budget));
            let Running { budgets, amounts, estimate, .. } = self.nodes[at].running.swap_remove(over);
            let most = estimate.nanos() * if self.faults.overruns { 2 } else { 1 };
            let cost = Usd::from_nanos(self.rng.random_range(1..=most));
            let lsn = self.books.charge(inc, &budgets, now, cost);
            for ((budget, amount), owned) in budgets.into_iter().zip(amounts).zip(owned) {
                self.running[budget] -= amount;
                let lease = &mut self.nodes[at].seats[budget].lease;
                lease.release(amount);
                lease.charge(lsn, now, 0, cost);
                let debt = (cost + self.nodes[at].owns(budget) - owned).min(cost - amount);
                if debt > Usd::ZERO {
                    self.bounds.0[budget].owes(inc, debt);
                    self.figures.debts += debt;
                }
                self.claims(budget, inc, false)?;
                self.check_truth(budget, now)?;
            }
        }
        Ok(())
    }

    fn tick(&mut self, at: usize, inc: Incarnation, now: i64) {
        self.later(now + TICK, Event::Tick(inc));
        if self.happens(20) || self.calm {
            for budget in 0..BUDGETS {
                let latest = Arc::clone(self.caps(budget));
                self.nodes[at].seats[budget].lease.adopt(&latest, Self::zone(), now);
            }
        }
        let writes = self.calm || self.happens(5);
        let node = &mut self.nodes[at];
        if writes && let Some(journal) = self.books.journals.get_mut(&inc) {
            journal.written = journal.end;
            node.written.push((now, journal.written));
        }
        let old = node.written.iter().rposition(|(at, _)| now - at >= REMEMBER);
        if let Some(old) = old {
            let (_, lsn) = node.written[old];
            node.written.drain(..old);
            node.seats.iter_mut().for_each(|seat| seat.lease.trim(lsn));
        }
    }

    /// Whatever a node does when something has happened to it.
    fn act(&mut self, at: usize, now: i64) -> Result<(), String> {
        let calm = self.calm;
        if self.nodes[at].waits() && self.nodes[at].admit(calm, now)? {
            self.figures.admitted += 1;
            let running = &self.nodes[at].running[self.nodes[at].running.len() - 1];
            let (budgets, until) = (running.budgets, running.until);
            for (budget, amount) in budgets.into_iter().zip(running.amounts) {
                self.running[budget] += amount;
            }
            let inc = self.nodes[at].inc;
            self.later(until, Event::Ends(inc));
            for budget in budgets {
                self.claims(budget, inc, false)?;
                self.check_truth(budget, now)?;
            }
        }
        for budget in 0..BUDGETS {
            self.nodes[at].gives_up(budget, now);
            if self.nodes[at].is_due(budget, calm, now) {
                let after = if calm { 200 } else { self.rng.random_range(200..2_000) };
                self.nodes[at].seats[budget].tell_at = now + after;
                self.speak(at, budget, now)?;
            }
        }
        Ok(())
    }

    fn speak(&mut self, at: usize, budget: usize, now: i64) -> Result<(), String> {
        let written = self.books.journals.get(&self.nodes[at].inc).map_or(0, |journal| journal.written);
        let Some(statement) = self.nodes[at].say(budget, &self.settings, written, now)? else { return Ok(()) };
        let owed = self.bounds.0[budget].of.get(&statement.inc).map_or(Usd::ZERO, |known| known.owed);
        let copies = 1 + u32::from(self.happens(20));
        self.send(copies, LATEST, &Event::Said(budget, statement, owed), now);
        self.claims(budget, self.nodes[at].inc, false)
    }

    fn seed(&mut self, at: usize, budget: usize, now: i64) {
        let terms = Arc::clone(self.nodes[at].seats[budget].lease.terms(Self::zone(), now));
        let (seed, closed) = (self.books.seed(budget, &terms, now), self.books.closed());
        self.nodes[at].seats[budget].seeding_until = now + TIMEOUT;
        let inc = self.nodes[at].inc;
        self.send(1, LATEST, &Event::Seed(budget, inc, seed, closed), now);
    }

    pub fn send(&mut self, copies: u32, latest: i64, message: &Event, now: i64) {
        if self.calm {
            return self.later(now + 1, message.clone());
        }
        if self.happens(20) {
            return;
        }
        for _ in 0..copies {
            let late = if self.happens(15) { latest } else { 20 };
            let after = self.rng.random_range(1..late);
            self.later(now + after, message.clone());
        }
    }

    fn take(&mut self, budget: usize, said: &Statement, owed: Usd, now: i64) -> Result<(), String> {
        let answer = self.authority.exchange_now(of_both(budget), said);
        self.heard_of.insert(said.inc, now);
        self.taken(budget, said, owed, &answer, now)?;
        let copies = 1 + u32::from(self.happens(20));
        self.send(copies, LATE, &Event::Answered(budget, said.inc, said.seq, answer), now);
        Ok(())
    }

    fn take_seed(
        &mut self,
        budget: usize,
        inc: Incarnation,
        seed: &SeedStatement,
        closed: Vec<Incarnation>,
        now: i64,
    ) -> Result<(), String> {
        // What was asked before a flush seeds nothing after it, as a Redis sees to.
        let is_new = self.authority.audit_now(of_both(budget)).is_none();
        if !(is_new && seed.seed.query_started < self.flushed_at) {
            self.close()?;
            let seeded = self.authority.seed_now(of_both(budget), seed);
            self.seeded(budget, seed, seeded, closed)?;
        }
        self.send(1, LATE, &Event::Seeded(budget, inc), now);
        Ok(())
    }
}
