//! One budget at the authority: what is spent in each window, and what every node holds.
//!
//! After every statement and for every window: `spent + held by all nodes <= cap + debts`. Time never moves money:
//! what a node holds stays held until it says otherwise, or its journal has been replayed.

mod bytes;
mod grant;
mod resting;
mod seed;
mod window;

use std::sync::Arc;

pub use bytes::Bytes;
pub use resting::{Resting, policy_bytes, policy_of_bytes};
use window::slot_at;
pub use window::{MINUTE, SECOND, WindowState, query};

use super::protocol::{
    Answer, Audit, Holding, Incarnation, Item, Lsn, Position, SeedStatement, Seeded, Statement, Terms,
};
use super::rules::{Rule, Rules};
use crate::limit::{Policy, UNORDERED, WindowPolicy};
use crate::money::Usd;

/// A statement that is older is not trusted: the node has given it up and sent another.
pub const STALE_AFTER: i64 = 2_000;

/// A node whose clock is ahead by no more (milliseconds) begins the next minute, or day, for everybody. One that is further
/// ahead cannot say when it charged something or asked the ledger.
pub const AHEAD: i64 = 5_000;

/// Of caps that carry no order, those that allow less are in force as long as a node has stated them in this time.
const STATED_FOR: i64 = 60_000;

/// Up to here a double is exact. Redis calculates in doubles, and the authorities must not differ.
pub const EXACT: Usd = Usd::from_nanos((1 << 53) - 1);

/// What one node holds.
#[derive(Clone, Debug)]
struct Holder {
    inc: Incarnation,
    seq: u64,
    position: Position,
    reserved: Usd,
    kept: Usd,
    /// Up to where its journal was in the database when it last spoke.
    written: Lsn,
    /// Told by then, of places in the journal beyond that.
    unwritten: Usd,
    /// Told before the last seeding and perhaps not contained in it; held until the node speaks again.
    pending: Usd,
    /// It is gone: what it holds ends with the next seeding that contains its journal.
    closed: bool,
    /// It has stated something since the budget was created.
    heard: bool,
    /// When it last stated something; 0: never.
    seen: i64,
    /// When what it holds ends if it says nothing; of money never.
    ends_at: i64,
}

/// One budget.
#[derive(Clone, Debug)]
pub struct Account {
    policy: Arc<Policy>,
    now: i64,
    seeded_at: i64,
    recall_at: i64,
    /// Until then nothing is granted while a node of `join` is missing. It also tells what was said before the authority
    /// forgot everything from what is said since.
    settle_until: i64,
    join: Vec<Incarnation>,
    /// The counters belong to other caps.
    reseed: bool,
    /// Who last stated these caps, and when.
    stated: (Incarnation, i64),
    windows: Box<[WindowState]>,
    holders: Vec<Holder>,
    rules: Rules,
}

impl Account {
    /// A budget as the ledger knows it. Nothing is granted before `settle_until` until all nodes have spoken.
    pub fn new(seed: &SeedStatement, settle_until: i64, now: i64, rules: Rules) -> Option<Self> {
        let mut account = Self {
            policy: Arc::clone(&seed.terms.policy),
            now,
            seeded_at: i64::MIN,
            recall_at: i64::MIN,
            settle_until,
            join: Vec::new(),
            reseed: false,
            stated: (0, 0),
            windows: Box::default(),
            holders: Vec::new(),
            rules,
        };
        if account.seed(seed, now) == Seeded::Refused {
            return None;
        }
        if now < settle_until {
            account.join = seed.seed.marks.iter().map(|&(inc, _)| inc).collect();
        }
        Some(account)
    }

    /// Takes a node's statement.
    pub fn exchange(&mut self, said: &Statement, clock: i64) -> Answer {
        // A fail-over to a slow clock never reopens a window; a node's clock may be a little ahead.
        let latest = clock + self.ahead();
        let ahead = said.items.iter().map(|item| item.minute).filter(|&minute| minute <= latest).max();
        self.now = self.now.max(clock).max(ahead.unwrap_or(clock));
        let now = self.now;
        self.end_silent(clock);
        if clock - said.sent > STALE_AFTER && self.rules.hold(Rule::Late) {
            return Answer::Stale;
        }
        let index = self.holder(said.inc);
        let Some(holder) = self.holders.get_mut(index) else { return Answer::Stale };
        if holder.closed {
            return Answer::Stale;
        }
        if said.seq <= holder.seq && self.rules.hold(Rule::Numbered) {
            return Answer::Old;
        }
        holder.seq = said.seq;
        holder.seen = clock;
        let position = holder.position;
        let newer = self.take_terms(&said.terms, said.inc);
        self.roll(&said.terms, now);
        if position != said.from && self.rules.hold(Rule::Addressed) {
            return Answer::Resend(position);
        }
        self.take_items(said, clock, now);
        self.take_holdings(index, said, clock);
        let taken = self.grant(index, said, newer, now);
        self.forget(index, said);
        Answer::Ok(Box::new(taken))
    }

    /// How far ahead a node's clock may be. The slots of counts are seconds: none of them may end early.
    fn ahead(&self) -> i64 {
        if self.is_count() { STALE_AFTER } else { AHEAD }
    }

    /// Whether something would be left of a node that ended.
    #[must_use]
    pub fn knows(&self, inc: Incarnation) -> bool {
        self.holders.iter().any(|holder| holder.inc == inc && !holder.closed)
    }

    /// Of counts, what a node held that was not heard of for so long that it must be dead ends: no ledger will ever
    /// say what became of it.
    pub fn end_silent(&mut self, clock: i64) {
        if self.rules.hold(Rule::Ends) {
            self.holders.retain(|holder| holder.ends_at > clock);
        }
    }

    /// What no rule allows: what a silent node holds ends because time has passed.
    #[cfg(test)]
    pub fn expire(&mut self, inc: Incarnation) {
        for holder in self.holders.iter_mut().filter(|holder| holder.inc == inc) {
            (holder.reserved, holder.kept) = (Usd::ZERO, Usd::ZERO);
        }
    }

    /// What is counted.
    #[must_use]
    pub fn audit(&self) -> Audit {
        let windows = self.windows.iter().map(WindowState::counted).collect();
        let holders = self.holders.iter().map(|holder| Holding {
            inc: holder.inc,
            position: holder.position,
            reserved: holder.reserved,
            kept: holder.kept,
            pending: holder.pending,
            unwritten: holder.unwritten,
            seen: holder.seen,
        });
        Audit { version: self.policy.version, reseed: self.reseed, windows, holders: holders.collect() }
    }

    /// Whether nobody holds anything of it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.held() == Usd::ZERO
    }

    /// When it was last spoken of.
    #[must_use]
    pub const fn last_contact(&self) -> i64 {
        self.now
    }

    fn holder(&mut self, inc: Incarnation) -> usize {
        if let Some(index) = self.holders.iter().position(|holder| holder.inc == inc) {
            return index;
        }
        // Most budgets have one for ever.
        self.holders.reserve_exact(1);
        self.holders.push(Holder {
            inc,
            seq: 0,
            position: Position::Mark(0, 0),
            reserved: Usd::ZERO,
            kept: Usd::ZERO,
            written: 0,
            unwritten: Usd::ZERO,
            pending: Usd::ZERO,
            closed: false,
            heard: false,
            seen: 0,
            ends_at: i64::MAX,
        });
        self.holders.len() - 1
    }

    /// The later caps win. Returns the stored ones when they are to replace the node's.
    fn take_terms(&mut self, said: &Terms, inc: Incarnation) -> Option<Arc<Policy>> {
        let (ours, theirs) = (&self.policy, &said.policy);
        let identical = Arc::ptr_eq(ours, theirs) || ours == theirs;
        if theirs.version < ours.version {
            return (theirs.windows != ours.windows || theirs.era != ours.era).then(|| Arc::clone(ours));
        }
        if !identical && theirs.version == ours.version {
            // What has been over since one of them was read is all that can be different; or one was made with an owner as he
            // was before a reset.
            if theirs.version != UNORDERED && !counts_from_later(theirs, ours) {
                return None;
            }
            let others = self.stated.0 != inc && self.now - self.stated.1 < STATED_FOR;
            if theirs.version == UNORDERED && others && !allows_no_more(theirs, ours, self.now) {
                return Some(Arc::clone(ours));
            }
        }
        self.stated = (inc, self.now);
        if !identical {
            let keep = |policy| self.windows.iter().find_map(|window| window.under(policy));
            let windows = theirs.windows.iter().zip(&said.bounds);
            self.windows = windows
                .map(|(policy, &bounds)| keep(policy).unwrap_or_else(|| WindowState::unknown(policy, bounds)))
                .collect();
            // The minute of a count is the same whatever its cap.
            self.reseed |= !self.is_count();
        }
        self.policy = Arc::clone(theirs);
        None
    }

    /// Lets go of what is over. The bounds come from the node, whose caps may be older ones.
    fn roll(&mut self, said: &Terms, now: i64) {
        for window in &mut self.windows {
            let theirs = said.policy.windows.iter().zip(&said.bounds);
            let bounds = theirs.filter(|(policy, _)| window.is_of(policy)).find_map(|(_, bounds)| *bounds);
            window.roll(bounds, now);
        }
    }

    fn take_items(&mut self, said: &Statement, clock: i64, now: i64) {
        let slot = if self.is_count() { SECOND } else { MINUTE };
        // Nothing is in a time that is still to come, whatever a node's clock says.
        let latest = slot_at(clock + self.ahead(), slot);
        for item in &said.items {
            let item = Item { minute: item.minute.min(latest), ..*item };
            for window in &mut self.windows {
                window.add(&item, now);
            }
        }
    }

    fn is_count(&self) -> bool {
        self.policy.windows.iter().any(|policy| policy.window.is_count())
    }
}

/// Whether a window counts from a later reset than its like.
fn counts_from_later(one: &Policy, other: &Policy) -> bool {
    let later = |ours: &WindowPolicy| {
        let like = other.windows.iter().filter(|theirs| is_like(ours, theirs));
        { like }.any(|theirs| ours.since_era > theirs.since_era)
    };
    one.windows.iter().any(later)
}

/// Whether one policy allows no more than another at `now`, in all windows of that one.
fn allows_no_more(one: &Policy, other: &Policy, now: i64) -> bool {
    other.windows.iter().all(|theirs| {
        let like = one.windows.iter().filter(|ours| is_like(ours, theirs));
        { like }.any(|ours| ours.cap_at(now) <= theirs.cap_at(now))
    })
}

/// Whether they are the same window and start anew in the same way.
fn is_like(one: &WindowPolicy, other: &WindowPolicy) -> bool {
    one.window == other.window && one.mode == other.mode
}
