//! How budgets are spread over Redis: all of an owner are in one partition, which is on one server.

use crate::limit::BudgetId;

use super::super::protocol::Incarnation;
use super::wire;

/// How many there are. Fixed for ever: it is part of the names of keys.
pub const PARTITIONS: usize = 64;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Partition(u8);

impl Partition {
    /// Where this budget is.
    pub fn of(budget: BudgetId) -> Self {
        // Owners are numbered one after the other, and providers by a hash.
        Self::at(usize::try_from(budget.owner.rem_euclid(PARTITIONS as i64)).unwrap_or_default())
    }

    /// The one of this number.
    pub fn at(index: usize) -> Self {
        Self((index % PARTITIONS) as u8)
    }

    pub fn all() -> impl Iterator<Item = Self> {
        (0..PARTITIONS).map(Self::at)
    }

    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Since when it was not flushed.
    pub fn birth_key(self) -> String {
        format!("{{tg:{}}}:gen", self.0)
    }

    /// The budgets in it in which an incarnation may hold something.
    pub fn holdings_key(self, inc: Incarnation) -> String {
        format!("{{tg:{}}}:h:{inc}", self.0)
    }

    /// A budget in it.
    pub fn budget_key(self, budget: BudgetId) -> String {
        format!("{{tg:{}}}:b:{}", self.0, wire::name(budget))
    }
}
