//! What writers add to the sums of quarters themselves: rows of a time that was announced before they came.

use std::collections::{HashMap, HashSet};

use entity::usage_ledger::{Column, Entity, Model as Row};
use entity::usage_rollup_state::Model;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter};

use super::sums::{Quarter, Sums, of, one_request_less};
use crate::ledger::LedgerRecord;

/// Requests per query.
const AT_ONCE: usize = 500;

/// Adds the records whose rows were really inserted by this transaction, as far as they are of a time that was announced.
pub(in crate::ledger) async fn add(
    transaction: &DatabaseTransaction,
    state: &Model,
    inserted: &[&LedgerRecord],
) -> Result<(), DbErr> {
    let is_announced = |at: i64| at < state.announced_until;
    // No attempt of the others is of an earlier time than this.
    let old = |record: &&&LedgerRecord| is_announced(record.created_at.min(record.settled_at));
    let old: Vec<&LedgerRecord> = inserted.iter().filter(old).copied().collect();
    if old.is_empty() {
        return Ok(());
    }
    let requests = Requests::read(transaction, &old).await?;
    let mut sums = Sums::default();
    for record in old.iter().filter(|record| is_announced(record.settled_at)) {
        sums.add(Quarter::of(record), of(record, requests.is_first(record)));
    }
    for row in requests.counted_elsewhere(&old).filter(|row| is_announced(row.settled_at)) {
        sums.add(Quarter::of_row(row), one_request_less());
    }
    sums.put(transaction).await
}

/// All rows of some requests, in the order of their attempts.
struct Requests(HashMap<String, Vec<Row>>);

impl Requests {
    async fn read(transaction: &DatabaseTransaction, records: &[&LedgerRecord]) -> Result<Self, DbErr> {
        let ids: HashSet<String> = records.iter().map(|record| record.request_id.to_string()).collect();
        let ids: Vec<String> = ids.into_iter().collect();
        let mut requests: HashMap<String, Vec<Row>> = HashMap::new();
        for ids in ids.chunks(AT_ONCE) {
            for row in Entity::find().filter(Column::RequestId.is_in(ids)).all(transaction).await? {
                requests.entry(row.request_id.clone()).or_default().push(row);
            }
        }
        requests.values_mut().for_each(|rows| rows.sort_unstable_by_key(|row| row.attempt));
        Ok(Self(requests))
    }

    fn is_first(&self, record: &LedgerRecord) -> bool {
        let rows = self.0.get(&record.request_id.to_string());
        rows.and_then(|rows| rows.first()).is_none_or(|first| first.attempt == i32::from(record.attempt))
    }

    /// The rows that were the first of their requests before these came.
    fn counted_elsewhere(&self, new: &[&LedgerRecord]) -> impl Iterator<Item = &Row> {
        let new: HashSet<(String, i32)> =
            new.iter().map(|record| (record.request_id.to_string(), i32::from(record.attempt))).collect();
        self.0.values().filter_map(move |rows| {
            let first = rows.iter().find(|row| !new.contains(&(row.request_id.clone(), row.attempt)))?;
            rows.first().filter(|now| now.attempt < first.attempt).map(|_| first)
        })
    }
}
