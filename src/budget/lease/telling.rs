//! What a budget on this node tells the authority, and what comes of the answers.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::{Known, Lease, Sent};
use crate::budget::account::MINUTE;
use crate::budget::protocol::{Answer, Incarnation, Lsn, Statement, Taken, Terms};
use crate::budget::rules::Rule;
use crate::budget::settings::LeaseSettings;
use crate::config;
use crate::limit::{CountKind, Scope};
use crate::money::Usd;

/// What was learnt about a budget without money is trusted for so long.
pub(super) const DENIAL_LIFE: i64 = 250;

/// The same of requests, whose places are freed one by one and asked for again at once.
const COUNT_DENIAL_LIFE: i64 = 10;

/// What may have been told without an answer having come is said again after so long.
pub(in super::super) const SAY_AGAIN: i64 = 1_000;

/// In milliseconds.
const MARGIN: i64 = config::Lease::MARGIN.as_secs().cast_signed() * 1_000;

/// What an answer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Heard {
    /// All is said.
    Done {
        /// Others keep something that they could give back.
        recallable: bool,
        /// Fixed five hours began: the ledger is to be told.
        started: Option<i64>,
        /// The authority wants a new seed.
        reseed: bool,
    },
    /// Say it again, from another position.
    Again,
    /// The authority needs to be seeded first.
    Seed,
    /// It answers nothing that is waited for.
    Ignored,
}

/// Why a statement is made.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Occasion {
    /// Everything that is not reserved goes back.
    pub give_back: bool,
    /// The state of the windows is wanted.
    pub report: bool,
    /// The budget is about to be forgotten.
    pub last: bool,
}

/// What a statement is made with.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Context<'a> {
    pub inc: Incarnation,
    pub settings: &'a LeaseSettings,
    pub zone: &'a TimeZone,
    pub written: Lsn,
    pub now: i64,
}

impl Lease {
    /// Makes a statement. What it gives back is gone from here before it is sent.
    pub fn state(&mut self, occasion: Occasion, with: &Context<'_>) -> Statement {
        let now = with.now;
        let terms = Arc::clone(self.terms(with.zone, now));
        let free = self.free_here().max(Usd::ZERO);
        let idle = self.waiting.is_empty() && now - self.used_at >= with.settings.idle_return;
        let spendable = self.is_fresh(now) && now < self.valid_until && !self.tight;
        let kept = if spendable && !idle && !occasion.give_back { free } else { Usd::ZERO };
        self.held -= free - kept;
        let needs = || self.waiting.iter().map(|(_, need)| *need);
        let need_sum = (needs().map(|need| need.amount).sum::<Usd>() - kept).max(Usd::ZERO);
        let need_min = (needs().map(|need| need.least).min().unwrap_or(Usd::ZERO) - kept).max(Usd::ZERO);
        self.seq += 1;
        self.unsure = true;
        let (items, to) = self.charges.untold_items();
        // Of counts nothing is ever written.
        let (written, unwritten) =
            if self.is_count() { (0, Usd::ZERO) } else { (with.written, self.charges.after(with.written)) };
        self.outstanding =
            Some(Sent { seq: self.seq, at: now, to, told: self.charges.untold(), reserved: self.reserved });
        Statement {
            inc: with.inc,
            seq: self.seq,
            sent: now,
            from: self.charges.position(),
            to,
            items,
            reserved: self.reserved,
            kept,
            written,
            unwritten,
            need_min,
            need_sum,
            slice: with.settings.slice(self.policy(), now),
            slice_min: if self.is_count() { Usd::from_nanos(1) } else { with.settings.min },
            ends_after: self.ends_after(with.settings.dead_after),
            // It may have been charged since that was decided.
            last: occasion.last && unwritten == Usd::ZERO,
            report: occasion.report,
            terms,
        }
    }

    /// Takes the answer to the statement of this number.
    pub fn hear(&mut self, seq: u64, answer: Answer, dead_after: i64, now: i64) -> Heard {
        let Some(sent) = self.outstanding.filter(|sent| sent.seq == seq) else { return Heard::Ignored };
        self.outstanding = None;
        match answer {
            Answer::Ok(taken) => self.hear_taken(sent, *taken, dead_after, now),
            Answer::Seed => Heard::Seed,
            Answer::Resend(position) => {
                let before = self.charges.untold();
                self.solo = None;
                if !self.charges.move_to(position) {
                    return Heard::Seed;
                }
                // The authority's sum and what it thinks is held here move by the same charges.
                if self.rules.hold(Rule::Rebased) {
                    self.held += self.charges.untold() - before;
                }
                Heard::Again
            }
            Answer::Old | Answer::Stale => Heard::Again,
        }
    }

    /// No answer came. Whatever it was, the next statement puts it right.
    pub fn hear_nothing(&mut self, seq: u64) {
        if self.outstanding.is_some_and(|sent| sent.seq == seq) {
            self.outstanding = None;
        }
    }

    fn hear_taken(&mut self, sent: Sent, taken: Taken, dead_after: i64, now: i64) -> Heard {
        self.held = sent.reserved + taken.kept;
        self.charges.told(sent.to, sent.told);
        self.fresh_until = sent.at.saturating_add(dead_after - MARGIN);
        if self.is_count() {
            self.renew_at = sent.at.saturating_add(dead_after / 3);
        }
        self.valid_until = taken.valid_until;
        self.tight = taken.tight && self.rules.hold(Rule::Tight);
        self.heard += 1;
        self.must_ask = false;
        self.unsure = false;
        self.solo = None;
        if let Some(policy) = taken.policy {
            self.terms = Arc::new(Terms { policy, bounds: Vec::new() });
        }
        let memory = if self.is_count() { COUNT_DENIAL_LIFE } else { DENIAL_LIFE };
        self.known = Some(Known {
            at: now,
            free: taken.free,
            held: self.held,
            until: now.saturating_add(memory).min(taken.steady_until),
            blocked: taken.unknown || taken.settling,
            windows: taken.windows.into(),
        });
        let started = taken.started.filter(|_| taken.started != self.started);
        if started.is_some() {
            self.started = started;
        }
        Heard::Done { recallable: taken.recallable > Usd::ZERO, started, reseed: taken.reseed }
    }

    /// Whether a statement would say anything new, or that what is reserved still is.
    pub fn has_news(&self, now: i64) -> bool {
        let renews = self.reserved > Usd::ZERO && now >= self.renew_at;
        renews || self.held != self.reserved || self.charges.untold() != Usd::ZERO || self.must_ask || self.unsure
    }

    /// When it is to be looked at again, at `now`.
    pub fn next_look(&self, settings: &LeaseSettings, now: i64, remember: i64) -> i64 {
        if self.unsure {
            return now + settings.idle_return.min(SAY_AGAIN);
        }
        if self.free_here() > Usd::ZERO {
            return (self.used_at + settings.idle_return).max(now + settings.idle_return / 2);
        }
        if self.has_news(now) {
            return now + settings.life / 2;
        }
        if self.reserved > Usd::ZERO {
            return self.renew_at;
        }
        now + if self.charges.is_empty() { settings.idle_return } else { remember }
    }

    /// After how much silence what is held ends. A request of a node that died may have been admitted just before, and
    /// then counts for a minute.
    const fn ends_after(&self, dead_after: i64) -> i64 {
        match self.budget.scope {
            Scope::Count(CountKind::Concurrency) => dead_after,
            Scope::Count(CountKind::Rpm) => dead_after.saturating_add(MINUTE),
            Scope::Mainline | Scope::ModelGroup(_) => i64::MAX,
        }
    }
}
