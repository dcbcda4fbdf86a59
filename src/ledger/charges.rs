//! Inserts the rows that are charged, and says which of them were not there before.

use std::collections::HashSet;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, QueryResult, Statement};

use super::LedgerRecord;
use super::row::CHARGES;

/// What tells one row from another.
type Charge = (String, i32);

/// Inserts the rows that are not there yet; returns the records of these.
pub(super) async fn insert<'r>(
    transaction: &DatabaseTransaction,
    records: &[&'r LedgerRecord],
) -> Result<Vec<&'r LedgerRecord>, DbErr> {
    let new = match transaction.get_database_backend() {
        DbBackend::Postgres => insert_returning(transaction, records).await?,
        _ => insert_and_look(transaction, records).await?,
    };
    let Some(mut new) = new else { return Ok(records.to_vec()) };
    // Of two records for one row the first one is in it.
    let inserted = |record: &&&LedgerRecord| new.remove(&(record.request_id.to_string(), record.attempt.into()));
    Ok(records.iter().filter(inserted).copied().collect())
}

/// None: all of them are new, which they almost always are; nothing has to be compared then.
async fn insert_returning(
    transaction: &DatabaseTransaction,
    records: &[&LedgerRecord],
) -> Result<Option<HashSet<Charge>>, DbErr> {
    let mut rows = Vec::new();
    for mut statement in CHARGES.statements(DbBackend::Postgres, records) {
        statement.sql.push_str(" RETURNING request_id, attempt");
        rows.extend(transaction.query_all_raw(statement).await?);
    }
    if rows.len() == records.len() { Ok(None) } else { rows.iter().map(charge).collect::<Result<_, _>>().map(Some) }
}

/// The same on SQLite, where a row that is returned costs as much as one that is inserted. Nobody else writes
/// meanwhile, and ids grow: what is new has the highest.
async fn insert_and_look(
    transaction: &DatabaseTransaction,
    records: &[&LedgerRecord],
) -> Result<Option<HashSet<Charge>>, DbErr> {
    let last = Statement::from_string(DbBackend::Sqlite, "SELECT COALESCE(MAX(id), 0) AS id FROM usage_ledger");
    let last = transaction.query_one_raw(last).await?;
    let last: i64 = last.map_or(Ok(0), |row| row.try_get("", "id"))?;
    if CHARGES.put(transaction, records.iter().copied()).await? == records.len() as u64 {
        return Ok(None);
    }
    let new = "SELECT request_id, attempt FROM usage_ledger WHERE id > ?";
    let new = Statement::from_sql_and_values(DbBackend::Sqlite, new, [last.into()]);
    transaction.query_all_raw(new).await?.iter().map(charge).collect::<Result<_, _>>().map(Some)
}

fn charge(row: &QueryResult) -> Result<Charge, DbErr> {
    Ok((row.try_get("", "request_id")?, row.try_get("", "attempt")?))
}
