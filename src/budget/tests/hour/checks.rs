//! What must be so after every step.

use super::books::Books;
use super::bounds::Told;
use super::network::LATEST;
use super::{BUDGETS, Sim, of_both};
use crate::budget::{Answer, Audit, Holding, Incarnation, SeedStatement, Seeded, Statement};
use crate::money::Usd;

/// Who may have changed what is held.
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// Time has passed, and journals were closed.
    Nobody,
    Node(Incarnation),
    Seed,
}

/// What the authority counts of a budget, and how late it knows it is.
pub struct Seen {
    pub audit: Audit,
    pub now: i64,
}

fn held(audit: &Audit) -> Usd {
    audit.holders.iter().map(|holder| holder.reserved + holder.kept + holder.pending).sum()
}

impl Sim {
    pub fn look(&self, budget: usize) -> Option<Seen> {
        let account = self.authority.copy_of(of_both(budget))?;
        Some(Seen { audit: account.audit(), now: account.last_contact() })
    }

    /// What is held only changes by the holder's own word, and by a seed only what was told before it. What is heard of
    /// a journal never becomes less, but by a seed; and the authority's time does not go back with its clock.
    pub fn changed_only(&mut self, budget: usize, by: By) -> Result<(), String> {
        let now = self.look(budget);
        let before = std::mem::replace(&mut self.seen[budget], now);
        let Some(after) = &self.seen[budget] else { return Ok(()) };
        let version = usize::try_from(after.audit.version).unwrap_or(0);
        if let Some(policy) = self.policies[budget].get(version - 1) {
            self.in_force[budget].clone_from(policy);
        }
        let Some(before) = before else { return Ok(()) };
        if after.now < before.now {
            return Err(format!("{by:?}: it was {}, and now it is {}", before.now, after.now));
        }
        let journals = &self.books.journals;
        let count = |of: &Holding| journals.get(&of.inc).map_or(0, |journal| journal.count(budget, of.position));
        for was in &before.audit.holders {
            let Some(is) = after.audit.holders.iter().find(|holder| holder.inc == was.inc) else {
                if matches!(by, By::Seed) && journals.get(&was.inc).is_none_or(|it| it.closed_at.is_some()) {
                    continue;
                }
                return Err(format!("{by:?}: forgotten: {was:?}"));
            };
            let right = match by {
                By::Node(inc) if inc == was.inc => count(is) >= count(was),
                By::Node(_) | By::Nobody => is == was,
                By::Seed => (is.reserved, is.kept) == (was.reserved, was.kept),
            };
            if !right {
                return Err(format!("{by:?}: {was:?} has become {is:?}"));
            }
        }
        Ok(())
    }

    /// The authority has answered a statement.
    pub fn taken(
        &mut self,
        budget: usize,
        said: &Statement,
        owed: Usd,
        answer: &Answer,
        now: i64,
    ) -> Result<(), String> {
        self.changed_only(budget, By::Node(said.inc))?;
        let (Answer::Ok(taken), Some(seen)) = (answer, &self.seen[budget]) else {
            return self.check_counts(budget);
        };
        let mut told = std::mem::take(&mut self.bounds.0[budget]);
        let over = |told: &Told| {
            let windows = self.in_force[budget].windows.iter();
            let over = windows.map(|policy| {
                let from = self.books.begins(budget, policy, now);
                self.known(budget, told, from) - policy.cap_at(now)
            });
            over.max().unwrap_or_default()
        };
        let journal = self.books.journals.get(&said.inc).ok_or("somebody speaks who is gone")?;
        let went_back = now - self.back_at < 2 * LATEST;
        let (cut, early) = told.take(budget, (said, owed), taken, journal, went_back, over)?;
        self.bounds.0[budget] = told;
        self.figures.cut += cut;
        self.figures.cut_early += early;
        if taken.granted > Usd::ZERO {
            self.figures.grants += 1;
            for (window, policy) in seen.audit.windows.iter().zip(&self.in_force[budget].windows) {
                let (cap, held) = (policy.cap_at(now), held(&seen.audit));
                if window.spent + held > cap {
                    return Err(format!("granted {taken:?}: {window:?} spent and {held} held of {cap}"));
                }
            }
        }
        self.check_counts(budget)
    }

    /// The authority has taken a seed, or not.
    pub fn seeded(
        &mut self,
        budget: usize,
        said: &SeedStatement,
        seeded: Seeded,
        closed: Vec<Incarnation>,
    ) -> Result<(), String> {
        self.changed_only(budget, By::Seed)?;
        if let (Seeded::Taken, Some(seen)) = (seeded, &self.seen[budget]) {
            self.figures.seeds += 1;
            let told = &mut self.bounds.0[budget];
            for holder in
                seen.audit.holders.iter().filter(|holder| told.whole.contains(&holder.inc)).collect::<Vec<_>>()
            {
                // It is from before the journal was closed, and later ones were forgotten.
                if said.seed.query_started >= self.back_at {
                    return Err(format!("{said:?} does not know of the end of {holder:?}"));
                }
                let journal = &self.books.journals[&holder.inc];
                told.loses(budget, holder.inc, journal, journal.count(budget, holder.position));
            }
            let listed = |inc: Incarnation| seen.audit.holders.iter().any(|holder| holder.inc == inc);
            for inc in closed.into_iter().filter(|&inc| !listed(inc) && self.books.journals.contains_key(&inc)) {
                told.contains(inc);
            }
        }
        self.check_counts(budget)
    }

    /// What the authority counts is what the journals say up to the positions that it knows, and it knows at least what it
    /// was told.
    pub fn check_counts(&self, budget: usize) -> Result<(), String> {
        let Some(Seen { audit, .. }) = &self.seen[budget] else { return Ok(()) };
        let now = self.time.now();
        let told = &self.bounds.0[budget];
        let mut counted = Vec::with_capacity(self.books.journals.len());
        for (inc, journal) in &self.books.journals {
            let holder = audit.holders.iter().find(|holder| holder.inc == *inc);
            let count = match holder {
                Some(holder) => journal.count(budget, holder.position),
                None if told.whole.contains(inc) => usize::MAX,
                None => 0,
            };
            counted.push((journal, count));
            let (Some(holder), Some(known)) = (holder, told.of.get(inc).filter(|_| told.heard.contains(inc))) else {
                continue;
            };
            if holder.reserved.min(holder.kept).min(holder.pending) < Usd::ZERO {
                return Err(format!("negative: {holder:?}"));
            }
            let kept = (holder.reserved, holder.kept) == (known.reserved, known.kept);
            if !kept || journal.all(budget, count) + holder.pending < journal.all(budget, known.to) {
                return Err(format!("{holder:?}, and was told {known:?}"));
            }
        }
        for (window, policy) in audit.windows.iter().zip(&self.in_force[budget].windows) {
            let from = Books::begins_for(window, policy, now);
            let sum: Usd = counted.iter().map(|(journal, count)| journal.since(budget, *count, from)).sum();
            let sum = sum + self.books.past(budget, from);
            if window.spent != sum {
                return Err(format!(
                    "of {budget} the authority counts {window:?}, the journals say {sum} since {from}"
                ));
            }
        }
        Ok(())
    }

    /// What was spent and is set aside is no more than the cap; where the authority knows of more, no more than that; and
    /// beyond it only what is stated.
    pub fn check_truth(&mut self, budget: usize, now: i64) -> Result<(), String> {
        let told = &self.bounds.0[budget];
        for policy in &self.in_force[budget].windows {
            let from = self.books.begins(budget, policy, now);
            let (spent, cap) = (self.books.charged(budget, from), policy.cap_at(now));
            let over = spent + self.running[budget] - cap;
            if over <= Usd::ZERO {
                continue;
            }
            let (known, beyond) = (self.known(budget, told, from), told.beyond());
            let allowed = (known - cap).max(Usd::ZERO) + beyond;
            if over > allowed {
                let running = self.running[budget];
                return Err(format!(
                    "of {budget} {} {spent} spent and {running} running of {cap}, {over} too much; \
                     {known} is known of and {beyond} may be spent beyond that",
                    policy.window
                ));
            }
            self.figures.most_over = self.figures.most_over.max(over);
        }
        Ok(())
    }

    /// What the authority was told to be spent in a window and held.
    fn known(&self, budget: usize, told: &Told, from: i64) -> Usd {
        let of = told.of.iter().filter_map(|(inc, known)| {
            let journal = self.books.journals.get(inc)?;
            Some(journal.since(budget, known.to, from) + known.reserved + known.kept)
        });
        self.books.past(budget, from) + of.sum()
    }

    /// What a node has charged and may spend.
    pub fn claim(&self, budget: usize, inc: Incarnation) -> Usd {
        let charged = self.books.journals.get(&inc).map_or(Usd::ZERO, |journal| journal.all(budget, usize::MAX));
        let node = self.nodes.iter().find(|node| node.inc == inc);
        charged + node.map_or(Usd::ZERO, |node| node.owns(budget))
    }

    /// No node may spend more than is known of it, but for what is stated.
    pub fn claims(&mut self, budget: usize, inc: Incarnation, heard: bool) -> Result<(), String> {
        let claim = self.claim(budget, inc);
        let Some(journal) = self.books.journals.get(&inc) else { return Ok(()) };
        self.bounds.0[budget].claims(budget, inc, journal, claim, heard)
    }

    /// The authority is another.
    pub fn look_anew(&mut self) {
        for budget in 0..BUDGETS {
            self.seen[budget] = self.look(budget);
        }
    }
}
