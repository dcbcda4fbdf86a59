//! Reserving: from all budgets of a request, or from none.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{OptionFuture, join3};
use parking_lot::MutexGuard;
use tokio::time::Instant;

use super::denial::Need;
use super::lease::{Lease, Occasion, Verdict};
use super::plan::{Plan, Target, Targets};
use super::reservation::Hold;
use super::table::Entry;
use super::{Budgets, Denial, Denied, Reservation, ReserveError};
use crate::config::{OnAuthorityFailure, ReservationMode};
use crate::limit::{BudgetId, Policy};
use crate::money::Usd;

/// A request waits at most so long to learn what is left of its budgets, and for what others have set aside. What is left
/// after that wait it learns in as much time again.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// While nodes say what they hold, or others end for which money was set aside, it looks again so often.
pub(super) const SETTLING: Duration = Duration::from_millis(10);

/// Per budget of a request, in the order of its [`Targets`].
type Each<T> = [T; 3];

type Entries = Each<Option<Arc<Entry>>>;

/// What a request that is moved has set aside already.
pub(super) type Had = Each<(BudgetId, Usd)>;

/// What it took, or why not.
enum Taking {
    Took(Each<Usd>),
    /// These have too little.
    Short(Each<bool>),
    /// A budget was forgotten in between: look it up again.
    Gone,
}

/// A request that waits. Its needs are part of what is asked for until it is dropped.
#[derive(Default)]
struct Waiter {
    tickets: Each<Option<Ticket>>,
    /// Budgets that pay whatever they have.
    forced: Each<bool>,
}

pub(super) struct Ticket {
    pub entry: Arc<Entry>,
    pub number: u64,
    /// How many answers there had been when it began to wait.
    pub began: u64,
    /// Answers up to here do not count any more.
    pub since: u64,
}

impl Ticket {
    pub fn new(entry: &Arc<Entry>, lease: &mut Lease, need: Need) -> Self {
        let heard = lease.heard();
        Self { entry: Arc::clone(entry), number: lease.wait(need), began: heard, since: heard }
    }
}

/// What a short budget needs.
pub(super) enum Step {
    Ask(Occasion),
    Settle,
    Deny(Vec<Denial>),
    Away,
}

impl Budgets {
    /// Sets `amount` (what the request is expected to cost) aside in every budget of the plan, or in none. A request
    /// that costs nothing asks no budget.
    ///
    /// # Errors
    ///
    /// [`ReserveError::Denied`] when a budget cannot pay; [`ReserveError::Unavailable`] when that cannot be found out
    /// and the configuration says to refuse then.
    pub async fn reserve(self: &Arc<Self>, plan: &Plan, amount: Usd, now: i64) -> Result<Reservation, ReserveError> {
        if let Some(result) = self.try_reserve(plan, amount, now) {
            return result;
        }
        let amount = self.to_set_aside(amount);
        let holds = Box::pin(self.acquire(plan, amount, &nothing(plan), now)).await?;
        Ok(Reservation::new(Arc::clone(self), holds))
    }

    /// As [`Self::reserve`], from what this node holds and knows; none when somebody has to be asked.
    #[must_use]
    pub fn try_reserve(
        self: &Arc<Self>,
        plan: &Plan,
        amount: Usd,
        now: i64,
    ) -> Option<Result<Reservation, ReserveError>> {
        let amount = self.to_set_aside(amount);
        let targets = plan.targets();
        let had = targets.each_ref().map(|target| (target.id, Usd::ZERO));
        let entries = self.entries(&targets, amount, now);
        match self.take(&targets, &entries, amount, &had, None, now) {
            Taking::Took(took) => Some(Ok(Reservation::new(Arc::clone(self), holds(targets, entries, took)))),
            Taking::Short(short) => {
                let denied = self.known_denial(&entries, short, amount, now)?;
                let worth_waiting = denied.all().all(Denial::may_pass);
                (!worth_waiting).then_some(Err(ReserveError::Denied(denied)))
            }
            Taking::Gone => None,
        }
    }

    /// What a request of this cost sets aside.
    pub(super) fn to_set_aside(&self, amount: Usd) -> Usd {
        match self.settings.load().reservation {
            ReservationMode::None => amount.min(Usd::from_nanos(1)),
            ReservationMode::Expected | ReservationMode::WorstCase => amount,
        }
    }

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

    /// Reserves what is missing beside what the request has already; waits for leases.
    pub(super) async fn acquire(
        &self,
        plan: &Plan,
        amount: Usd,
        had: &Had,
        mut now: i64,
    ) -> Result<[Hold; 3], ReserveError> {
        let deadline = Instant::now() + PATIENCE;
        let end = deadline + PATIENCE;
        let mut targets = plan.targets();
        let mut entries = self.entries(&targets, amount, now);
        let mut waiter = Waiter::default();
        loop {
            now = now.max((self.clock)());
            let short = match self.take(&targets, &entries, amount, had, Some(&waiter), now) {
                Taking::Took(took) => {
                    return Ok(holds(targets, entries, took));
                }
                Taking::Gone => {
                    waiter = Waiter { forced: waiter.forced, ..Waiter::default() };
                    entries = self.entries(&targets, amount, now);
                    continue;
                }
                Taking::Short(short) => short,
            };
            let late = Instant::now() >= deadline;
            let mut steps: Each<Option<Step>> = [None, None, None];
            for at in (0..3).filter(|&at| short[at]) {
                let Some(entry) = &entries[at] else { continue };
                let missing = amount - had_of(had, targets[at].id);
                steps[at] = Some(self.step(entry, &mut waiter.tickets[at], missing, late, now));
            }
            if steps.iter().flatten().any(|step| matches!(step, Step::Away)) {
                for at in 0..3 {
                    if matches!(steps[at], Some(Step::Away)) {
                        self.without(plan, &mut targets[at], &mut waiter.forced[at])?;
                        waiter.tickets[at] = None;
                    }
                }
                entries = self.entries(&targets, amount, now);
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
                let flights = join3(
                    OptionFuture::from(self.ask_of(&entries[0], asks[0])),
                    OptionFuture::from(self.ask_of(&entries[1], asks[1])),
                    OptionFuture::from(self.ask_of(&entries[2], asks[2])),
                );
                let heard = answers(&entries);
                // One that is given up is asked for again by the driver.
                let _ = tokio::time::timeout_at(if late { end } else { deadline }, flights).await;
                if answers(&entries) == heard {
                    // Whoever fails at once would be asked again at once.
                    tokio::time::sleep(SETTLING).await;
                }
                continue;
            }
            if steps.iter().flatten().any(|step| matches!(step, Step::Settle)) {
                tokio::time::sleep(SETTLING).await;
                continue;
            }
            let denials = steps.into_iter().flatten().flat_map(|step| match step {
                Step::Deny(denials) => denials,
                _ => Vec::new(),
            });
            let denials: Vec<_> = denials.collect();
            if !late && !denials.is_empty() && denials.iter().all(Denial::may_pass) {
                tokio::time::sleep(SETTLING).await;
                continue;
            }
            return Err(Denied::of(denials).map_or(ReserveError::Unavailable, ReserveError::Denied));
        }
    }

    /// What to do about a budget that has too little.
    fn step(&self, entry: &Arc<Entry>, ticket: &mut Option<Ticket>, missing: Usd, late: bool, now: i64) -> Step {
        let mut lease = entry.lease.lock();
        let need = lease.need(missing, self.takes_all_that_is_left(), now);
        let away = now < self.away_until.load(Ordering::Relaxed);
        let Some(ticket) = ticket else {
            if let Some(denials) = lease.fresh_denial(need, now) {
                return Step::Deny(denials);
            }
            if away && matches!(lease.verdict(need, now), Verdict::Unknown) {
                return Step::Away;
            }
            *ticket = Some(Ticket::new(entry, &mut lease, need));
            return Step::Ask(Occasion::default());
        };
        // Whoever has waited for others is late, and knows all the same that the authority is there.
        let unheard = lease.heard() == ticket.began;
        let why = Occasion { report: true, ..Occasion::default() };
        match lease.verdict(need, now) {
            Verdict::Denied(denials) if lease.heard() > ticket.since => Step::Deny(denials),
            Verdict::Unknown if away || late => Step::Away,
            _ if late && unheard => Step::Away,
            Verdict::Unknown if lease.heard() > ticket.since => {
                // Whoever sleeps lets the next one ask.
                ticket.since = lease.heard();
                Step::Settle
            }
            Verdict::AskWhy => Step::Ask(why),
            _ => Step::Ask(Occasion::default()),
        }
    }

    /// What becomes of a budget that cannot be asked.
    fn without(&self, plan: &Plan, target: &mut Target, forced: &mut bool) -> Result<(), ReserveError> {
        if self.settings.load().on_failure == OnAuthorityFailure::Closed {
            return Err(ReserveError::Unavailable);
        }
        // A model group's budget that cannot be asked neither refuses nor bypasses.
        match plan.fallback(target.axis).filter(|_| !target.mainline) {
            Some(mainline) => *target = mainline,
            None => {
                tracing::warn!(
                    axis = target.axis.as_str(),
                    budget = ?target.id,
                    caps = ?target.policy.as_ref().map(|policy| caps(policy)),
                    "admitted without knowing whether the budget can pay"
                );
                self.stats.violation();
                *forced = true;
            }
        }
        Ok(())
    }

    /// Takes part in the flight that is under way, or makes one.
    pub(super) async fn ask(&self, entry: &Arc<Entry>, occasion: Occasion) {
        let mut landed = pin!(entry.landed.notified());
        landed.as_mut().enable();
        let leads = {
            let mut lease = entry.lease.lock();
            !std::mem::replace(&mut lease.flying, true)
        };
        if leads {
            self.fly(entry, occasion).await;
        } else {
            landed.await;
        }
    }

    pub(super) fn ask_of<'a>(
        &'a self,
        entry: &'a Option<Arc<Entry>>,
        occasion: Option<Occasion>,
    ) -> Option<impl Future<Output = ()> + 'a> {
        Some(self.ask(entry.as_ref()?, occasion?))
    }

    fn takes_all_that_is_left(&self) -> bool {
        self.settings.load().reservation == ReservationMode::Expected
    }

    fn entries(&self, targets: &Targets, amount: Usd, now: i64) -> Entries {
        targets.each_ref().map(|target| {
            let policy = target.policy.as_ref().filter(|_| amount > Usd::ZERO)?;
            Some(self.entry(target.id, policy, now))
        })
    }

    /// Takes from all or from none. Locks are taken in the order of the targets, which is the same for everybody.
    fn take(
        &self,
        targets: &Targets,
        entries: &Entries,
        amount: Usd,
        had: &Had,
        waiter: Option<&Waiter>,
        now: i64,
    ) -> Taking {
        let mut leases: Each<Option<MutexGuard<'_, Lease>>> = [None, None, None];
        let mut took = [Usd::ZERO; 3];
        let mut short = [false; 3];
        for at in 0..3 {
            let (Some(entry), Some(policy)) = (&entries[at], &targets[at].policy) else { continue };
            let mut lease = entry.lease.lock();
            if lease.gone {
                return Taking::Gone;
            }
            if !Arc::ptr_eq(lease.policy(), policy) {
                lease.adopt(policy, &self.settings.load().zone, now);
            }
            let missing = amount - had_of(had, targets[at].id);
            let fits = match waiter {
                _ if missing <= Usd::ZERO => Some(Usd::ZERO),
                None => lease.fits(Need { amount: missing, least: missing }, now),
                Some(waiter) if waiter.forced[at] => Some(missing),
                Some(waiter) => {
                    let need = lease.need(missing, self.takes_all_that_is_left(), now);
                    match &waiter.tickets[at] {
                        Some(ticket) => lease.fits_after(need, ticket.since, now),
                        None => lease.fits(need, now),
                    }
                }
            };
            match fits {
                Some(amount) => took[at] = amount,
                None => short[at] = true,
            }
            leases[at] = Some(lease);
        }
        if short.contains(&true) {
            return Taking::Short(short);
        }
        for (lease, took) in leases.iter_mut().zip(took) {
            if let Some(lease) = lease {
                lease.take(took, now);
            }
        }
        Taking::Took(took)
    }

    /// The refusal, when it is known of every budget that has too little.
    fn known_denial(&self, entries: &Entries, short: Each<bool>, amount: Usd, now: i64) -> Option<Box<Denied>> {
        let mut all = Vec::new();
        for at in (0..3).filter(|&at| short[at]) {
            let lease = entries[at].as_ref()?.lease.lock();
            let need = lease.need(amount, self.takes_all_that_is_left(), now);
            all.extend(lease.fresh_denial(need, now)?);
        }
        Denied::of(all)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.entry.lease.lock().wait_no_longer(self.number);
    }
}

/// The caps of a budget, for the log.
fn caps(policy: &Policy) -> Vec<String> {
    policy.windows.iter().map(|window| format!("{} {} USD", window.window, window.base)).collect()
}

/// How many statements about these budgets were taken so far.
fn answers(entries: &Entries) -> Each<u64> {
    entries.each_ref().map(|entry| entry.as_ref().map_or(0, |entry| entry.lease.lock().heard()))
}

/// A request that has set nothing aside yet.
fn nothing(plan: &Plan) -> Had {
    plan.targets().map(|target| (target.id, Usd::ZERO))
}

fn had_of(had: &Had, id: BudgetId) -> Usd {
    had.iter().find(|(budget, _)| *budget == id).map_or(Usd::ZERO, |(_, amount)| *amount)
}

fn holds(targets: Targets, entries: Entries, took: Each<Usd>) -> [Hold; 3] {
    let mut parts = entries.into_iter().zip(took);
    targets.map(|target| {
        let (entry, amount) = parts.next().unwrap_or((None, Usd::ZERO));
        Hold { target, entry: entry.filter(|_| amount > Usd::ZERO), amount }
    })
}
