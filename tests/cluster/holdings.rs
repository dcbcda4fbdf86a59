//! What a Redis counts of a budget, and what each node holds there, as the program itself reads it.

use std::sync::Arc;
use std::time::Duration;

use tollgate::budget::{Audit, Authority, RedisAuthority};
use tollgate::limit::{Axis, BudgetId, Scope};
use tollgate::money::Usd;

use crate::support::admin::Caller;

/// Asks one Redis. No node: it holds nothing.
pub struct Holdings(Arc<RedisAuthority>);

/// What one node has of a budget, in nano-dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Has {
    pub inc: i64,
    /// Beyond what its running requests have set aside.
    pub kept: i64,
    pub reserved: i64,
}

impl Holdings {
    pub fn at(redis: &str) -> Self {
        let heard = Box::new(|_: i64, _: Duration| {});
        let (authority, _) = RedisAuthority::new(redis, Duration::from_secs(5), 0, 30_000, heard).unwrap();
        Self(authority)
    }

    /// All that is known of a budget; none when it is not.
    pub async fn audit(&self, budget: BudgetId) -> Option<Audit> {
        self.0.audit(budget).await.unwrap()
    }

    /// Whoever has anything of a budget.
    pub async fn of(&self, budget: BudgetId) -> Vec<Has> {
        let holders = self.audit(budget).await.map(|audit| audit.holders).unwrap_or_default();
        let has = holders.iter().map(|of| Has { inc: of.inc, kept: of.kept.nanos(), reserved: of.reserved.nanos() });
        has.filter(|has| has.kept != 0 || has.reserved != 0).collect()
    }

    /// What all of them keep together beyond what they have set aside.
    pub async fn kept(&self, budget: BudgetId) -> i64 {
        self.of(budget).await.iter().map(|has| has.kept).sum()
    }

    /// What was granted of a budget so far in its first window, spent or not.
    pub async fn granted(&self, budget: BudgetId) -> i64 {
        let Some(audit) = self.audit(budget).await else { return 0 };
        let held: Usd = audit.holders.iter().map(|of| of.reserved + of.kept + of.pending).sum();
        (audit.windows[0].spent + held).nanos()
    }
}

/// The mainline budget of a user.
pub fn user(caller: &Caller) -> BudgetId {
    BudgetId { axis: Axis::User, owner: caller.user_id, scope: Scope::Mainline }
}

/// The mainline budget of a key.
pub fn key(caller: &Caller) -> BudgetId {
    BudgetId { axis: Axis::Key, owner: caller.key_id, scope: Scope::Mainline }
}
