//! What a Redis itself counts of a budget, and what each node holds there: whoever asked a node would have it put right
//! what it has not said yet.

use std::sync::Arc;

use tollgate::budget::{Asker, Audit, Authority, Holding, RedisAuthority};
use tollgate::limit::{Axis, BudgetId, Scope};

use crate::harness::PATIENCE;
use crate::support::admin::Caller;
use crate::support::capped::Whose;

/// Looks into one Redis. No node: it holds nothing.
pub struct Witness(Arc<RedisAuthority>);

impl Witness {
    pub fn of(redis: &str) -> Self {
        let nobody =
            Asker { inc: 0, living: Arc::new(Vec::new), dead_after: Box::new(|| 0), heard: Box::new(|_, _| {}) };
        Self(RedisAuthority::new(redis, PATIENCE * 10, nobody).unwrap().0)
    }

    /// All that is known of a budget; none when it is not.
    pub async fn audit(&self, budget: BudgetId) -> Option<Audit> {
        self.0.audit(budget).await.unwrap()
    }

    /// What a life holds of a budget, if Redis knows both.
    pub async fn holding(&self, budget: BudgetId, inc: i64) -> Option<Holding> {
        self.audit(budget).await?.holders.into_iter().find(|holder| holder.inc == inc)
    }

    /// Whoever has anything of a budget.
    pub async fn holders(&self, budget: BudgetId) -> Vec<Holding> {
        let mut holders = self.audit(budget).await.map(|audit| audit.holders).unwrap_or_default();
        holders.retain(|holder| nanos_of(holder) != 0);
        holders
    }

    /// What all of them keep together beyond what they have set aside, in nano-dollars.
    pub async fn kept(&self, budget: BudgetId) -> i64 {
        self.holders(budget).await.iter().map(|holder| holder.kept.nanos()).sum()
    }

    /// What all of them hold together, in nano-dollars.
    pub async fn held(&self, budget: BudgetId) -> i64 {
        held(&self.audit(budget).await.expect("Redis knows the budget"))
    }

    /// What was granted of a budget so far in its first window, spent or not, in nano-dollars.
    pub async fn granted(&self, budget: BudgetId) -> i64 {
        self.audit(budget).await.map_or(0, |audit| audit.windows[0].spent.nanos() + held(&audit))
    }
}

/// What nodes hold, set aside or not, in nano-dollars.
pub fn held(audit: &Audit) -> i64 {
    audit.holders.iter().map(nanos_of).sum()
}

fn nanos_of(holder: &Holding) -> i64 {
    (holder.reserved + holder.kept + holder.pending).nanos()
}

/// The mainline budget of a user.
pub fn of_user(caller: &Caller) -> BudgetId {
    budget(Whose::User, caller, 0)
}

/// The mainline budget of a key.
pub fn of_key(caller: &Caller) -> BudgetId {
    budget(Whose::Key, caller, 0)
}

/// The budget that [`Whose`] names; `group` is that of the models.
pub fn budget(whose: Whose, caller: &Caller, group: i64) -> BudgetId {
    let (axis, owner) = match whose {
        Whose::Key | Whose::KeyForGroup => (Axis::Key, caller.key_id),
        _ => (Axis::User, caller.user_id),
    };
    let scope = match whose {
        Whose::User | Whose::Key => Scope::Mainline,
        _ => Scope::ModelGroup(group),
    };
    BudgetId { axis, owner, scope }
}
