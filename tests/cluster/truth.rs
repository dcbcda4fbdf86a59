//! What Redis itself counts of a budget, without asking any node: whoever is asked puts right what it has not said yet.

use std::sync::Arc;
use std::time::Duration;

use tollgate::budget::{Audit, Authority, RedisAuthority};
use tollgate::limit::{Axis, BudgetId, Scope};

use crate::servers::redis::Redis;
use crate::support::admin::Caller;
use crate::support::capped::Whose;

/// How long Redis may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// One that looks, and says nothing.
pub struct Truth(Arc<RedisAuthority>);

impl Truth {
    pub fn of(redis: &Redis) -> Self {
        let (authority, _) = RedisAuthority::new(&redis.url(), PATIENCE, 0, 0, Box::new(|_, _| {})).unwrap();
        Self(authority)
    }

    /// What is counted of the only budget that this caller has.
    pub async fn of_only(&self, whose: Whose, caller: &Caller, group: i64) -> Audit {
        let (axis, owner) = match whose {
            Whose::Key | Whose::KeyForGroup => (Axis::Key, caller.key_id),
            _ => (Axis::User, caller.user_id),
        };
        let scope = match whose {
            Whose::User | Whose::Key => Scope::Mainline,
            _ => Scope::ModelGroup(group),
        };
        self.0.audit(BudgetId { axis, owner, scope }).await.unwrap().expect("Redis knows it")
    }
}

/// What nodes hold of it, reserved or not, in nano-dollars.
pub fn held(audit: &Audit) -> i64 {
    audit.holders.iter().map(|holder| (holder.reserved + holder.kept + holder.pending).nanos()).sum()
}
