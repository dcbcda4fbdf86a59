//! What this node charged to one budget, for as long as an authority may ask for it again.

use std::collections::VecDeque;

use super::super::account::{MINUTE, SECOND};
use super::super::protocol::{Item, Lsn, Position};
use crate::money::Usd;

#[derive(Clone, Copy, Debug)]
struct Charge {
    lsn: Lsn,
    minute: i64,
    era: i64,
    amount: Usd,
}

/// Charges in the order in which they were made; the authority has counted those up to a position.
#[derive(Debug)]
pub struct Charges {
    list: VecDeque<Charge>,
    /// How many came before those in the list.
    before: u64,
    position: Position,
    untold: Usd,
    /// What was charged up to here may not have been recorded, or is forgotten.
    forgotten: Lsn,
    /// Up to where charges were stated: what came later may still be added to.
    stated: u64,
    /// They are requests. Those of a past minute count for nothing, and need not be remembered.
    counts: bool,
}

impl Charges {
    /// None yet, and until told otherwise any may be missing.
    pub const fn new(counts: bool) -> Self {
        Self {
            list: VecDeque::new(),
            before: 0,
            position: Position::Start,
            untold: Usd::ZERO,
            forgotten: Lsn::MAX,
            stated: 0,
            counts,
        }
    }

    /// Everything charged after this place in the journal is recorded here.
    pub fn watched_from(&mut self, lsn: Lsn) {
        self.forgotten = lsn;
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub const fn untold(&self) -> Usd {
        self.untold
    }

    pub const fn position(&self) -> Position {
        self.position
    }

    /// Records a charge; returns it as it will be told.
    pub fn add(&mut self, lsn: Lsn, at: i64, era: i64, amount: Usd) -> Item {
        let slot = if self.counts { SECOND } else { MINUTE };
        let minute = at.div_euclid(slot) * slot;
        self.untold += amount;
        let item = Item { minute, era, amount };
        // A busy second of requests is one charge; money has a place of its own in the journal.
        if self.counts
            && self.end() > self.stated
            && let Some(last) = self.list.back_mut()
            && (last.minute, last.era) == (minute, era)
        {
            (last.lsn, last.amount) = (lsn.max(last.lsn), last.amount + amount);
            return item;
        }
        self.list.push_back(Charge { lsn, minute, era, amount });
        item
    }

    /// What the authority has not counted, by minute and era; and how many charges there are with that.
    pub fn untold_items(&mut self) -> (Vec<Item>, u64) {
        self.stated = self.end();
        (self.untold_by_minute(), self.stated)
    }

    /// What the authority has not counted, by minute and era.
    pub fn untold_by_minute(&self) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        for charge in self.untold_charges() {
            match items.iter_mut().rev().find(|item| item.minute == charge.minute && item.era == charge.era) {
                Some(item) => item.amount += charge.amount,
                None => items.push(Item { minute: charge.minute, era: charge.era, amount: charge.amount }),
            }
        }
        items
    }

    /// The authority has counted so many charges, which add up to this.
    pub fn told(&mut self, to: u64, sum: Usd) {
        self.position = Position::At(to);
        self.untold -= sum;
    }

    /// The authority has counted up to another position. False when charges after it are no longer remembered.
    pub fn move_to(&mut self, position: Position) -> bool {
        match position {
            Position::Start => return false,
            Position::At(count) if self.position == Position::Start => self.before = count,
            Position::At(count) => {
                if count < self.before || count > self.end() {
                    return false;
                }
            }
            Position::Mark(lsn, _) => {
                if lsn < self.forgotten {
                    return false;
                }
            }
        }
        self.position = position;
        self.untold = self.untold_charges().map(|charge| charge.amount).sum();
        true
    }

    /// By what an authority that has counted up to a position differs from a ledger that contains everything up to a
    /// place in the journal: more by what it was told and is not written, less by what is written and was not told.
    /// None: that is no longer known.
    pub fn beyond(&self, written: Lsn, position: Position) -> Option<Vec<Item>> {
        let remembered = !matches!(position, Position::At(count) if count < self.before);
        (written >= self.forgotten && remembered).then(|| self.differing(written, position))
    }

    /// As [`Self::beyond`], as far as it is known.
    pub fn differing(&self, written: Lsn, position: Position) -> Vec<Item> {
        let told = match position {
            Position::Start => 0,
            Position::Mark(..) => usize::MAX,
            Position::At(count) => usize::try_from(count.saturating_sub(self.before)).unwrap_or(usize::MAX),
        };
        let mark = if let Position::Mark(lsn, _) = position { lsn } else { Lsn::MAX };
        let differing = self.list.iter().enumerate().filter_map(|(index, charge)| {
            let amount = match (index < told && charge.lsn <= mark, charge.lsn <= written) {
                (true, false) => charge.amount,
                (false, true) => -charge.amount,
                _ => return None,
            };
            Some(Item { minute: charge.minute, era: charge.era, amount })
        });
        differing.collect()
    }

    /// What is not in the database, which has everything up to this place in the journal.
    pub fn after(&self, written: Lsn) -> Usd {
        self.list.iter().filter(|charge| charge.lsn > written).map(|charge| charge.amount).sum()
    }

    /// Forgets what is told and was in the database, up to this place in the journal, a while ago.
    pub fn trim(&mut self, written: Lsn) {
        while let Some(charge) = self.list.front()
            && charge.lsn <= written
            && self.is_told(0, charge)
        {
            if self.forgotten != Lsn::MAX && !self.counts {
                self.forgotten = self.forgotten.max(charge.lsn);
            }
            self.list.pop_front();
            self.before += 1;
        }
        if self.list.is_empty() && self.list.capacity() > 16 {
            self.list = VecDeque::new();
        }
    }

    /// Whether [`Self::trim`] would forget all of them.
    pub fn are_settled(&self, written: Lsn) -> bool {
        (0..).zip(&self.list).all(|(index, charge)| charge.lsn <= written && self.is_told(index, charge))
    }

    fn end(&self) -> u64 {
        self.before.saturating_add(self.list.len() as u64)
    }

    fn is_told(&self, index: u64, charge: &Charge) -> bool {
        match self.position {
            Position::Start => false,
            Position::Mark(lsn, _) => charge.lsn <= lsn,
            Position::At(count) => self.before.saturating_add(index) < count,
        }
    }

    fn untold_charges(&self) -> impl Iterator<Item = &Charge> {
        let skip = match self.position {
            Position::At(count) => usize::try_from(count.saturating_sub(self.before)).unwrap_or(usize::MAX),
            _ => 0,
        };
        let mark = match self.position {
            Position::Mark(lsn, _) => lsn,
            _ => 0,
        };
        self.list.iter().skip(skip).filter(move |charge| charge.lsn > mark)
    }
}
