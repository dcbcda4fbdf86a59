//! When the running five hours of budgets began that begin with their first charge: kept with the ledger, because it
//! cannot always be told from the sums.

use std::collections::BTreeMap;

use entity::budget_windows;
use parking_lot::Mutex;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{DatabaseTransaction, DbErr, EntityTrait};

use super::table::chunks;
use crate::limit::{BudgetId, Scope};

/// A later window replaces an earlier one. Of two starts within five hours the earlier one is right: whoever said the
/// later one had not heard of it.
const LATEST: &str = "CASE \
    WHEN excluded.started_at >= budget_windows.started_at + 18000000 THEN excluded.started_at \
    WHEN excluded.started_at < budget_windows.started_at \
    AND excluded.started_at > budget_windows.started_at - 18000000 THEN excluded.started_at \
    ELSE budget_windows.started_at END";

/// What is to be written with the next batch.
#[derive(Debug, Default)]
pub(super) struct Starts(Mutex<BTreeMap<BudgetId, i64>>);

impl Starts {
    pub(super) fn put(&self, budget: BudgetId, started_at: i64) {
        self.0.lock().insert(budget, started_at);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// What waits now; sorted, as everything is that several nodes write.
    pub(super) fn pending(&self) -> Vec<(BudgetId, i64)> {
        self.0.lock().iter().map(|(budget, start)| (*budget, *start)).collect()
    }

    /// Forgets what was written, unless something newer has been put since.
    pub(super) fn written(&self, starts: &[(BudgetId, i64)]) {
        let mut pending = self.0.lock();
        for (budget, start) in starts {
            if pending.get(budget) == Some(start) {
                pending.remove(budget);
            }
        }
    }
}

pub(super) async fn write(transaction: &DatabaseTransaction, starts: &[(BudgetId, i64)]) -> Result<(), DbErr> {
    use budget_windows::Column::{Axis, Owner, Scope, StartedAt};
    let rows = starts.iter().map(|(budget, start)| budget_windows::ActiveModel {
        axis: Set(budget.axis.as_str().to_owned()),
        owner: Set(budget.owner),
        scope: Set(scope_column(budget.scope)),
        started_at: Set(*start),
    });
    for chunk in chunks(rows) {
        let later = OnConflict::columns([Axis, Owner, Scope]).value(StartedAt, Expr::cust(LATEST)).to_owned();
        budget_windows::Entity::insert_many(chunk).on_conflict(later).exec_without_returning(transaction).await?;
    }
    Ok(())
}

/// How a scope is stored.
pub(super) const fn scope_column(scope: Scope) -> i64 {
    match scope {
        Scope::Mainline => 0,
        Scope::ModelGroup(id) => id,
        // Never stored: counts do not begin with a first charge.
        Scope::Count(_) => -1,
    }
}

/// The scope that is stored so.
pub(super) const fn scope_of(column: i64) -> Scope {
    match column {
        0 => Scope::Mainline,
        id => Scope::ModelGroup(id),
    }
}
