//! What really happened: every charge with its place in a journal, what runs, and how much a budget may have come to.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use parking_lot::Mutex;

use super::super::world::{Row, sum};
use super::FIVE_HOURS;
use crate::budget::account::{MINUTE, query};
use crate::budget::{Audit, Counted, Incarnation, Lsn, Seed, SeedQuery, terms};
use crate::limit::{BudgetId, Mode, Policy, WindowPolicy};
use crate::money::Usd;

/// What an incarnation charged, and up to where the database has it.
#[derive(Default)]
struct Journal {
    rows: Vec<Row>,
    end: Lsn,
    written: Lsn,
    closed: bool,
}

/// A request that was admitted and has not ended.
pub struct Open {
    pub inc: Incarnation,
    pub budgets: Vec<BudgetId>,
    pub amount: Usd,
}

#[derive(Default)]
pub struct Books {
    journals: Mutex<BTreeMap<Incarnation, Journal>>,
    /// What was charged in all, by minute.
    minutes: Mutex<BTreeMap<BudgetId, BTreeMap<i64, Usd>>>,
    open: Mutex<BTreeMap<u64, Open>>,
    starts: Mutex<BTreeMap<BudgetId, i64>>,
    limits: Mutex<BTreeMap<BudgetId, Limit>>,
}

/// The caps that the authority has heard of, and what each window may have come to.
struct Limit {
    policy: Arc<Policy>,
    most: Vec<Usd>,
}

impl Books {
    pub fn begin(&self, inc: Incarnation) {
        self.journals.lock().entry(inc).or_default();
    }

    pub fn end(&self, inc: Incarnation) -> Lsn {
        self.journals.lock()[&inc].end
    }

    pub fn written(&self, inc: Incarnation) -> Lsn {
        self.journals.lock()[&inc].written
    }

    pub fn write(&self, inc: Incarnation, up_to: Lsn) {
        if let Some(journal) = self.journals.lock().get_mut(&inc) {
            journal.written = journal.written.max(up_to.min(journal.end));
        }
    }

    pub fn charge(&self, inc: Incarnation, budgets: &[BudgetId], at: i64, amount: Usd) -> Lsn {
        for &budget in budgets {
            let minute = at.div_euclid(MINUTE) * MINUTE;
            *self.minutes.lock().entry(budget).or_default().entry(minute).or_default() += amount;
        }
        let mut journals = self.journals.lock();
        let journal = journals.entry(inc).or_default();
        journal.end += 1;
        let lsn = journal.end;
        journal.rows.extend(budgets.iter().map(|&budget| Row { lsn, budget, at, era: 0, amount }));
        lsn
    }

    pub fn open(&self, request: u64, open: Open) {
        self.open.lock().insert(request, open);
    }

    pub fn shut(&self, request: u64) -> Option<Open> {
        self.open.lock().remove(&request)
    }

    /// The process is gone: what ran is charged as it was estimated, and the whole journal is in the database.
    pub fn adopt(&self, inc: Incarnation, now: i64) {
        let gone: Vec<_> = self.open.lock().extract_if(.., |_, open| open.inc == inc).collect();
        for (_, open) in gone {
            self.charge(inc, &open.budgets, now, open.amount);
        }
        if let Some(journal) = self.journals.lock().get_mut(&inc) {
            (journal.written, journal.closed) = (journal.end, true);
        }
    }

    pub fn closed(&self) -> Vec<Incarnation> {
        self.journals.lock().iter().filter(|(_, journal)| journal.closed).map(|(&inc, _)| inc).collect()
    }

    pub fn started(&self, budget: BudgetId, start: i64) {
        let mut starts = self.starts.lock();
        let known = starts.entry(budget).or_insert(start);
        *known = if (start - *known).abs() < FIVE_HOURS { start.min(*known) } else { start.max(*known) };
    }

    pub fn seed(&self, asked: &SeedQuery, now: i64) -> Seed {
        let journals = self.journals.lock();
        let in_database = |journal: &Journal| {
            let written = journal.written;
            journal
                .rows
                .iter()
                .filter(move |row| row.lsn <= written && row.budget == asked.budget)
                .copied()
                .collect::<Vec<_>>()
        };
        let rows: Vec<_> = journals.values().flat_map(in_database).collect();
        Seed {
            query_started: now,
            windows: asked.windows.iter().map(|window| sum(&rows, asked.budget, window, Lsn::MAX)).collect(),
            first_charge_start: self.starts.lock().get(&asked.budget).copied(),
            marks: journals.iter().filter(|(_, it)| !it.closed).map(|(&inc, it)| (inc, it.written)).collect(),
        }
    }

    /// The authority has heard of these caps. What is spent and held may be more than a cap that was lowered, but then it
    /// only shrinks; and that is known once all nodes have said what they hold.
    pub fn heard(&self, budget: BudgetId, policy: &Arc<Policy>, known: Option<&Audit>, now: i64) {
        let mut limits = self.limits.lock();
        let none = || Limit { policy: Arc::clone(policy), most: caps(policy, now) };
        let limit = limits.entry(budget).or_insert_with(none);
        if policy.version > limit.policy.version {
            limit.policy = Arc::clone(policy);
        }
        for (at, (cap, most)) in caps(&limit.policy, now).into_iter().zip(&mut limit.most).enumerate() {
            let exposed = known.map_or(*most, |audit| audit.windows[at].spent + held(audit));
            *most = cap.max(exposed.min(*most));
        }
    }

    /// What the authority has granted it could grant.
    pub fn check_grant(&self, budget: BudgetId, audit: &Audit) -> Result<(), String> {
        let limits = self.limits.lock();
        for (&Counted { window, spent, .. }, &most) in audit.windows.iter().zip(&limits[&budget].most) {
            if spent + held(audit) > most {
                return Err(format!("granted {budget:?} {window}: {spent} spent and {} held of {most}", held(audit)));
            }
        }
        Ok(())
    }

    /// What was spent and what runs is no more than there was.
    pub fn check(&self, budget: BudgetId, now: i64) -> Result<(), String> {
        let limits = self.limits.lock();
        let Some(limit) = limits.get(&budget) else { return Ok(()) };
        let open = self.open.lock();
        let running: Usd = open.values().filter(|open| open.budgets.contains(&budget)).map(|open| open.amount).sum();
        for ((window, spent), &most) in self.spent(budget, &limit.policy, now).into_iter().zip(&limit.most) {
            if spent + running > most {
                return Err(format!("{budget:?} {}: {spent} spent and {running} running of {most}", window.window));
            }
        }
        Ok(())
    }

    /// What was charged in each window of a policy that runs now, told or not.
    pub fn spent(&self, budget: BudgetId, policy: &Policy, now: i64) -> Vec<(WindowPolicy, Usd)> {
        let minutes = self.minutes.lock();
        let minutes = &minutes[&budget];
        let terms = terms::of(Arc::new(policy.clone()), &TimeZone::UTC, now);
        let windows = policy.windows.iter().zip(terms.bounds).map(|(window, bounds)| {
            let from = match window.mode {
                Mode::FromFirstCharge => first_charge(minutes.keys().copied(), now),
                _ => query(window, bounds, now).from,
            };
            (window.clone(), minutes.range(from..).map(|(_, &amount)| amount).sum())
        });
        windows.collect()
    }
}

/// When the five hours that run now began; if none do, a time that is still to come.
pub fn first_charge(minutes: impl Iterator<Item = i64>, now: i64) -> i64 {
    let mut start = i64::MIN;
    for minute in minutes {
        if minute >= start.saturating_add(FIVE_HOURS) {
            start = minute;
        }
    }
    if now < start.saturating_add(FIVE_HOURS) { start } else { i64::MAX }
}

pub fn held(audit: &Audit) -> Usd {
    audit.holders.iter().map(|held| held.reserved + held.kept + held.pending).sum()
}

fn caps(policy: &Policy, now: i64) -> Vec<Usd> {
    policy.windows.iter().map(|window| window.cap_at(now)).collect()
}
