//! A node: leases of several budgets, requests that take from two of them at once, and its conversation about each.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::{BUDGETS, DEAD_AFTER, TIMEOUT, of_both};
use crate::budget::denial::Need;
use crate::budget::lease::{Context, Heard, Lease, Occasion};
use crate::budget::rules::Rules;
use crate::budget::{Answer, Incarnation, LeaseSettings, Lsn, Statement};
use crate::limit::Policy;
use crate::money::Usd;

/// A request waits no longer, nor for more answers than two.
const PATIENCE: i64 = 1_000;

/// What a node knows of one budget.
pub struct Seat {
    pub lease: Lease,
    asked: Option<(u64, i64)>,
    /// When the last statement was made that was answered.
    contact: i64,
    /// The answer was that little is left.
    told_tight: bool,
    pub seeding_until: i64,
    pub tell_at: i64,
}

/// A request that was admitted.
pub struct Running {
    pub budgets: [usize; 2],
    pub amounts: [Usd; 2],
    pub estimate: Usd,
    pub until: i64,
}

/// A request that waits for what is not there.
struct Waiting {
    budgets: [usize; 2],
    needs: [Need; 2],
    /// Where it has asked: the ticket, and what had been heard by then.
    tickets: [Option<(u64, u64)>; 2],
    estimate: Usd,
    lasts: i64,
    until: i64,
}

pub struct Node {
    pub inc: Incarnation,
    pub seats: Vec<Seat>,
    pub running: Vec<Running>,
    waiting: Option<Waiting>,
    pub paused_until: i64,
    pub crashed_at: Option<i64>,
    /// When the journal was in the database up to where.
    pub written: Vec<(i64, Lsn)>,
}

impl Node {
    pub fn start(inc: Incarnation, policies: &[Arc<Policy>], now: i64, rules: Rules) -> Self {
        let seat = |(budget, policy): (usize, &Arc<Policy>)| {
            let mut lease = Lease::new(of_both(budget), Arc::clone(policy), &TimeZone::UTC, now, rules);
            lease.watched_from(0);
            Seat { lease, asked: None, contact: i64::MIN, told_tight: false, seeding_until: i64::MIN, tell_at: now }
        };
        Self {
            inc,
            seats: policies.iter().enumerate().map(seat).collect(),
            running: Vec::new(),
            waiting: None,
            paused_until: i64::MIN,
            crashed_at: None,
            written: Vec::new(),
        }
    }

    /// What it may spend of a budget without asking, and what running requests have set aside.
    pub fn owns(&self, budget: usize) -> Usd {
        let (held, untold) = self.seats[budget].lease.own();
        self.reserved(budget).max(held - untold)
    }

    pub fn reserved(&self, budget: usize) -> Usd {
        let of = |running: &Running| {
            let at = running.budgets.iter().position(|&of| of == budget);
            at.map_or(Usd::ZERO, |at| running.amounts[at])
        };
        self.running.iter().map(of).sum()
    }

    /// A request comes, if none waits.
    pub fn ask(&mut self, budgets: [usize; 2], estimate: Usd, lasts: i64, all_that_is_left: bool, now: i64) {
        if self.waiting.is_none() {
            let needs = budgets.map(|budget| self.seats[budget].lease.need(estimate, all_that_is_left, now));
            let until = now + PATIENCE;
            self.waiting = Some(Waiting { budgets, needs, tickets: [None; 2], estimate, lasts, until });
        }
    }

    pub const fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    /// Admits the request that waits if all its budgets have enough; else it asks where there is too little. True when it
    /// was admitted.
    pub fn admit(&mut self, calm: bool, now: i64) -> Result<bool, String> {
        let Some(mut waiting) = self.waiting.take() else { return Ok(false) };
        let mut amounts = [None; 2];
        for at in 0..2 {
            let (lease, need) = (&mut self.seats[waiting.budgets[at]].lease, waiting.needs[at]);
            amounts[at] = match waiting.tickets[at] {
                Some((_, since)) => lease.fits_after(need, since, now),
                None => lease.fits(need, now),
            };
            if amounts[at].is_none() && waiting.tickets[at].is_none() {
                waiting.tickets[at] = Some((lease.wait(need), lease.heard()));
            }
        }
        let admitted = match amounts {
            [Some(one), Some(other)] => Some([one, other]),
            _ => None,
        };
        let has_heard = waiting
            .budgets
            .iter()
            .zip(waiting.tickets)
            .any(|(&budget, ticket)| ticket.is_some_and(|(_, since)| self.seats[budget].lease.heard() > since + 2));
        if admitted.is_none() && now < waiting.until && !has_heard && !calm {
            self.waiting = Some(waiting);
            return Ok(false);
        }
        for (&budget, ticket) in waiting.budgets.iter().zip(waiting.tickets) {
            if let Some((ticket, _)) = ticket {
                self.seats[budget].lease.wait_no_longer(ticket);
            }
        }
        let Some(amounts) = admitted else { return Ok(false) };
        for at in 0..2 {
            let seat = &mut self.seats[waiting.budgets[at]];
            let asked = waiting.tickets[at].is_some_and(|(_, since)| seat.lease.heard() > since);
            if now >= seat.contact.saturating_add(DEAD_AFTER) {
                return Err(format!("{} is not heard of since {}, and spends what it keeps", self.inc, seat.contact));
            }
            if seat.told_tight && !asked {
                return Err(format!("{} knows that little is left, and does not ask", self.inc));
            }
            seat.lease.take(amounts[at], now);
        }
        let Waiting { budgets, estimate, lasts, .. } = waiting;
        self.running.push(Running { budgets, amounts, estimate, until: now + lasts });
        Ok(true)
    }

    /// Gives up waiting for an answer that does not come.
    pub fn gives_up(&mut self, budget: usize, now: i64) {
        let seat = &mut self.seats[budget];
        if let Some((seq, until)) = seat.asked
            && until <= now
        {
            seat.lease.hear_nothing(seq);
            seat.asked = None;
        }
    }

    /// Whether it has something to say about a budget, and may.
    pub fn is_due(&self, budget: usize, calm: bool, now: i64) -> bool {
        let Seat { lease, asked, seeding_until, tell_at, .. } = &self.seats[budget];
        let waits = self.waiting.as_ref().is_some_and(|waiting| {
            waiting.budgets.iter().zip(waiting.tickets).any(|(&of, ticket)| of == budget && ticket.is_some())
        });
        let hurries = lease.is_tight() || lease.in_debt();
        // In peace somebody asks now and then.
        let speaks = lease.has_news(now) || calm;
        asked.is_none() && *seeding_until <= now && (waits || (speaks && (hurries || *tell_at <= now)))
    }

    /// What it has to say, if it may.
    pub fn say(
        &mut self,
        budget: usize,
        settings: &LeaseSettings,
        written: Lsn,
        now: i64,
    ) -> Result<Option<Statement>, String> {
        let seat = &mut self.seats[budget];
        if seat.asked.is_some() || seat.seeding_until > now {
            return Ok(None);
        }
        let with = Context { inc: self.inc, settings, zone: &TimeZone::UTC, written, now };
        let statement = seat.lease.state(Occasion::default(), &with);
        seat.asked = Some((statement.seq, now + TIMEOUT));
        if seat.told_tight && statement.kept > Usd::ZERO {
            return Err(format!("{} knows that little is left, and keeps {}", self.inc, statement.kept));
        }
        Ok(Some(statement))
    }

    pub fn hear(&mut self, budget: usize, seq: u64, answer: Answer, now: i64) -> Heard {
        let seat = &mut self.seats[budget];
        let tight = matches!(&answer, Answer::Ok(taken) if taken.tight);
        let heard = seat.lease.hear(seq, answer, DEAD_AFTER, now);
        if heard != Heard::Ignored
            && let Some((_, until)) = seat.asked.take()
            && matches!(heard, Heard::Done { .. })
        {
            (seat.contact, seat.told_tight) = (until - TIMEOUT, tight);
        }
        heard
    }
}

const _: () = assert!(BUDGETS >= 2, "requests take from two");
