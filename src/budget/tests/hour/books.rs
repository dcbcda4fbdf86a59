//! What really happened: every charge with its place in a journal, as the database and the authority know it in part.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::cluster::books::first_charge;
use super::{BUDGETS, DAY, FIVE_HOURS};
use crate::budget::account::{MINUTE, query};
use crate::budget::{Counted, Incarnation, Lsn, Position, Seed, SeedStatement, Terms, WindowSeed};
use crate::limit::{Mode, Window, WindowPolicy};
use crate::money::Usd;

/// One charge of a budget, with what its journal charged to that budget in all by then.
struct Charge {
    lsn: Lsn,
    minute: i64,
    all: Usd,
}

/// What an incarnation charged, and how much of it the database has.
#[derive(Default)]
pub struct Journal {
    pub end: Lsn,
    pub written: Lsn,
    pub closed_at: Option<i64>,
    of: [Vec<Charge>; BUDGETS],
}

impl Journal {
    pub fn charge(&mut self, budgets: &[usize], at: i64, amount: Usd) -> Lsn {
        self.end += 1;
        let (lsn, minute) = (self.end, at.div_euclid(MINUTE) * MINUTE);
        for &budget in budgets {
            let all = self.all(budget, usize::MAX) + amount;
            self.of[budget].push(Charge { lsn, minute, all });
        }
        lsn
    }

    /// How many charges to a budget are counted up to a position.
    pub fn count(&self, budget: usize, position: Position) -> usize {
        match position {
            Position::Start => 0,
            Position::At(count) => usize::try_from(count).unwrap_or(usize::MAX).min(self.of[budget].len()),
            Position::Mark(lsn, _) => self.of[budget].partition_point(|charge| charge.lsn <= lsn),
        }
    }

    /// What so many charges to a budget add up to.
    pub fn all(&self, budget: usize, count: usize) -> Usd {
        let count = count.min(self.of[budget].len());
        count.checked_sub(1).map_or(Usd::ZERO, |last| self.of[budget][last].all)
    }

    /// The same of those that were made from a minute on.
    pub fn since(&self, budget: usize, count: usize, from: i64) -> Usd {
        let before = self.of[budget].partition_point(|charge| charge.minute < from).min(count);
        self.all(budget, count) - self.all(budget, before)
    }

    /// The same for each minute.
    fn minutes(&self, budget: usize, count: usize, from: i64, sums: &mut BTreeMap<i64, Usd>) {
        let list = &self.of[budget][..count.min(self.of[budget].len())];
        let mut at = list.partition_point(|charge| charge.minute < from);
        while let Some(first) = list.get(at) {
            let next = at + list[at..].partition_point(|charge| charge.minute == first.minute);
            *sums.entry(first.minute).or_default() += self.all(budget, next) - self.all(budget, at);
            at = next;
        }
    }
}

#[derive(Default)]
pub struct Books {
    pub journals: BTreeMap<Incarnation, Journal>,
    /// What was charged by those that nothing on its way speaks of any more, by minute.
    past: [BTreeMap<i64, Usd>; BUDGETS],
    /// What was charged in all, by minute.
    minutes: [BTreeMap<i64, Usd>; BUDGETS],
    starts: [Option<i64>; BUDGETS],
}

impl Books {
    /// What an earlier life charged.
    pub fn had_before(&mut self, budget: usize, at: i64, amount: Usd) {
        let minute = at.div_euclid(MINUTE) * MINUTE;
        *self.past[budget].entry(minute).or_default() += amount;
        *self.minutes[budget].entry(minute).or_default() += amount;
    }

    pub fn charge(&mut self, inc: Incarnation, budgets: &[usize], at: i64, amount: Usd) -> Lsn {
        for &budget in budgets {
            *self.minutes[budget].entry(at.div_euclid(MINUTE) * MINUTE).or_default() += amount;
        }
        self.journals.entry(inc).or_default().charge(budgets, at, amount)
    }

    /// Whoever speaks of it no longer, its journal is a sum.
    pub fn retire(&mut self, inc: Incarnation) {
        let Some(journal) = self.journals.remove(&inc) else { return };
        for (budget, past) in self.past.iter_mut().enumerate() {
            journal.minutes(budget, usize::MAX, i64::MIN, past);
        }
    }

    pub fn closed(&self) -> Vec<Incarnation> {
        self.journals.iter().filter(|(_, journal)| journal.closed_at.is_some()).map(|(&inc, _)| inc).collect()
    }

    pub fn started(&mut self, budget: usize, start: i64) {
        let known = self.starts[budget].get_or_insert(start);
        let near = (start - *known).abs() < FIVE_HOURS;
        *known = if near { start.min(*known) } else { start.max(*known) };
    }

    /// From which minute on charges are in a window at `now`.
    pub fn begins(&self, budget: usize, policy: &WindowPolicy, now: i64) -> i64 {
        match policy.mode {
            Mode::FromFirstCharge => first_charge(self.minutes[budget].keys().copied(), now),
            Mode::Calendar { .. } => now.div_euclid(DAY) * DAY,
            Mode::Forever | Mode::Rolling => query(policy, None, now).from,
        }
    }

    /// From which minute on charges are in a window as the authority sees it, at `now`. What leaves a rolling one may have
    /// left already where nodes have the time from, or be there still.
    pub fn begins_for(window: &Counted, policy: &WindowPolicy, now: i64) -> i64 {
        if policy.mode != Mode::Rolling {
            return window.start;
        }
        // So long after its beginning a slot leaves.
        let slot = if policy.window == Window::FiveHours { FIVE_HOURS + MINUTE } else { DAY + 5 * MINUTE };
        let from = query(policy, None, now).from;
        window.leaving.first().map_or(from, |&(leaves, _)| from.min(leaves - slot))
    }

    /// What was charged since a minute, told or not.
    pub fn charged(&self, budget: usize, from: i64) -> Usd {
        self.minutes[budget].range(from..).map(|(_, amount)| *amount).sum()
    }

    /// What of that the retired ones charged.
    pub fn past(&self, budget: usize, from: i64) -> Usd {
        self.past[budget].range(from..).map(|(_, amount)| *amount).sum()
    }

    /// What the database says.
    pub fn seed(&self, budget: usize, terms: &Arc<Terms>, now: i64) -> SeedStatement {
        let windows = terms.policy.windows.iter().zip(&terms.bounds).map(|(policy, &bounds)| {
            let asked = query(policy, bounds, now);
            let mut minutes: BTreeMap<_, _> =
                self.past[budget].range(asked.from..).map(|(&at, &sum)| (at, sum)).collect();
            for journal in self.journals.values() {
                let count = journal.count(budget, Position::Mark(journal.written, 0));
                journal.minutes(budget, count, asked.from, &mut minutes);
            }
            WindowSeed {
                window: policy.window,
                sum: minutes.values().sum(),
                minutes: if asked.by_minute { minutes.into_iter().collect() } else { Vec::new() },
            }
        });
        let open = self.journals.iter().filter(|(_, journal)| journal.closed_at.is_none());
        let seed = Seed {
            query_started: now,
            windows: windows.collect(),
            first_charge_start: self.starts[budget],
            marks: open.map(|(&inc, journal)| (inc, journal.written)).collect(),
        };
        SeedStatement { seed, terms: Arc::clone(terms) }
    }
}
