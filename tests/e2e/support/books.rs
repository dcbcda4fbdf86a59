//! The books of a gateway: the rows of its ledger, added up, against what its budgets believe.

use entity::{keys, usage_ledger, users};
use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter};
use serde_json::Value;
use tollgate::store;

use super::admin::Caller;
use super::{Gateway, eventually};

/// Reads the ledger's table itself: no code of the gateway is between its rows and the sums.
pub struct Books {
    db: DatabaseConnection,
}

/// What a caller's rows add up to, in nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub rows: usize,
    pub nanos: i64,
    pub estimated: usize,
}

impl Books {
    pub async fn of(gateway: &Gateway) -> Self {
        Self { db: database(gateway).await }
    }

    pub async fn rows(&self, caller: &Caller) -> Vec<usage_ledger::Model> {
        let of_user = usage_ledger::Column::UserId.eq(caller.user_id);
        usage_ledger::Entity::find().filter(of_user).all(&self.db).await.unwrap()
    }

    pub async fn sums(&self, caller: &Caller) -> Sums {
        let rows = self.rows(caller).await;
        Sums {
            rows: rows.len(),
            nanos: rows.iter().map(|row| row.cost_nanos).sum(),
            estimated: rows.iter().filter(|row| row.estimated).count(),
        }
    }

    /// Waits until nothing is in flight, nothing is set aside, and every window of this caller's budgets has used what
    /// the rows of its scope add up to. Every window must reach back to the first row.
    pub async fn balance(&self, gateway: &Gateway, caller: &Caller) -> Sums {
        let mut why = String::new();
        eventually("the books balance", async || {
            let Some(found) = self.imbalance(gateway, caller).await else { return Some(self.sums(caller).await) };
            if found != why {
                eprintln!("not balanced: {found}");
                why = found;
            }
            None
        })
        .await
    }

    async fn imbalance(&self, gateway: &Gateway, caller: &Caller) -> Option<String> {
        let in_flight = gateway.metric("in_flight").await;
        if in_flight > 0.0 {
            return Some(format!("{in_flight} are in flight"));
        }
        // Of what was spent before a reset nothing counts any more.
        let user = users::Entity::find_by_id(caller.user_id).one(&self.db).await.unwrap().unwrap();
        let key = keys::Entity::find_by_id(caller.key_id).one(&self.db).await.unwrap().unwrap();
        for (axis, owner) in [("user", caller.user_id), ("key", caller.key_id)] {
            let path = format!("/budgets/{axis}/{owner}");
            let (status, budgets) = gateway.admin().call(reqwest::Method::GET, &path, None).await;
            if status != 200 {
                return Some(format!("{axis} {owner}: {status}: {budgets}"));
            }
            for budget in budgets["items"].as_array().unwrap() {
                let paid = |row: &usage_ledger::Model| {
                    let (mainline, counts) = match axis {
                        "user" => (row.counted_in_user_global, row.user_era == user.era),
                        _ => (row.counted_in_key_global, row.key_era == key.era && row.key_id == caller.key_id),
                    };
                    let scope = if mainline { None } else { row.model_group_id };
                    counts && scope == budget["modelGroupId"].as_i64() && (mainline || scope.is_some())
                };
                let rows = self.rows(caller).await;
                let sum: i64 = rows.iter().filter(|row| paid(row)).map(|row| row.cost_nanos).sum();
                for window in budget["windows"].as_array().unwrap() {
                    if nanos(&window["usedUsd"]) != sum || nanos(&window["reservedUsd"]) != 0 {
                        return Some(format!("{axis} {owner}: {sum} in {}, but {window}", budget["scope"]));
                    }
                }
            }
        }
        None
    }
}

/// A second way into the gateway's database.
pub async fn database(gateway: &Gateway) -> DatabaseConnection {
    store::connect(&gateway.database_url(), 2).await.unwrap()
}

/// A number of US dollars in nano-dollars.
pub fn nanos(usd: &Value) -> i64 {
    (usd.as_f64().unwrap_or_else(|| panic!("no number: {usd}")) * 1e9).round() as i64
}
