//! Taking one of each limit, or none; asking for what this node does not hold.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::{OptionFuture, join4};
use parking_lot::MutexGuard;
use tokio::time::Instant;

use super::Held;
use crate::budget::acquire::{PATIENCE, SETTLING, Step, Ticket};
use crate::budget::denial::Need;
use crate::budget::lease::{Lease, Occasion, Verdict};
use crate::budget::table::Entry;
use crate::budget::{Budgets, Denial};
use crate::limit::{
    Axis, BudgetId, CapStep, CountKind, CountLimits, CountRefusal, CountSubject, Mode, Policy, Scope, Source, Window,
    WindowPolicy,
};
use crate::money::Usd;

/// One request.
pub const ONE: Usd = Usd::from_nanos(1);

const NEED: Need = Need { amount: ONE, least: ONE };

/// Per limit of a request, in the order in which they are locked and reported.
pub type Each<T> = [T; 4];

type Entries = Each<Option<Arc<Entry>>>;

/// The limits that a request has to fit into.
pub struct Wants(Each<Option<Want>>);

/// One limit.
struct Want {
    id: BudgetId,
    limit: u32,
    stamp: i64,
}

enum Taking {
    Took,
    /// These have too little.
    Short(Each<bool>),
    /// A budget was forgotten in between: look it up again.
    Gone,
}

impl Wants {
    /// None when there is no limit.
    pub fn of(subject: &CountSubject) -> Option<Self> {
        let want = |axis, owner, limits: CountLimits, kind| {
            let limit = match kind {
                CountKind::Rpm => limits.rpm,
                CountKind::Concurrency => limits.max_concurrent,
            };
            let id = BudgetId { axis, owner, scope: Scope::Count(kind) };
            limit.map(|limit| Want { id, limit, stamp: limits.stamp })
        };
        let wants = [
            want(Axis::Key, subject.key_id, subject.key, CountKind::Rpm),
            want(Axis::Key, subject.key_id, subject.key, CountKind::Concurrency),
            want(Axis::User, subject.user_id, subject.user, CountKind::Rpm),
            want(Axis::User, subject.user_id, subject.user, CountKind::Concurrency),
        ];
        wants.iter().any(Option::is_some).then_some(Self(wants))
    }
}

impl Want {
    fn is_in(&self, policy: &Policy) -> bool {
        policy.version > self.stamp || (policy.version == self.stamp && policy.windows[0].base == self.cap())
    }

    fn cap(&self) -> Usd {
        Usd::from_nanos(self.limit.into())
    }

    fn policy(&self) -> Arc<Policy> {
        let (window, mode) = match self.id.scope {
            Scope::Count(CountKind::Rpm) => (Window::Minute, Mode::Rolling),
            _ => (Window::AtOnce, Mode::Forever),
        };
        let source = if self.id.axis == Axis::Key { Source::Key } else { Source::User };
        let caps = vec![CapStep { from: i64::MIN, cap: self.cap() }];
        let window = WindowPolicy { window, mode, base: self.cap(), caps, source: source(self.id.owner), since_era: 0 };
        Arc::new(Policy { version: self.stamp, era: 0, windows: vec![window] })
    }
}

impl Budgets {
    /// Takes one of each, if this node holds so much; none when somebody has to be asked.
    pub(super) fn try_count(self: &Arc<Self>, wants: &Wants, now: i64) -> Option<Held> {
        let entries = self.counted(wants, now);
        match self.take_each(wants, &entries, None, now) {
            Taking::Took => Some(Held::new(Arc::clone(self), entries, now, false)),
            Taking::Short(_) | Taking::Gone => None,
        }
    }

    /// Takes one of each, and waits for what this node does not hold.
    ///
    /// # Errors
    ///
    /// The first limit that is used up.
    pub(super) async fn count(self: &Arc<Self>, wants: &Wants, at: i64) -> Result<Held, CountRefusal> {
        let deadline = Instant::now() + PATIENCE;
        let mut entries = self.counted(wants, at);
        let mut waiter = Waiter::default();
        loop {
            let now = at.max((self.clock)());
            let short = match self.take_each(wants, &entries, Some(&waiter), now) {
                Taking::Took => {
                    let blindly = waiter.blindly.contains(&true);
                    return Ok(Held::new(Arc::clone(self), entries, now, blindly));
                }
                Taking::Gone => {
                    waiter = Waiter { blindly: waiter.blindly, ..Waiter::default() };
                    entries = self.counted(wants, now);
                    continue;
                }
                Taking::Short(short) => short,
            };
            let late = Instant::now() >= deadline;
            let mut refusal = None;
            let mut settle = false;
            let mut again = false;
            let mut asks: Each<Option<Occasion>> = [None; 4];
            for at in (0..4).filter(|&at| short[at]) {
                let Some(entry) = &entries[at] else { continue };
                match self.want(entry, &mut waiter.tickets[at], late, now) {
                    Step::Ask(occasion) => asks[at] = Some(occasion),
                    Step::Settle => settle = true,
                    Step::Deny(denials) => refusal = refusal.or_else(|| Some(refuse(denials.first()?, now))),
                    Step::Away => {
                        self.stats.violation();
                        waiter.blindly[at] = true;
                        waiter.tickets[at] = None;
                        again = true;
                    }
                }
            }
            if again {
                continue;
            }
            if asks.iter().any(Option::is_some) {
                let ask = |at: usize| OptionFuture::from(self.ask_of(&entries[at], asks[at]));
                let flights = join4(ask(0), ask(1), ask(2), ask(3));
                // One that is given up is asked for again by the driver.
                let _ = tokio::time::timeout_at(deadline, flights).await;
            } else if settle {
                tokio::time::sleep(SETTLING).await;
            } else if let Some(refusal) = refusal {
                drop(waiter);
                // What was granted of the other limits is of no use here.
                for entry in entries.iter().flatten() {
                    self.tell_later(entry, &mut entry.lease.lock(), now);
                }
                return Err(refusal);
            }
        }
    }

    fn counted(&self, wants: &Wants, now: i64) -> Entries {
        wants.0.each_ref().map(|want| {
            let want = want.as_ref()?;
            Some(self.table.get(want.id).unwrap_or_else(|| self.entry(want.id, &want.policy(), now)))
        })
    }

    /// Locks in the order of the limits, which is the same for everybody.
    fn take_each(&self, wants: &Wants, entries: &Entries, waiter: Option<&Waiter>, now: i64) -> Taking {
        let mut leases: Each<Option<MutexGuard<'_, Lease>>> = [const { None }; 4];
        let mut short = [false; 4];
        for at in 0..4 {
            let (Some(entry), Some(want)) = (&entries[at], &wants.0[at]) else { continue };
            let mut lease = entry.lease.lock();
            if lease.gone {
                return Taking::Gone;
            }
            if !want.is_in(lease.policy()) {
                lease.adopt(&want.policy(), &self.settings.load().zone, now);
            }
            let ticket = waiter.and_then(|waiter| waiter.tickets[at].as_ref());
            let fits = match ticket {
                _ if waiter.is_some_and(|waiter| waiter.blindly[at]) => true,
                Some(ticket) => lease.fits_after(NEED, ticket.since, now).is_some(),
                None => lease.fits(NEED, now).is_some(),
            };
            short[at] = !fits;
            leases[at] = Some(lease);
        }
        if short.contains(&true) {
            return Taking::Short(short);
        }
        for lease in leases.iter_mut().flatten() {
            lease.take(ONE, now);
        }
        Taking::Took
    }

    /// What to do about a limit of which this node holds too little.
    fn want(&self, entry: &Arc<Entry>, ticket: &mut Option<Ticket>, late: bool, now: i64) -> Step {
        let mut lease = entry.lease.lock();
        let away = now < self.away_until.load(Ordering::Relaxed) && lease.is_unsure();
        let Some(ticket) = ticket else {
            if let Some(denials) = lease.fresh_denial(NEED, now) {
                return Step::Deny(denials);
            }
            // It was asked for a moment ago, without an answer.
            if away {
                return Step::Away;
            }
            *ticket = Some(Ticket::new(entry, &mut lease, NEED));
            return Step::Ask(Occasion::default());
        };
        let heard = lease.heard() > ticket.since;
        match lease.verdict(NEED, now) {
            Verdict::Denied(denials) if heard => Step::Deny(denials),
            _ if late || away => Step::Away,
            Verdict::Unknown if heard => {
                // Whoever sleeps lets the next one ask.
                ticket.since = lease.heard();
                Step::Settle
            }
            Verdict::AskWhy => Step::Ask(Occasion { report: true, ..Occasion::default() }),
            _ => Step::Ask(Occasion::default()),
        }
    }
}

/// A request that waits. What it needs is part of what is asked for until it is dropped.
#[derive(Default)]
struct Waiter {
    tickets: Each<Option<Ticket>>,
    /// Limits that cannot be asked about: this node decides.
    blindly: Each<bool>,
}

fn refuse(denial: &Denial, now: i64) -> CountRefusal {
    let requests = |amount: Usd| u32::try_from(amount.nanos()).unwrap_or(u32::MAX);
    let kind = match denial.budget.scope {
        Scope::Count(kind) => kind,
        Scope::Mainline | Scope::ModelGroup(_) => CountKind::Rpm,
    };
    // Without a known end others hold it: their requests at once, or those of a minute that are not decided yet.
    let wait = denial.resets_at.map_or(1, |at| (at - now).div_euclid(1_000) + i64::from((at - now) % 1_000 != 0));
    CountRefusal {
        axis: denial.budget.axis,
        kind,
        limit: requests(denial.cap),
        current: requests(denial.used + denial.reserved),
        retry_after: u32::try_from(wait.clamp(1, 60)).unwrap_or(1),
    }
}
