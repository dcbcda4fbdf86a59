//! Taking from all budgets of a request, or from none; asking for what this node does not hold.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{OptionFuture, join4};
use parking_lot::MutexGuard;
use tokio::time::Instant;

use super::denial::Need;
use super::lease::{Alone, Lease, Occasion, Verdict};
use super::table::Entry;
use super::waiter::{Ticket, Waiter};
use super::{Budgets, Denial, Denied, ReserveError};
use crate::limit::{BudgetId, Policy};
use crate::money::Usd;

/// A request waits at most so long to learn what is left of its budgets, and for what others have set aside. What is left
/// after that wait it learns in as much time again.
const PATIENCE: Duration = Duration::from_secs(1);

/// While nodes say what they hold, or others end for which money was set aside, it looks again so often.
const SETTLING: Duration = Duration::from_millis(10);

/// Per budget of a request, in the order in which they are locked and asked, which is the same for everybody.
pub(super) type Each<T> = [T; 4];

pub(super) type Entries = Each<Option<Arc<Entry>>>;

/// What a request wants of its budgets, by their places.
pub(super) trait Claim {
    /// The budget, and how much is missing in it; none: nothing is wanted there.
    fn wants(&self, at: usize) -> Option<(BudgetId, Usd)>;

    /// The caps of the budget as the request knows them, unless they are these.
    fn news(&self, at: usize, known: Option<&Arc<Policy>>) -> Option<Arc<Policy>>;

    /// What becomes of a budget that cannot be asked.
    fn without(&mut self, at: usize, budgets: &Budgets) -> Without;

    /// It gives whatever it has, or has not, because nothing is known about it.
    fn unchecked(&self, _at: usize) {}
}

/// What becomes of a budget that cannot be asked.
pub(super) enum Without {
    /// The request is refused.
    Refused,
    /// The claim has another one in its place now.
    Another,
    /// This node decides from what it knows.
    Alone,
    /// It gives whatever it has, or has not.
    Blindly,
}

/// What became of a try.
pub(super) enum Taking {
    Took(Each<Usd>),
    /// These have too little.
    Short(Each<bool>),
    /// A budget was forgotten in between: look it up again.
    Gone,
}

/// What was taken.
pub(super) struct Took {
    pub entries: Entries,
    pub amounts: Each<Usd>,
    pub at: i64,
    /// From a budget that could not be asked.
    pub blindly: bool,
}

/// What a short budget needs.
enum Step {
    Ask(Occasion),
    Settle,
    Deny(Vec<Denial>),
    Away,
    /// Nobody can be asked, and nothing is known.
    Unchecked,
    /// Look again.
    Again,
}

impl Budgets {
    /// The budget in memory; made when it is not there yet.
    pub(super) fn entry(&self, id: BudgetId, policy: &Arc<Policy>, now: i64) -> Arc<Entry> {
        let make = || Lease::new(id, Arc::clone(policy), &self.settings.load().zone, now, self.rules);
        let (entry, made) = self.table.get_or_insert(id, make);
        if made {
            // Whatever has a later place in the journal finds the budget in the table when it is settled.
            let lsn = self.seeds.now_lsn();
            entry.lease.lock().watched_from(lsn);
        }
        entry
    }

    /// Those that the request wants anything of.
    pub(super) fn entries(&self, claim: &impl Claim, now: i64) -> Entries {
        std::array::from_fn(|at| {
            let (id, _) = claim.wants(at)?;
            self.table.get(id).or_else(|| Some(self.entry(id, &claim.news(at, None)?, now)))
        })
    }

    /// Takes what is missing; waits for leases.
    ///
    /// # Errors
    ///
    /// A budget has too little, or that cannot be found out.
    pub(super) async fn acquire(&self, claim: &mut impl Claim, mut now: i64) -> Result<Took, ReserveError> {
        let deadline = Instant::now() + PATIENCE;
        let end = deadline + PATIENCE;
        let mut entries = self.entries(claim, now);
        let mut waiter = Waiter::new(self);
        loop {
            now = now.max((self.clock)());
            let short = match self.take(claim, &entries, Some(&mut waiter), now) {
                Taking::Took(amounts) => {
                    let blindly = waiter.forced.contains(&true);
                    return Ok(Took { entries, amounts, at: now, blindly });
                }
                Taking::Gone => {
                    waiter.tickets = Each::default();
                    entries = self.entries(claim, now);
                    continue;
                }
                Taking::Short(short) => short,
            };
            if waiter.pins.are_old() {
                waiter.pins.release();
                tokio::time::sleep(SETTLING).await;
                continue;
            }
            let late = Instant::now() >= deadline;
            let next = waiter.next(short);
            let mut steps: Each<Option<Step>> = [const { None }; 4];
            for at in (0..4).filter(|&at| next[at]) {
                let (Some(entry), Some((_, missing))) = (&entries[at], claim.wants(at)) else { continue };
                steps[at] = Some(if waiter.alone[at] {
                    self.step_alone(entry, missing, now)
                } else {
                    self.step(entry, &mut waiter.tickets[at], missing, late, now)
                });
            }
            let mut again = false;
            for (at, step) in steps.iter().enumerate() {
                if let Some(Step::Unchecked) = step {
                    claim.unchecked(at);
                    self.stats.violation();
                    waiter.forced[at] = true;
                }
                again |= matches!(step, Some(Step::Unchecked | Step::Again));
            }
            if again {
                continue;
            }
            if steps.iter().flatten().any(|step| matches!(step, Step::Away)) {
                let mut learns = [false; 4];
                for at in (0..4).filter(|&at| matches!(steps[at], Some(Step::Away))) {
                    match claim.without(at, self) {
                        Without::Refused => return Err(ReserveError::Unavailable),
                        Without::Another => {}
                        Without::Alone => {
                            waiter.alone[at] = true;
                            learns[at] = true;
                        }
                        Without::Blindly => {
                            self.stats.violation();
                            waiter.forced[at] = true;
                        }
                    }
                    waiter.tickets[at] = None;
                }
                let learn = |at: usize| {
                    OptionFuture::from(entries[at].as_ref().filter(|_| learns[at]).map(|entry| self.learn(entry, now)))
                };
                join4(learn(0), learn(1), learn(2), learn(3)).await;
                entries = self.entries(claim, now);
                continue;
            }
            let undecided = steps.iter().flatten().any(|step| !matches!(step, Step::Deny(_)));
            if undecided && Instant::now() >= end {
                // They do answer, so it may not pass unpaid; and there is no reason to give.
                return Err(ReserveError::Unavailable);
            }
            let asks = steps.each_ref().map(|step| match step {
                Some(Step::Ask(occasion)) => Some(*occasion),
                _ => None,
            });
            if asks.iter().any(Option::is_some) {
                let ask = |at: usize| OptionFuture::from(self.ask_of(&entries[at], asks[at]));
                let flights = join4(ask(0), ask(1), ask(2), ask(3));
                let heard = answers(&entries);
                // One that is given up is asked for again by the driver.
                let _ = tokio::time::timeout_at(if late { end } else { deadline }, flights).await;
                if answers(&entries) == heard {
                    // Whoever fails at once would be asked again at once.
                    tokio::time::sleep(SETTLING).await;
                }
                waiter.in_turn = true;
                continue;
            }
            let settles = steps.iter().flatten().any(|step| matches!(step, Step::Settle));
            let denials = |step| if let Step::Deny(denials) = step { denials } else { Vec::new() };
            let mut denials: Vec<_> = steps.into_iter().flatten().flat_map(denials).collect();
            // Those that come later may be known to have nothing left, whatever becomes of the first.
            let refuses = !denials.is_empty();
            for at in (0..4).filter(|&at| refuses && short[at] && !next[at]) {
                let (Some(entry), Some((_, missing))) = (&entries[at], claim.wants(at)) else { continue };
                denials.extend(self.known_denials(entry, missing, now));
            }
            // What other nodes may use does not come back here.
            let may_pass =
                !late && !waiter.alone.contains(&true) && !denials.is_empty() && denials.iter().all(Denial::may_pass);
            if settles || may_pass {
                // Nobody else waits for what this one cannot use yet.
                waiter.pins.release();
                tokio::time::sleep(SETTLING).await;
                continue;
            }
            return Err(Denied::of(denials).map_or(ReserveError::Unavailable, ReserveError::Denied));
        }
    }

    /// What was last heard of a budget that was not asked any more, if that was a refusal.
    fn known_denials(&self, entry: &Entry, missing: Usd, now: i64) -> Vec<Denial> {
        let lease = entry.lease.lock();
        match lease.verdict(lease.need(missing, self.takes_all_that_is_left(), now), now) {
            Verdict::Denied(denials) => denials,
            Verdict::Payable | Verdict::AskWhy | Verdict::Unknown => Vec::new(),
        }
    }

    /// What to do about a budget that has too little.
    fn step<'a>(
        &'a self,
        entry: &Arc<Entry>,
        ticket: &mut Option<Ticket<'a>>,
        missing: Usd,
        late: bool,
        now: i64,
    ) -> Step {
        if ticket.as_ref().is_some_and(|ticket| !Arc::ptr_eq(&ticket.entry, entry)) {
            // It waited for a budget that was forgotten since, and is another one now.
            *ticket = None;
        }
        let mut lease = entry.lease.lock();
        let need = lease.need(missing, self.takes_all_that_is_left(), now);
        // What was heard of money holds until all of it is spent; of requests each answer is of its moment.
        let in_doubt = |lease: &Lease| {
            if lease.is_count() { lease.is_unsure() } else { matches!(lease.verdict(need, now), Verdict::Unknown) }
        };
        if self.authority.is_away(entry.id) {
            return Step::Away;
        }
        let away = self.failures.is_failing(entry.id, now) && in_doubt(&lease);
        let Some(ticket) = ticket else {
            if let Some(denials) = lease.fresh_denial(need, now) {
                return Step::Deny(denials);
            }
            if away {
                return Step::Away;
            }
            *ticket = Some(Ticket::new(self, entry, &mut lease, need));
            return Step::Ask(Occasion::default());
        };
        ticket.wait(&mut lease, need);
        let heard = lease.heard() > ticket.since;
        // Whoever has waited for others is late, and knows all the same that the authority is there.
        let unheard = lease.heard() == ticket.began;
        match lease.verdict(need, now) {
            // Whoever waits for what others have is told of it only when he asks.
            Verdict::Denied(_) if heard && !late && lease.is_outdated(now) => Step::Ask(Occasion::default()),
            Verdict::Denied(denials) if heard => Step::Deny(denials),
            _ if away || (late && (unheard || lease.is_count())) => Step::Away,
            // Nothing is granted to anybody yet. Where it is, others may just have asked for what is left: that is heard of
            // in a moment.
            Verdict::Unknown if late && lease.is_blocked() => Step::Away,
            Verdict::Unknown if heard => {
                // Whoever sleeps lets the next one ask.
                ticket.since = lease.heard();
                Step::Settle
            }
            Verdict::AskWhy => Step::Ask(Occasion { report: true, ..Occasion::default() }),
            _ => Step::Ask(Occasion::default()),
        }
    }

    /// What to do about a budget that this node decides about alone.
    fn step_alone(&self, entry: &Entry, missing: Usd, now: i64) -> Step {
        let mut lease = entry.lease.lock();
        let need = lease.need(missing, self.takes_all_that_is_left(), now);
        match lease.alone(need, self.nodes(), &self.settings.load().zone, now) {
            Alone::Fits(_) => Step::Again,
            Alone::Denied(denials) => Step::Deny(denials),
            Alone::Unknown => Step::Unchecked,
        }
    }

    fn ask_of<'a>(
        &'a self,
        entry: &'a Option<Arc<Entry>>,
        occasion: Option<Occasion>,
    ) -> Option<impl Future<Output = ()> + 'a> {
        Some(self.ask(entry.as_ref()?, occasion?))
    }

    fn fits_alone(&self, lease: &mut Lease, need: Need, now: i64) -> Option<Usd> {
        match lease.alone(need, self.nodes(), &self.settings.load().zone, now) {
            Alone::Fits(amount) => Some(amount),
            Alone::Denied(_) | Alone::Unknown => None,
        }
    }

    /// Takes from all or from none. Without a waiter: only what is there at once.
    pub(super) fn take(
        &self,
        claim: &impl Claim,
        entries: &Entries,
        mut waiter: Option<&mut Waiter<'_>>,
        now: i64,
    ) -> Taking {
        let mut leases: Each<Option<MutexGuard<'_, Lease>>> = [const { None }; 4];
        let mut took = [Usd::ZERO; 4];
        let mut short = [false; 4];
        for at in 0..4 {
            let (Some(entry), Some((_, missing))) = (&entries[at], claim.wants(at)) else { continue };
            if waiter.as_ref().is_some_and(|waiter| waiter.pins.has(at)) {
                continue;
            }
            let mut lease = entry.lease.lock();
            if lease.gone {
                return Taking::Gone;
            }
            if let Some(policy) = claim.news(at, Some(lease.policy())) {
                self.adopt(&mut lease, &policy, now);
            }
            let fits = match &waiter {
                _ if missing <= Usd::ZERO => Some(Usd::ZERO),
                None => lease.fits(Need { amount: missing, least: missing }, now),
                Some(waiter) if waiter.forced[at] => Some(missing),
                Some(waiter) => {
                    let need = lease.need(missing, self.takes_all_that_is_left(), now);
                    let fits = match &waiter.tickets[at] {
                        Some(ticket) => lease.fits_after(need, ticket.since, now),
                        None => lease.fits(need, now),
                    };
                    // A lease in hand is spent first.
                    fits.or_else(|| waiter.alone[at].then(|| self.fits_alone(&mut lease, need, now)).flatten())
                }
            };
            match fits {
                Some(amount) => took[at] = amount,
                None => short[at] = true,
            }
            leases[at] = Some(lease);
        }
        let enough = short.iter().take_while(|short| !**short).count();
        let takes = match &waiter {
            _ if enough == short.len() => enough,
            Some(waiter) if waiter.in_turn => enough,
            _ => 0,
        };
        for at in 0..takes {
            let Some(lease) = &mut leases[at] else { continue };
            lease.take(took[at], now);
            if let (Some(waiter), Some(entry)) = (&mut waiter, &entries[at]) {
                if let Some(ticket) = &mut waiter.tickets[at] {
                    ticket.wait_no_longer(lease);
                }
                waiter.pins.add(at, entry, took[at]);
            }
        }
        if takes < short.len() {
            return Taking::Short(short);
        }
        Taking::Took(waiter.map_or(took, |waiter| waiter.pins.take()))
    }
}

/// How many statements about these budgets were taken so far.
fn answers(entries: &Entries) -> Each<u64> {
    entries.each_ref().map(|entry| entry.as_ref().map_or(0, |entry| entry.lease.lock().heard()))
}
