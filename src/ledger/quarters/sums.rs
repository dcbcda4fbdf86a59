//! The sums of quarters: what has one together, and how rows are added up, in the database and here.

use std::collections::BTreeMap;

use entity::usage_ledger::Model;
use sea_orm::{DatabaseTransaction, DbBackend, DbErr, FromQueryResult, QueryResult};

use super::QUARTER_MS;
use crate::ledger::table::{Known, Table, big, boolean, text};
use crate::ledger::{LedgerRecord, row};

/// What rows have in common that are in one sum. Its order is that in which sums are locked: the same on every node, or
/// two of them could wait for each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, FromQueryResult)]
pub(in crate::ledger) struct Quarter {
    quarter: i64,
    user_id: i64,
    key_id: i64,
    provider: String,
    served_model: String,
    model_group_id: i64,
    outcome: String,
    counted_in_user_global: bool,
    counted_in_key_global: bool,
}

/// The columns of a quarter.
pub(in crate::ledger) const KEY: &str = "quarter, user_id, key_id, provider, served_model, model_group_id, outcome, \
    counted_in_user_global, counted_in_key_global";

/// The columns of its sums: requests, and then those that rows have as well.
pub(in crate::ledger) const SUMS: [&str; 12] = [
    "requests",
    "cost_nanos",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "input_image_tokens",
    "output_image_tokens",
];

type Sum = [i64; SUMS.len()];

static QUARTERS: Table<(Quarter, Sum)> = Table {
    name: "usage_rollup_quarter",
    columns: &[
        big("quarter", |(key, _)| key.quarter.into()),
        big("user_id", |(key, _)| key.user_id.into()),
        big("key_id", |(key, _)| key.key_id.into()),
        text("provider", |(key, _)| key.provider.clone().into()),
        text("served_model", |(key, _)| key.served_model.clone().into()),
        big("model_group_id", |(key, _)| key.model_group_id.into()),
        text("outcome", |(key, _)| key.outcome.clone().into()),
        boolean("counted_in_user_global", |(key, _)| key.counted_in_user_global.into()),
        boolean("counted_in_key_global", |(key, _)| key.counted_in_key_global.into()),
        big(SUMS[0], |(_, sum)| sum[0].into()),
        big(SUMS[1], |(_, sum)| sum[1].into()),
        big(SUMS[2], |(_, sum)| sum[2].into()),
        big(SUMS[3], |(_, sum)| sum[3].into()),
        big(SUMS[4], |(_, sum)| sum[4].into()),
        big(SUMS[5], |(_, sum)| sum[5].into()),
        big(SUMS[6], |(_, sum)| sum[6].into()),
        big(SUMS[7], |(_, sum)| sum[7].into()),
        big(SUMS[8], |(_, sum)| sum[8].into()),
        big(SUMS[9], |(_, sum)| sum[9].into()),
        big(SUMS[10], |(_, sum)| sum[10].into()),
        big(SUMS[11], |(_, sum)| sum[11].into()),
    ],
    key: KEY,
    known: Known::Added(&SUMS),
};

/// What is to be added to the sums.
#[derive(Default)]
pub(in crate::ledger) struct Sums(BTreeMap<Quarter, Sum>);

impl Sums {
    pub(super) fn add(&mut self, quarter: Quarter, sum: Sum) {
        for (old, new) in self.0.entry(quarter).or_insert([0; SUMS.len()]).iter_mut().zip(sum) {
            *old = Ord::max(old.saturating_add(new), -i64::MAX);
        }
    }

    /// Of a row of the query that [`of_rows`] is, or of another with its columns.
    pub(in crate::ledger) fn read(&mut self, row: &QueryResult) -> Result<(), DbErr> {
        let mut sum = [0; SUMS.len()];
        for (cell, name) in sum.iter_mut().zip(SUMS) {
            *cell = row.try_get("", name)?;
        }
        self.add(Quarter::from_query_result(row, "")?, sum);
        Ok(())
    }

    pub(in crate::ledger) fn len(&self) -> usize {
        self.0.len()
    }

    pub(in crate::ledger) async fn put(self, transaction: &DatabaseTransaction) -> Result<(), DbErr> {
        QUARTERS.put(transaction, self.0).await.map(drop)
    }
}

impl Quarter {
    /// The one that a record will be in once it is a row.
    pub(super) fn of(record: &LedgerRecord) -> Self {
        Self {
            quarter: record.settled_at.div_euclid(QUARTER_MS),
            user_id: record.user_id,
            key_id: record.key_id,
            provider: row::name(&record.provider),
            served_model: row::name(&record.served_model),
            model_group_id: record.model_group_id.unwrap_or(0),
            outcome: record.outcome.as_str().to_owned(),
            counted_in_user_global: record.counted_in_user_global,
            counted_in_key_global: record.counted_in_key_global,
        }
    }

    /// The one that a row is in.
    pub(super) fn of_row(row: &Model) -> Self {
        Self {
            quarter: row.settled_at.div_euclid(QUARTER_MS),
            user_id: row.user_id,
            key_id: row.key_id,
            provider: row.provider.clone(),
            served_model: row.served_model.clone(),
            model_group_id: row.model_group_id.unwrap_or(0),
            outcome: row.outcome.clone(),
            counted_in_user_global: row.counted_in_user_global,
            counted_in_key_global: row.counted_in_key_global,
        }
    }
}

/// What a record adds, in the order of [`SUMS`].
pub(super) fn of(record: &LedgerRecord, is_first: bool) -> Sum {
    let usage = &record.usage;
    [
        i64::from(is_first),
        record.cost.nanos(),
        row::count(usage.input),
        row::count(usage.output),
        row::count(usage.cache_read),
        row::count(usage.cache_write_5m),
        row::count(usage.cache_write_1h),
        row::count(usage.reasoning),
        row::count(usage.input_audio),
        row::count(usage.output_audio),
        row::count(usage.input_image),
        row::count(usage.output_image),
    ]
}

/// A request that counts somewhere else from now on.
pub(super) const fn one_request_less() -> Sum {
    let mut sum = [0; SUMS.len()];
    sum[0] = -1;
    sum
}

/// 1 for a row that is the first of its request, else 0: there is no attempt before it for which `of_all` holds.
pub(in crate::ledger) fn first(of_all: &str) -> String {
    format!(
        "CASE WHEN attempt = 1 OR NOT EXISTS (SELECT 1 FROM usage_ledger AS earlier \
         WHERE earlier.request_id = usage_ledger.request_id AND earlier.attempt < usage_ledger.attempt AND {of_all}) \
         THEN 1 ELSE 0 END"
    )
}

/// The query that adds up rows for which this holds; of all of a request those count for which `of_all` holds.
pub(in crate::ledger) fn of_rows(backend: DbBackend, condition: &str, of_all: &str) -> String {
    let sums = SUMS[1..].iter().map(|sum| format!(", {} AS {sum}", saturated(backend, sum))).collect::<String>();
    format!(
        "SELECT settled_at / {QUARTER_MS} AS quarter, user_id, key_id, provider, served_model, \
         COALESCE(model_group_id, 0) AS model_group_id, outcome, counted_in_user_global, counted_in_key_global, \
         SUM({}) AS requests{sums} FROM usage_ledger WHERE {condition} GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9",
        first(of_all),
    )
}

/// The sum of a column, 0 of no rows. One that leaves the range stays at its end: an error would keep everybody from the
/// others.
pub(in crate::ledger) fn saturated(backend: DbBackend, column: &str) -> String {
    if backend == DbBackend::Postgres {
        // There a sum is a number of any length.
        let sum = format!("COALESCE(SUM({column}), 0)");
        return format!("CAST(LEAST(GREATEST({sum}, -9223372036854775807), 9223372036854775807) AS BIGINT)");
    }
    // A sum of the upper halves and one of the lower ones never leave it.
    let (upper, lower) = (format!("SUM({column} >> 32)"), format!("SUM({column} & 4294967295)"));
    let carried = format!("({upper} + ({lower} >> 32))");
    format!(
        "COALESCE(CASE WHEN {carried} > 2147483647 THEN 9223372036854775807 \
         WHEN {carried} < -2147483648 THEN -9223372036854775807 \
         ELSE ({carried} << 32) | ({lower} & 4294967295) END, 0)"
    )
}
