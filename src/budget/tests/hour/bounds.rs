//! What nodes may have admitted, to the nano-dollar: what the authority was told that they hold, and what they may spend
//! beyond that because of something that is stated to be an exception.
//!
//! A cap that is lowered leaves what was reserved and kept then. The authority cuts what is kept, and until the node has
//! heard of it, it may spend it. A rollback leaves what was granted and told since. Overruns leave debts. Nothing else is
//! allowed, and what is allowed ends when the node has spoken or heard.

use std::collections::{BTreeMap, BTreeSet};

use super::BUDGETS;
use super::books::Journal;
use crate::budget::{Incarnation, Statement, Taken};
use crate::money::Usd;

/// What the authority was last told by a node about a budget, and left to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// The last statement that was ever taken, also if the authority has forgotten it.
    seq: u64,
    /// So many charges.
    pub to: usize,
    pub reserved: Usd,
    pub kept: Usd,
    /// What the node may spend and the authority does not know of, because of an exception.
    pub beyond: Usd,
    /// The same for no such reason: it was cut although the budget was not really over its cap.
    pub unheard: Usd,
    /// What it was granted and came to owe in all.
    given: Usd,
    /// What it came to owe in all.
    pub owed: Usd,
}

/// What an authority knows of one budget.
#[derive(Clone, Default)]
pub struct Told {
    pub of: BTreeMap<Incarnation, Known>,
    /// Closed journals that it contains from beginning to end.
    pub whole: BTreeSet<Incarnation>,
    /// Who has spoken since the budget was last forgotten.
    pub heard: BTreeSet<Incarnation>,
}

/// All budgets.
#[derive(Clone, Default)]
pub struct Bounds(pub [Told; BUDGETS]);

impl Known {
    /// What the authority knows that it charged or may spend.
    pub fn all(&self, journal: &Journal, budget: usize) -> Usd {
        journal.all(budget, self.to) + self.reserved + self.kept
    }
}

impl Told {
    /// A statement was taken; `owed` is what the node owed when it made it. `over`: by how much the budget is over a cap
    /// before the grant. Returns what was cut of what the node kept, and by how much that was more than the budget was over.
    pub fn take(
        &mut self,
        budget: usize,
        (said, owed): (&Statement, Usd),
        taken: &Taken,
        journal: &Journal,
        went_back: bool,
        over: impl Fn(&Self) -> Usd,
    ) -> Result<(Usd, Usd), String> {
        self.heard.insert(said.inc);
        let before = self.of.get(&said.inc).copied().unwrap_or_default();
        let had = before.all(journal, budget);
        let kept = taken.kept - taken.granted;
        let to = usize::try_from(said.to).unwrap_or(usize::MAX);
        let mut after = Known { seq: before.seq.max(said.seq), to, reserved: said.reserved, kept, ..before };
        let (has, says) = (after.all(journal, budget), journal.all(budget, to) + said.reserved + said.kept);
        let cut = (says.min(had) - has).max(Usd::ZERO);
        self.of.insert(said.inc, after);
        let early = (cut - (over(self) + cut).max(Usd::ZERO)).max(Usd::ZERO);
        if said.seq > before.seq {
            // What it came to owe since it made the statement is not in it.
            let later = before.owed - owed;
            let beyond = (before.beyond - later).max(Usd::ZERO);
            if says > had + beyond + before.unheard {
                return Err(format!("{} says {says}, was known to have {before:?}: {had}", said.inc));
            }
            let lost = says - has;
            after.beyond = (beyond.min(lost - cut) + cut - early).min(lost);
            after.unheard = lost - after.beyond;
            after.beyond += later;
        } else if !went_back {
            return Err(format!("{} is taken again: {before:?}", said.inc));
        } else {
            // What is stated is what it was once.
            let may = had + before.beyond;
            after.beyond = (may - has).max(Usd::ZERO);
            after.given += (has - may).max(Usd::ZERO);
        }
        after.kept = taken.kept;
        after.given += taken.granted;
        self.of.insert(said.inc, after);
        Ok((cut, early))
    }

    /// What a node has charged and may spend has changed, or it has heard what it may.
    pub fn claims(
        &mut self,
        budget: usize,
        inc: Incarnation,
        journal: &Journal,
        claim: Usd,
        heard: bool,
    ) -> Result<(), String> {
        let known = self.of.entry(inc).or_default();
        let lost = (claim - known.all(journal, budget)).max(Usd::ZERO);
        if lost > known.beyond + known.unheard {
            return Err(format!("{inc} may spend {lost} more than is known of it: {known:?}"));
        }
        if heard {
            known.beyond = known.beyond.min(lost);
            known.unheard = known.unheard.min(lost);
        }
        Ok(())
    }

    /// A request has cost more than was set aside for it, and a node has nothing left to pay it from.
    pub fn owes(&mut self, inc: Incarnation, debt: Usd) {
        let known = self.of.entry(inc).or_default();
        known.beyond += debt;
        known.given += debt;
        known.owed += debt;
    }

    /// A closed journal is contained.
    pub fn contains(&mut self, inc: Incarnation) {
        self.whole.insert(inc);
        let known = self.of.entry(inc).or_default();
        *known = Known { to: usize::MAX, seq: known.seq, given: known.given, owed: known.owed, ..Known::default() };
    }

    /// A closed journal is no longer contained to its end, but only so many charges.
    pub fn loses(&mut self, budget: usize, inc: Incarnation, journal: &Journal, count: usize) {
        self.whole.remove(&inc);
        self.heard.remove(&inc);
        let known = self.of.entry(inc).or_default();
        known.to = count;
        known.beyond = journal.all(budget, usize::MAX) - journal.all(budget, count);
    }

    /// The authority knows of a node what it knew once: no more is spent twice than it was given since. `claim`: what it has
    /// charged and may spend, or may when it hears the answer that is on its way.
    pub fn went_back(
        &mut self,
        budget: usize,
        now: &Self,
        inc: Incarnation,
        journal: &Journal,
        claim: Usd,
    ) -> Result<Usd, String> {
        let old = self.of.entry(inc).or_default();
        let known = now.of.get(&inc).copied().unwrap_or_default();
        // So may what it was granted before the authority last went back, and has not heard of yet.
        let known_of = known.all(journal, budget) + known.beyond + known.unheard;
        let may = if now.whole.contains(&inc) { claim } else { claim.max(known_of) };
        let beyond = (may - old.all(journal, budget)).max(Usd::ZERO);
        if beyond > old.beyond + old.unheard + known.given - old.given {
            return Err(format!("{inc} may spend {beyond} twice, once {old:?}, now {known:?}"));
        }
        (old.beyond, old.unheard) = (beyond, Usd::ZERO);
        (old.given, old.owed, old.seq) = (known.given, known.owed, known.seq);
        Ok(beyond)
    }

    /// What may be spent beyond what the authority knows of.
    pub fn beyond(&self) -> Usd {
        self.of.values().map(|known| known.beyond).sum()
    }
}
