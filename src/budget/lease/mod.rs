//! One budget on this node: what it holds, what of that is reserved, and what was charged and not told yet.
//!
//! A state machine without I/O and without a clock: statements come out, answers go in.

mod alone;
mod charges;
mod telling;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(super) use alone::Alone;
use charges::Charges;
use telling::DENIAL_LIFE;
pub(super) use telling::{Context, Heard, Occasion, SAY_AGAIN};

use super::denial::{Denial, Facts, Need};
use super::protocol::{Item, Lsn, Position, Terms, WindowReport};
use super::rules::{Rule, Rules};
use super::solo::Solo;
use super::terms;
use crate::limit::{BudgetId, Policy, Scope};
use crate::money::Usd;
use jiff::tz::TimeZone;

/// One budget on this node.
#[derive(Debug)]
pub(super) struct Lease {
    budget: BudgetId,
    terms: Arc<Terms>,
    held: Usd,
    reserved: Usd,
    charges: Charges,
    seq: u64,
    outstanding: Option<Sent>,
    /// What is held may be spent until then without being heard of.
    fresh_until: i64,
    /// What is reserved ends at the authority unless it is told by then; of money it never does.
    renew_at: i64,
    /// A cap falls then.
    valid_until: i64,
    tight: bool,
    /// Nothing is spent before the authority has been asked again.
    must_ask: bool,
    /// The last statement may have been taken without an answer having come.
    unsure: bool,
    /// How many statements were taken.
    heard: u64,
    known: Option<Known>,
    /// None while the authority is there.
    solo: Option<Box<Solo>>,
    waiting: Vec<(u64, Need)>,
    tickets: u64,
    /// When it last served a request.
    pub used_at: i64,
    /// When the fixed five hours that run now began, as far as the ledger was told.
    started: Option<i64>,
    /// When the driver looks at it next; `i64::MAX`: not at all.
    pub due: i64,
    /// A flight is under way.
    pub flying: bool,
    /// It is no longer in the table.
    pub gone: bool,
    /// No request has used it here.
    stranger: bool,
    rules: Rules,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    seq: u64,
    at: i64,
    to: u64,
    told: Usd,
    reserved: Usd,
}

/// What the last answer said.
#[derive(Debug)]
struct Known {
    at: i64,
    free: Usd,
    /// What was held here.
    held: Usd,
    until: i64,
    /// Nothing can be granted for now.
    blocked: bool,
    windows: Arc<[WindowReport]>,
}

/// Whether a budget can pay, as far as is known.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It can, when asked.
    Payable,
    /// It cannot.
    Denied(Vec<Denial>),
    /// It probably cannot: ask why.
    AskWhy,
    /// Nothing is known.
    Unknown,
}

impl Lease {
    pub fn new(budget: BudgetId, policy: Arc<Policy>, zone: &TimeZone, now: i64, rules: Rules) -> Self {
        Self {
            budget,
            terms: Arc::new(terms::of(policy, zone, now)),
            held: Usd::ZERO,
            reserved: Usd::ZERO,
            charges: Charges::new(matches!(budget.scope, Scope::Count(_))),
            // A budget that was forgotten and met again goes on above the numbers of its earlier statements.
            seq: u64::try_from(now).unwrap_or_default().saturating_mul(1_000),
            outstanding: None,
            fresh_until: i64::MIN,
            renew_at: i64::MAX,
            valid_until: i64::MAX,
            tight: false,
            must_ask: false,
            unsure: false,
            heard: 0,
            known: None,
            solo: None,
            waiting: Vec::new(),
            tickets: 0,
            used_at: now,
            started: None,
            due: i64::MAX,
            flying: false,
            gone: false,
            stranger: false,
            rules,
        }
    }

    /// The authority is only told that nothing is held of a budget that no request has used here.
    pub fn become_stranger(&mut self) {
        if !self.policy().windows.is_empty() {
            // A request was faster.
            return;
        }
        self.stranger = true;
        // There are none to remember.
        self.charges.watched_from(0);
    }

    /// A request uses the budget: from this place in the journal on all charges are remembered.
    pub fn meet(&mut self, lsn: Lsn) {
        if std::mem::take(&mut self.stranger) {
            self.charges.watched_from(lsn);
        }
    }

    /// Whether no request has used it here.
    pub const fn is_stranger(&self) -> bool {
        self.stranger
    }

    /// The authority does not know it. When no request has used it here either, there is nothing left to say of it.
    pub const fn leave_as_stranger(&mut self) -> bool {
        self.unsure &= !self.stranger;
        self.stranger
    }

    /// All charges up to here were made before this budget was watched.
    pub fn watched_from(&mut self, lsn: Lsn) {
        self.charges.watched_from(lsn);
    }

    /// The caps as the node knows them.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.terms.policy
    }

    /// The caps with the windows that `now` is in.
    pub fn terms(&mut self, zone: &TimeZone, now: i64) -> &Arc<Terms> {
        if terms::is_over(&self.terms, now) {
            self.terms = Arc::new(terms::of(Arc::clone(&self.terms.policy), zone, now));
        }
        &self.terms
    }

    /// Later caps replace the ones known; of caps that carry no order the ones stated last do.
    pub fn adopt(&mut self, policy: &Arc<Policy>, zone: &TimeZone, now: i64) {
        let ours = &self.terms.policy;
        if Arc::ptr_eq(ours, policy) || policy.version < ours.version || policy == ours {
            return;
        }
        self.terms = Arc::new(terms::of(Arc::clone(policy), zone, now));
        self.must_ask();
        self.solo = None;
    }

    /// Nothing is spent before the authority has been asked.
    pub fn must_ask(&mut self) {
        self.must_ask = true;
        self.known = None;
    }

    /// What a request that needs so much would take without asking.
    pub fn fits(&self, need: Need, now: i64) -> Option<Usd> {
        (self.may_spend(now) && !self.tight && self.waiting.is_empty() && self.free_here() >= need.amount)
            .then_some(need.amount)
    }

    /// What a request that has waited would take, after an answer since it began to wait.
    pub fn fits_after(&self, need: Need, since: u64, now: i64) -> Option<Usd> {
        if !self.may_spend(now) || (self.tight && self.heard <= since) {
            return None;
        }
        let free = self.free_here();
        if free >= need.amount {
            return Some(need.amount);
        }
        let content = need.least < need.amount && self.reserved == Usd::ZERO && free >= need.least;
        (content && self.heard > since).then_some(free)
    }

    /// Sets aside what [`Self::fits`] said, or anything at all by force.
    pub fn take(&mut self, amount: Usd, now: i64) {
        self.reserved += amount;
        self.used_at = self.used_at.max(now);
    }

    /// Gives back what was set aside.
    pub fn release(&mut self, amount: Usd) {
        self.reserved = (self.reserved - amount).max(Usd::ZERO);
    }

    /// Records what was charged.
    pub fn charge(&mut self, lsn: Lsn, at: i64, era: i64, amount: Usd) {
        let item = self.charges.add(lsn, at, era.max(self.terms.policy.era), amount);
        if let Some(solo) = &mut self.solo {
            solo.charge(&item, at);
        }
        self.used_at = self.used_at.max(at);
    }

    /// The era that charges are made in now.
    pub fn era(&self) -> i64 {
        self.terms.policy.era
    }

    /// How many statements were taken so far.
    pub const fn heard(&self) -> u64 {
        self.heard
    }

    /// A request begins to wait for so much.
    pub fn wait(&mut self, need: Need) -> u64 {
        self.tickets += 1;
        self.waiting.push((self.tickets, need));
        self.tickets
    }

    /// It waits no longer.
    pub fn wait_no_longer(&mut self, ticket: u64) {
        self.waiting.retain(|&(waiting, _)| waiting != ticket);
        if self.waiting.is_empty() {
            self.waiting.shrink_to(4);
        }
    }

    /// What a request needs of this budget.
    pub fn need(&self, amount: Usd, all_that_is_left: bool, now: i64) -> Need {
        let beyond = all_that_is_left && self.policy().windows.iter().any(|window| window.cap_at(now) < amount);
        Need { amount, least: if beyond { Usd::from_nanos(1) } else { amount } }
    }

    /// Whether the budget can pay, from what was last heard.
    pub fn verdict(&self, need: Need, now: i64) -> Verdict {
        let Some(known) = &self.known else { return Verdict::Unknown };
        if known.blocked {
            return Verdict::Unknown;
        }
        let available = self.free_here().max(Usd::ZERO);
        let required = if self.reserved == Usd::ZERO { need.least } else { need.amount };
        if required <= available + known.free.max(Usd::ZERO) {
            return Verdict::Payable;
        }
        if known.windows.is_empty() {
            return Verdict::AskWhy;
        }
        let untold = self.charges.untold();
        let denials = self.policy().windows.iter().filter_map(|policy| {
            let report = known.windows.iter().find(|report| report.window == policy.window)?;
            Facts { budget: self.budget, policy, report, untold, available }.deny(required, need.amount, now)
        });
        let denials: Vec<_> = denials.collect();
        if denials.is_empty() { Verdict::AskWhy } else { Verdict::Denied(denials) }
    }

    /// A verdict that may be given without asking: it was asked a moment ago.
    pub fn fresh_denial(&self, need: Need, now: i64) -> Option<Vec<Denial>> {
        let fresh = !self.must_ask && self.known.as_ref().is_some_and(|known| now < known.until);
        match (fresh, fresh.then(|| self.verdict(need, now))) {
            (true, Some(Verdict::Denied(denials))) => Some(denials),
            _ => None,
        }
    }

    /// Whether what was heard is so old that others may have given something back since. Not as long as it is asked for.
    pub fn is_outdated(&self, now: i64) -> bool {
        !self.unsure && self.known.as_ref().is_some_and(|known| now >= known.at.saturating_add(DENIAL_LIFE))
    }

    /// Whether nothing can be granted for now, whoever asks.
    pub fn is_blocked(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.blocked)
    }

    /// The state of the windows, as last heard.
    pub fn windows(&self) -> Option<Arc<[WindowReport]>> {
        self.known.as_ref().map(|known| Arc::clone(&known.windows))
    }

    /// What is held, with what of it is reserved; and what was charged and not told.
    pub const fn own(&self) -> (Usd, Usd) {
        (self.held, self.charges.untold())
    }

    /// By what an authority that has counted up to a position differs from a ledger that contains everything up to a
    /// place in the journal. None: that is no longer known.
    pub fn beyond(&self, written: Lsn, position: Position) -> Option<Vec<Item>> {
        self.charges.beyond(written, position)
    }

    /// What is in the database since a while need not be remembered.
    pub fn trim(&mut self, written: Lsn) {
        self.charges.trim(written);
    }

    /// Whether it can be forgotten: nothing is held, reserved or remembered.
    pub fn is_spent(&self) -> bool {
        self.is_at_rest() && self.charges.is_empty()
    }

    /// Whether it can be forgotten once it has been trimmed up to there.
    pub fn is_spent_up_to(&self, written: Lsn) -> bool {
        self.is_at_rest() && self.charges.are_settled(written)
    }

    fn is_at_rest(&self) -> bool {
        self.waiting.is_empty() && self.held == Usd::ZERO && self.reserved == Usd::ZERO && !self.unsure && !self.flying
    }

    /// Whether it can be forgotten once what is held has been given back.
    pub fn is_over(&self) -> bool {
        self.waiting.is_empty() && self.reserved == Usd::ZERO && self.charges.is_empty()
    }

    /// Whether more was reserved or charged than was held.
    pub fn in_debt(&self) -> bool {
        self.free_here() < Usd::ZERO
    }

    /// Whether nothing may be spent before the authority has been asked.
    pub const fn asks_before_spending(&self) -> bool {
        self.must_ask
    }

    /// Whether the last statement was not answered, or not yet.
    pub const fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// Whether near the cap, where every change is told at once.
    pub const fn is_tight(&self) -> bool {
        self.tight
    }

    /// Whether requests are counted, not money.
    pub const fn is_count(&self) -> bool {
        matches!(self.budget.scope, Scope::Count(_))
    }

    fn free_here(&self) -> Usd {
        self.held - self.charges.untold() - self.reserved
    }

    fn may_spend(&self, now: i64) -> bool {
        self.is_fresh(now) && now < self.valid_until && !self.must_ask
    }

    fn is_fresh(&self, now: i64) -> bool {
        now < self.fresh_until || !self.rules.hold(Rule::Fresh)
    }
}
