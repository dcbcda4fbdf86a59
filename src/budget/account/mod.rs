//! One budget at the authority: what is spent in each window, and what every node holds.
//!
//! After every statement and for every window: `spent + held by all nodes <= cap + debts`. Time never moves money:
//! what a node holds stays held until it says otherwise, or its journal has been replayed.

mod bytes;
mod resting;
mod window;

use std::sync::Arc;

pub use bytes::Bytes;
pub use resting::{Resting, policy_bytes, policy_of_bytes};
use window::slot_at;
pub use window::{MINUTE, SECOND, WindowState, query};

use super::protocol::{
    Answer, Audit, Holding, Incarnation, Item, Lsn, Position, SeedStatement, Seeded, Statement, Taken, Terms,
    WindowReport,
};
use super::rules::{Rule, Rules};
use crate::limit::{Policy, UNORDERED, WindowPolicy};
use crate::money::Usd;

/// A statement that is older is not trusted: the node has given it up and sent another.
pub const STALE_AFTER: i64 = 2_000;

/// A seed whose query is older may miss charges that nodes no longer remember.
const SEED_LIFE: i64 = 5_000;

/// A node whose clock is ahead by no more (milliseconds) begins the next minute, or day, for everybody. One that is further
/// ahead cannot say when it charged something or asked the ledger.
pub const AHEAD: i64 = 5_000;

/// Others are asked at most so often to give back what they do not use.
const RECALL_EVERY: i64 = 250;

/// Of caps that carry no order, those that allow less are in force as long as a node has stated them in this time.
const STATED_FOR: i64 = 60_000;

/// A node that a snapshot does not list and that was not heard of for so long has not begun after that snapshot: it has
/// ended before.
const SILENT: i64 = 60_000;

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

    /// Sets what was spent to what the ledger says.
    pub fn seed(&mut self, said: &SeedStatement, clock: i64) -> Seeded {
        let now = self.now.max(clock);
        let seed = &said.seed;
        let policy = &said.terms.policy;
        // The ledger knows nothing of counts: what the nodes have told is all there is.
        if self.is_count() && !self.windows.is_empty() {
            return Seeded::Refused;
        }
        let old = clock - seed.query_started > SEED_LIFE || seed.query_started < self.seeded_at;
        // Of a clock that is far ahead nobody knows when it began, and for so long nothing would be later.
        let ahead = seed.query_started - clock > AHEAD;
        if old || ahead || policy.version < self.policy.version || policy.windows.len() != said.terms.bounds.len() {
            return Seeded::Refused;
        }
        // What a node told before its journal was written further is in neither the sums nor what it has not written.
        let overtaken = |&(inc, mark): &(Incarnation, Lsn)| {
            self.holders.iter().any(|holder| holder.inc == inc && !holder.closed && mark < holder.written)
        };
        if self.rules.hold(Rule::Overtaken) && seed.marks.iter().any(overtaken) {
            return Seeded::Refused;
        }
        // A node that is a little ahead begins the next day, and then that is the time: what others charge until they know
        // would be of no window.
        let begun = said.terms.bounds.iter().flatten().map(|bounds| bounds.start).max().unwrap_or(now);
        if begun > self.now.max(clock + AHEAD) {
            return Seeded::Refused;
        }
        let now = now.max(begun);
        let mut windows = Vec::with_capacity(policy.windows.len());
        for (policy, &bounds) in policy.windows.iter().zip(&said.terms.bounds) {
            let known = seed.windows.iter().find(|window| window.window == policy.window);
            let (Some(known), false) = (known, WindowState::is_over(policy, bounds, now)) else {
                return Seeded::Refused;
            };
            windows.push(WindowState::seeded(policy, bounds, known, seed.first_charge_start, now));
        }
        self.now = now;
        self.policy = Arc::clone(policy);
        self.windows = windows.into();
        self.seeded_at = seed.query_started;
        let listed = |inc| seed.marks.iter().any(|&(marked, _)| marked == inc);
        // A node that the snapshot does not list has its whole journal in it, unless its life began after the snapshot.
        self.holders.retain(|holder| listed(holder.inc) || (!holder.closed && clock - holder.seen < SILENT));
        self.join.retain(|&inc| listed(inc));
        // A snapshot from before a node was closed may miss the end of its journal.
        self.reseed = self.holders.iter().any(|holder| holder.closed);
        for &(inc, _) in &seed.marks {
            self.holder(inc);
        }
        for holder in &mut self.holders {
            let mark = seed.marks.iter().find(|&&(inc, _)| inc == holder.inc).map_or(0, |&(_, lsn)| lsn);
            if self.rules.hold(Rule::Marks) {
                holder.position = Position::Mark(mark, self.settle_until);
            }
            if self.rules.hold(Rule::Pending) {
                holder.pending = holder.unwritten;
            }
        }
        Seeded::Taken
    }

    /// A node is gone and its journal is in the database.
    pub fn close(&mut self, inc: Incarnation) {
        // Nobody waits for it any more once the next seed has told what it spent.
        if let Some(holder) = self.holders.iter_mut().find(|holder| holder.inc == inc) {
            holder.closed = true;
            self.reseed = !self.is_count();
        }
    }

    /// The ledger says something else than was told.
    pub fn count_anew(&mut self) {
        self.reseed = !self.is_count();
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

    /// What is reserved is honoured, also as a debt; what is kept is never more than what was granted.
    fn take_holdings(&mut self, index: usize, said: &Statement, clock: i64) {
        let sum = said.items.iter().fold(Usd::ZERO, |sum, item| (sum + item.amount).min(EXACT));
        let joins = self.join.contains(&said.inc);
        self.join.retain(|&inc| inc != said.inc);
        let Some(holder) = self.holders.get_mut(index) else { return };
        // What was told before a seed and is told again was held meanwhile beside the rest.
        let first_told = if sum > Usd::ZERO { (sum - holder.pending).max(Usd::ZERO) } else { sum };
        let mut before = (holder.reserved + holder.kept).min(EXACT) - first_told;
        if joins {
            before = before.max((said.reserved + said.kept).min(EXACT));
        }
        holder.position = Position::At(said.to);
        if self.rules.hold(Rule::Forced) {
            holder.reserved = said.reserved;
            holder.kept = said.kept.min(before - said.reserved).max(Usd::ZERO);
        } else {
            // What the rule forbids: a debt as a negative holding, which others can spend again.
            holder.reserved = said.reserved.min(before);
            holder.kept = said.kept.min(before - said.reserved).max(Usd::ZERO);
        }
        (holder.written, holder.unwritten) = (said.written, said.unwritten);
        holder.pending = Usd::ZERO;
        holder.heard = true;
        holder.ends_at = clock.saturating_add(said.ends_after);
    }

    fn grant(&mut self, index: usize, said: &Statement, newer: Option<Arc<Policy>>, now: i64) -> Taken {
        let held = self.held();
        let caps = self.caps(now);
        let mut free = self.free(&caps, held);
        if let Some(holder) = self.holders.get_mut(index)
            && free < Usd::ZERO
        {
            let cut = holder.kept.min(-free);
            holder.kept -= cut;
            free += cut;
        }
        let settling = self.rules.hold(Rule::Join) && !self.join.is_empty() && now < self.settle_until;
        let unknown = self.windows.iter().any(|window| !window.known);
        let nodes = i64::try_from(self.holders.iter().filter(|holder| holder.heard).count()).unwrap_or(i64::MAX).max(1);
        let floor = free.max(Usd::ZERO);
        let mut granted = Usd::ZERO;
        if said.need_sum > Usd::ZERO && !settling && !unknown {
            let share = Usd::from_nanos(floor.nanos() / nodes.saturating_mul(2));
            let unhurried = if self.is_tight(free, said, nodes, &caps) {
                Usd::ZERO
            } else {
                said.slice.min(share).max(said.slice_min)
            };
            granted = said.need_sum.max(unhurried).min(floor);
            if granted < said.need_min {
                granted = Usd::ZERO;
            }
        }
        free -= granted;
        let mut kept = Usd::ZERO;
        let mut others = Usd::ZERO;
        for (at, holder) in self.holders.iter_mut().enumerate() {
            if at == index {
                holder.kept += granted;
                kept = holder.kept;
            } else {
                others += holder.kept;
            }
        }
        let denied = said.need_min > Usd::ZERO && granted == Usd::ZERO;
        let recallable = if denied && now.saturating_sub(self.recall_at) > RECALL_EVERY { others } else { Usd::ZERO };
        if recallable > Usd::ZERO {
            self.recall_at = now;
        }
        Taken {
            kept,
            granted,
            free,
            tight: self.is_tight(free, said, nodes, &caps),
            settling,
            recallable,
            valid_until: self.falls_at(now),
            steady_until: self.steady_until(now),
            policy: newer,
            started: self.windows.iter().find_map(WindowState::first_charge),
            reseed: self.reseed,
            unknown,
            windows: if denied || said.report { self.reports(&caps) } else { Vec::new() },
        }
    }

    /// A node that forgets the budget leaves nothing behind but its position.
    fn forget(&mut self, index: usize, said: &Statement) {
        let Some(holder) = self.holders.get_mut(index) else { return };
        if said.last && holder.reserved == Usd::ZERO && holder.kept == Usd::ZERO {
            holder.unwritten = Usd::ZERO;
            holder.heard = false;
        }
    }

    /// Near the cap every node takes what it needs and no more; where there are few places for each node, always.
    fn is_tight(&self, free: Usd, said: &Statement, nodes: i64, caps: &[Usd]) -> bool {
        let cap = caps.iter().min().map_or(0, |cap| cap.nanos());
        let mut need = said.need_min;
        if self.is_count() {
            if cap < nodes.saturating_mul(4) {
                return true;
            }
            need = need.max(Usd::from_nanos(1));
        }
        free < Usd::from_nanos(cap / 100).max(need.saturating_mul(2).saturating_mul(nodes))
    }

    fn is_count(&self) -> bool {
        self.policy.windows.iter().any(|policy| policy.window.is_count())
    }

    fn held(&self) -> Usd {
        let held = self.holders.iter().map(|holder| holder.reserved + holder.kept + holder.pending);
        held.fold(Usd::ZERO, |sum, held| (sum + held).min(EXACT))
    }

    fn caps(&self, now: i64) -> Vec<Usd> {
        self.policy.windows.iter().map(|policy| policy.cap_at(now)).collect()
    }

    fn free(&self, caps: &[Usd], held: Usd) -> Usd {
        let free = self.windows.iter().zip(caps).map(|(window, &cap)| (cap - window.spent - held).max(-EXACT));
        free.min().unwrap_or(Usd::ZERO)
    }

    fn reports(&self, caps: &[Usd]) -> Vec<WindowReport> {
        let held = self.held();
        let reserved = self.holders.iter().map(|holder| holder.reserved + holder.pending);
        let reserved = reserved.fold(Usd::ZERO, |sum, reserved| (sum + reserved).min(EXACT));
        self.windows.iter().zip(caps).map(|(window, &cap)| window.report(cap, held, reserved)).collect()
    }

    /// When a cap next falls.
    fn falls_at(&self, now: i64) -> i64 {
        let steps = self.policy.windows.iter().flat_map(|policy| policy.caps.windows(2));
        let falls = steps.filter(|pair| pair[1].from > now && pair[1].cap < pair[0].cap).map(|pair| pair[1].from);
        falls.min().unwrap_or(i64::MAX)
    }

    /// When time alone next changes what is free.
    fn steady_until(&self, now: i64) -> i64 {
        let caps = self.policy.windows.iter().flat_map(|policy| &policy.caps).map(|step| step.from);
        let windows = self.windows.iter().map(WindowState::steady_until);
        caps.chain(windows).filter(|&at| at > now).min().unwrap_or(i64::MAX)
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
