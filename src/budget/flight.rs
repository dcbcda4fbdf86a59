//! Asking the authority about one budget: statement, answer, and seeding when it knows too little.

use std::pin::pin;
use std::sync::Arc;

use super::Budgets;
use super::account;
use super::authority::AuthorityError;
use super::lease::{Context, Heard, Occasion, SAY_AGAIN};
use super::protocol::{Answer, Seed, SeedQuery, SeedStatement, Seeded, Taken};
use super::seeds::SeedError;
use super::stats::ExchangeResult;
use super::table::Entry;
use crate::money::Usd;

/// A statement, a seed, the statement again, from where the seed ends, a seed for changed caps, and once more.
const LEGS: usize = 8;

/// Whatever becomes of a flight, the next one may start, and those who wait for it go on.
struct Landing<'a> {
    budgets: &'a Budgets,
    entry: &'a Arc<Entry>,
    held: Usd,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let mut lease = self.entry.lease.lock();
        lease.flying = false;
        self.budgets.stats.holds_more(lease.own().0 - self.held);
        // What is left of it is given back, what is in doubt is said again, and at last the budget is forgotten.
        let settings = self.budgets.settings.load();
        let idle_return = settings.lease_of(self.entry.id).idle_return;
        let wait = if lease.is_unsure() { idle_return.min(SAY_AGAIN) } else { idle_return };
        self.budgets.queue.schedule(self.entry.id, &mut lease, (self.budgets.clock)().saturating_add(wait));
        drop(lease);
        self.entry.landed.notify_waiters();
    }
}

impl Budgets {
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

    /// Flies until all is said. The caller has marked the lease as flying.
    pub(super) async fn fly(&self, entry: &Arc<Entry>, occasion: Occasion) {
        let held = entry.lease.lock().own().0;
        let _landing = Landing { budgets: self, entry, held };
        let mut recalled = false;
        let mut reseeded = false;
        let mut was_late = false;
        for _ in 0..LEGS {
            if let Err(error) = self.may_speak() {
                self.failed(entry, &error, (self.clock)());
                return;
            }
            let settings = self.settings.load_full();
            let lease = settings.lease_of(entry.id);
            let with = Context {
                inc: self.inc,
                settings: lease,
                zone: &settings.zone,
                written: self.seeds.written_lsn(),
                now: (self.clock)(),
            };
            let statement = entry.lease.lock().state(occasion, &with);
            let answer = self.authority.exchange(entry.id, &statement).await;
            let now = (self.clock)();
            let heard = match answer {
                Ok(answer) => {
                    self.stats.count(result_of(&answer, statement.need_min));
                    self.was_heard(&answer, statement.sent);
                    entry.lease.lock().hear(statement.seq, answer, lease.dead_after, now)
                }
                Err(error) => {
                    entry.lease.lock().hear_nothing(statement.seq);
                    if error == AuthorityError::Late && !std::mem::replace(&mut was_late, true) {
                        self.stats.count(ExchangeResult::Lost);
                        continue;
                    }
                    self.failed(entry, &error, now);
                    return;
                }
            };
            let seed = match heard {
                Heard::Done { reseed, recallable, started } => {
                    if let Some(start) = started {
                        self.seeds.first_charge_started(entry.id, start);
                    }
                    if recallable && !recalled {
                        recalled = self.authority.recall(entry.id).await;
                        if recalled {
                            continue;
                        }
                    }
                    if !reseed || std::mem::replace(&mut reseeded, true) {
                        return;
                    }
                    true
                }
                Heard::Again => false,
                Heard::Seed => true,
                Heard::Ignored => return,
            };
            if seed && entry.lease.lock().leave_as_stranger() {
                // Whoever has caps of it will seed it.
                return;
            }
            if seed {
                match self.seed(entry).await {
                    Ok(taken) => reseeded &= taken,
                    Err(error) => {
                        self.failed(entry, &error, (self.clock)());
                        return;
                    }
                }
            }
        }
        let error = SeedError(format!("no agreement after {LEGS} statements"));
        self.failed(entry, &error, (self.clock)());
    }

    /// Has the authority count from what the ledger says. False when that was refused, or may not have been taken: the next
    /// statement is answered accordingly, and it is done again.
    pub(super) async fn seed(&self, entry: &Arc<Entry>) -> Result<bool, SeedError> {
        // What was charged before the budget was watched must be in the database; what comes after is told.
        self.seeds.barrier(self.seeds.now_lsn()).await?;
        let statement = self.ask_ledger(entry).await?;
        match self.authority.seed(entry.id, &statement).await {
            Ok(seeded) => Ok(seeded == Seeded::Taken),
            Err(AuthorityError::Late) => Ok(false),
            Err(error) => Err(SeedError(error.to_string())),
        }
    }

    /// What the ledger says about a budget now.
    pub(super) async fn ask_ledger(&self, entry: &Entry) -> Result<SeedStatement, SeedError> {
        let now = (self.clock)();
        let zone = self.settings.load().zone.clone();
        let terms = Arc::clone(entry.lease.lock().terms(&zone, now));
        let windows = terms.policy.windows.iter().zip(&terms.bounds);
        let windows = windows.map(|(policy, &bounds)| account::query(policy, bounds, now)).collect();
        let seed = self.seeds.seed(&SeedQuery { budget: entry.id, windows }).await?;
        // Authorities compare it with the time that budgets go by.
        Ok(SeedStatement { seed: Seed { query_started: now, ..seed }, terms })
    }

    fn failed(&self, entry: &Entry, error: &dyn std::error::Error, now: i64) {
        self.stats.count(ExchangeResult::Lost);
        self.failures.note(entry.id, now);
        if self.failures.is_news(now) {
            tracing::warn!(budget = ?entry.id, %error, "a budget could not be asked for; told once a second");
        }
    }
}

fn result_of(answer: &Answer, need_min: Usd) -> ExchangeResult {
    match answer {
        Answer::Ok(taken) if need_min > Usd::ZERO && denies(taken) => ExchangeResult::Denied,
        Answer::Ok(_) => ExchangeResult::Ok,
        Answer::Seed => ExchangeResult::Seed,
        Answer::Resend(_) => ExchangeResult::Resend,
        Answer::Old | Answer::Stale => ExchangeResult::Lost,
    }
}

fn denies(taken: &Taken) -> bool {
    taken.granted == Usd::ZERO
}
