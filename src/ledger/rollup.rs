//! The sums per minute that budgets are made of, kept in step with the rows of the ledger.

use std::collections::BTreeMap;

use entity::{usage_ledger, usage_rollup_minute};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Alias, Expr, OnConflict};
use sea_orm::{DatabaseTransaction, DbErr, EntityTrait, ExprTrait as _, FromQueryResult, Iterable};
use usage_rollup_minute::Column;

use super::batch::chunks;

/// What of an inserted row its roll-up is made of.
#[derive(Debug, FromQueryResult)]
pub(super) struct Inserted {
    settled_at: i64,
    user_id: i64,
    key_id: i64,
    provider: String,
    model_group_id: Option<i64>,
    counted_in_user_global: bool,
    counted_in_key_global: bool,
    user_era: i64,
    key_era: i64,
    cost_nanos: i64,
}

/// What an insertion has to return.
pub(super) const RETURNED: [usage_ledger::Column; 10] = {
    use usage_ledger::Column::*;
    [
        SettledAt,
        UserId,
        KeyId,
        Provider,
        ModelGroupId,
        CountedInUserGlobal,
        CountedInKeyGlobal,
        UserEra,
        KeyEra,
        CostNanos,
    ]
};

/// In the order in which rows are locked: the same on every node, or two of them could wait for each other.
type Key = (i64, i64, i64, String, i64, bool, bool, i64, i64);

/// A sum that would leave the range of the column stays at its end; an error would lose the ledger's row as well.
const SATURATING: &str = "CASE \
    WHEN excluded.cost_nanos > 0 AND usage_rollup_minute.cost_nanos > 9223372036854775807 - excluded.cost_nanos \
    THEN 9223372036854775807 \
    WHEN excluded.cost_nanos < 0 AND usage_rollup_minute.cost_nanos < -9223372036854775807 - excluded.cost_nanos \
    THEN -9223372036854775807 \
    ELSE usage_rollup_minute.cost_nanos + excluded.cost_nanos END";

/// Milliseconds of a minute.
pub(super) const MINUTE_MS: i64 = 60_000;

/// The number of the minute that an instant (Unix milliseconds) is in.
pub(super) const fn minute(at: i64) -> i64 {
    at.div_euclid(MINUTE_MS)
}

/// Adds rows that were really inserted.
pub(super) async fn add(transaction: &DatabaseTransaction, inserted: Vec<Inserted>) -> Result<(), DbErr> {
    let mut sums: BTreeMap<Key, (i64, i64)> = BTreeMap::new();
    for row in inserted {
        let key = (
            minute(row.settled_at),
            row.user_id,
            row.key_id,
            row.provider,
            row.model_group_id.unwrap_or(0),
            row.counted_in_user_global,
            row.counted_in_key_global,
            row.user_era,
            row.key_era,
        );
        let sum = sums.entry(key).or_default();
        *sum = (Ord::max(sum.0.saturating_add(row.cost_nanos), -i64::MAX), sum.1 + 1);
    }
    add_sums(transaction, sums.into_iter().map(sum).collect()).await
}

/// A sum, or what is to be added to one.
#[derive(Debug, FromQueryResult)]
pub(super) struct Sum {
    pub(super) minute: i64,
    pub(super) user_id: i64,
    pub(super) key_id: i64,
    pub(super) provider: String,
    pub(super) model_group_id: i64,
    pub(super) counted_in_user_global: bool,
    pub(super) counted_in_key_global: bool,
    pub(super) user_era: i64,
    pub(super) key_era: i64,
    pub(super) cost_nanos: i64,
    pub(super) requests: i64,
}

/// Adds to sums, in the order that they come in: that of their keys.
pub(super) async fn add_sums(transaction: &DatabaseTransaction, sums: Vec<Sum>) -> Result<(), DbErr> {
    let rows = sums.into_iter().map(|sum| usage_rollup_minute::ActiveModel {
        minute: Set(sum.minute),
        user_id: Set(sum.user_id),
        key_id: Set(sum.key_id),
        provider: Set(sum.provider),
        model_group_id: Set(sum.model_group_id),
        counted_in_user_global: Set(sum.counted_in_user_global),
        counted_in_key_global: Set(sum.counted_in_key_global),
        user_era: Set(sum.user_era),
        key_era: Set(sum.key_era),
        cost_nanos: Set(sum.cost_nanos),
        requests: Set(sum.requests),
    });
    for chunk in chunks(rows) {
        usage_rollup_minute::Entity::insert_many(chunk).on_conflict(grow()).exec_without_returning(transaction).await?;
    }
    Ok(())
}

fn sum((key, (cost_nanos, requests)): (Key, (i64, i64))) -> Sum {
    let (minute, user_id, key_id, provider, model_group_id, in_user, in_key, user_era, key_era) = key;
    Sum {
        minute,
        user_id,
        key_id,
        provider,
        model_group_id,
        counted_in_user_global: in_user,
        counted_in_key_global: in_key,
        user_era,
        key_era,
        cost_nanos,
        requests,
    }
}

fn grow() -> OnConflict {
    let key = Column::iter().filter(|column| !matches!(column, Column::CostNanos | Column::Requests));
    let mut conflict = OnConflict::columns(key);
    conflict.value(Column::CostNanos, Expr::cust(SATURATING));
    let requests = Expr::col((usage_rollup_minute::Entity, Column::Requests));
    conflict.value(Column::Requests, requests.add(Expr::col((Alias::new("excluded"), Column::Requests))));
    conflict
}
