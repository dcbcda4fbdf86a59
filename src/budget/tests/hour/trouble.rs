//! What goes wrong with nodes and the authority, and what people do meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::Rng;

use super::bounds::Bounds;
use super::checks::By;
use super::network::{Event, LATEST};
use super::{BUDGETS, DEAD_AFTER, Sim, of_both};
use crate::budget::account::Account;
use crate::budget::{Incarnation, MemoryAuthority};
use crate::limit::{CapStep, Policy};
use crate::money::Usd;

/// Something may go wrong so often.
const EVERY: i64 = 100;
/// A journal is adopted so long after its process died: by then its last messages are too old to be taken.
const ADOPTED_AFTER: i64 = 3_000;
/// Nobody speaks of a life any more that ended so long ago.
const SILENT: i64 = 5_000;
/// The authority's clock is behind by so much at most.
const SLOW: i64 = 500;
/// The authority goes back by so much at most.
const BACK: i64 = 15_000;

/// The authority as it was once.
pub struct Older {
    at: i64,
    accounts: Vec<Account>,
    bounds: Bounds,
}

impl Sim {
    pub fn trouble(&mut self, now: i64) -> Result<(), String> {
        self.later(now + EVERY, Event::Trouble);
        if self.happens(30) {
            self.behind.store(self.rng.random_range(0..SLOW), Ordering::SeqCst);
        }
        for at in 0..self.nodes.len() {
            if self.happens(1_200) {
                self.nodes[at].paused_until = now + self.rng.random_range(6_000..12_000);
            }
            if self.faults.crashes && self.happens(3_000) && self.nodes[at].crashed_at.is_none() {
                self.nodes[at].crashed_at = Some(now);
                self.figures.crashes += 1;
            }
            if self.nodes[at].crashed_at.is_some_and(|crashed| now - crashed > ADOPTED_AFTER) {
                self.adopt(at, now)?;
            }
        }
        self.retire(now);
        self.close()?;
        if self.faults.flushes && self.happens(2_000) {
            self.flush(now);
        }
        if self.faults.rollbacks {
            self.roll_back(now)?;
        }
        for budget in 0..BUDGETS {
            if self.happens(150) {
                self.edit(budget, now);
            }
        }
        self.expire(now);
        for budget in 0..BUDGETS {
            self.check_counts(budget)?;
            self.check_truth(budget, now)?;
        }
        Ok(())
    }

    /// Another process finds the journal of one that is gone.
    fn adopt(&mut self, at: usize, now: i64) -> Result<(), String> {
        let fresh = self.start();
        let gone = std::mem::replace(&mut self.nodes[at], fresh);
        for running in gone.running {
            self.books.charge(gone.inc, &running.budgets, now, running.estimate);
            for (budget, amount) in running.budgets.into_iter().zip(running.amounts) {
                self.running[budget] -= amount;
                if running.estimate > amount {
                    self.bounds.0[budget].owes(gone.inc, running.estimate - amount);
                }
            }
        }
        if let Some(journal) = self.books.journals.get_mut(&gone.inc) {
            (journal.written, journal.closed_at) = (journal.end, Some(now));
        }
        for budget in 0..BUDGETS {
            self.claims(budget, gone.inc, false)?;
        }
        Ok(())
    }

    /// Journals that were closed long ago are only a sum any more.
    fn retire(&mut self, now: i64) {
        let over = |inc: Incarnation, closed: i64| {
            let contained = |budget: usize| {
                let holds = |seen: &super::Seen| seen.audit.holders.iter().any(|holder| holder.inc == inc);
                self.bounds.0[budget].whole.contains(&inc)
                    && self.seen[budget].as_ref().is_some_and(|seen| !holds(seen))
            };
            now - closed > 2 * LATEST + SILENT + BACK && (0..BUDGETS).all(contained)
        };
        let closed = self.books.journals.iter().filter_map(|(&inc, journal)| Some((inc, journal.closed_at?)));
        let over: Vec<_> = closed.filter(|&(inc, at)| over(inc, at)).collect();
        for (inc, _) in over {
            self.books.retire(inc);
            for told in &mut self.bounds.0 {
                told.of.remove(&inc);
                told.whole.remove(&inc);
                told.heard.remove(&inc);
            }
        }
    }

    /// Closing is repeated: an older seed or state may have brought a node back.
    pub fn close(&mut self) -> Result<(), String> {
        for inc in self.books.closed() {
            self.authority.close_now(inc, &super::cluster::BUDGETS);
        }
        (0..BUDGETS).try_for_each(|budget| self.changed_only(budget, By::Nobody))
    }

    fn flush(&mut self, now: i64) {
        self.figures.flushes += 1;
        self.authority = MemoryAuthority::with_rules(self.clock(), DEAD_AFTER, self.faults.rules);
        self.flushed_at = now;
        for told in &mut self.bounds.0 {
            told.heard.clear();
            told.whole.clear();
        }
        self.look_anew();
    }

    fn roll_back(&mut self, now: i64) -> Result<(), String> {
        self.older = self.older.take().filter(|older| now - older.at < BACK);
        if self.older.is_none() {
            let accounts: Option<Vec<_>> = (0..BUDGETS).map(|at| self.authority.copy_of(of_both(at))).collect();
            self.older = accounts.map(|accounts| Older { at: now, accounts, bounds: self.bounds.clone() });
        } else if self.happens(300)
            && let Some(mut older) = self.older.take()
        {
            self.figures.rollbacks += 1;
            self.back_at = now;
            for (budget, account) in older.accounts.into_iter().enumerate() {
                self.authority.put(of_both(budget), account);
                let told = &mut older.bounds.0[budget];
                told.of.retain(|inc, _| self.books.journals.contains_key(inc));
                for (&inc, journal) in &self.books.journals {
                    let claim = self.claim(budget, inc);
                    self.figures.twice += told.went_back(budget, &self.bounds.0[budget], inc, journal, claim)?;
                }
            }
            self.bounds = older.bounds;
            self.look_anew();
            self.close()?;
        }
        Ok(())
    }

    /// Somebody edits the caps of a budget: about what is spent, up, or down.
    pub fn edit(&mut self, budget: usize, now: i64) {
        self.figures.edits += 1;
        let mut policy = Policy::clone(self.caps(budget));
        policy.version += 1;
        let change = self.rng.random_range(0..4);
        // In the time between two edits the nodes spend about as much.
        let much = 100_000_000 * self.nodes.len() as i64;
        let by = Usd::from_nanos(self.rng.random_range(0..much));
        for window in &mut policy.windows {
            let spent = self.books.charged(budget, self.books.begins(budget, window, now));
            let least = if self.faults.lowers { Usd::from_nanos(10_000_000) } else { window.base };
            let cap = match change {
                0 => window.base - by,
                1 => window.base + by,
                _ => spent + Usd::from_nanos(self.rng.random_range(0..much)),
            };
            window.base = cap.max(least);
            window.caps = vec![CapStep { from: i64::MIN, cap: window.base }];
        }
        self.policies[budget].push(Arc::new(policy));
    }

    fn expire(&mut self, now: i64) {
        let Some(life) = self.faults.expiry else { return };
        for budget in 0..BUDGETS {
            let Some(mut account) = self.authority.copy_of(of_both(budget)) else { continue };
            for (&inc, _) in self.heard_of.iter().filter(|(_, at)| now - **at > life) {
                account.expire(inc);
            }
            self.authority.put(of_both(budget), account);
            self.seen[budget] = self.look(budget);
        }
    }
}
