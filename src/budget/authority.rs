//! The one place that knows how much of each budget is spent and how much is leased.

use async_trait::async_trait;
use thiserror::Error;

use super::protocol::{Answer, Audit, Incarnation, SeedStatement, Seeded, Statement};
use crate::limit::BudgetId;

/// Why an authority gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuthorityError {
    /// It may have been told all the same.
    #[error("the budget authority gave no answer in time")]
    Late,
    /// It was not told, or nobody knows.
    #[error("the budget authority cannot be asked: {0}")]
    Away(String),
    /// It answers, but what it keeps of this budget makes no sense.
    #[error("the budget authority cannot say: {0}")]
    Garbled(String),
}

/// The one place that knows how much of each budget is spent and how much is leased.
#[async_trait]
pub trait Authority: Send + Sync {
    /// Takes a node's statement about a budget.
    async fn exchange(&self, budget: BudgetId, statement: &Statement) -> Result<Answer, AuthorityError>;

    /// Sets what was spent to what the ledger says.
    async fn seed(&self, budget: BudgetId, seed: &SeedStatement) -> Result<Seeded, AuthorityError>;

    /// An incarnation is gone and its journal is in the database: what it held of these budgets ends with the next
    /// seeding.
    async fn close(&self, inc: Incarnation, budgets: &[BudgetId]) -> Result<(), AuthorityError>;

    /// The ledger says something else about these budgets than was told: they are to be seeded anew.
    async fn count_anew(&self, _budgets: &[BudgetId]) -> Result<(), AuthorityError> {
        Ok(())
    }

    /// Asks the other nodes to give back what they do not use of a budget, and waits a moment. False when there is
    /// nobody to ask.
    async fn recall(&self, _budget: BudgetId) -> bool {
        false
    }

    /// Whether it is known that nobody answers for this budget: it is not worth asking before somebody does again.
    fn is_away(&self, _budget: BudgetId) -> bool {
        false
    }

    /// The budgets in which an incarnation may hold something; for one that has ended, what [`Self::close`] is for.
    async fn held_by(&self, _inc: Incarnation) -> Result<Vec<BudgetId>, AuthorityError> {
        Ok(Vec::new())
    }

    /// Called now and then, so that what is no longer needed can be forgotten bit by bit.
    fn sweep(&self, _turn: usize, _now: i64) {}

    /// What is counted of a budget; none when it is not known.
    async fn audit(&self, budget: BudgetId) -> Result<Option<Audit>, AuthorityError>;
}
