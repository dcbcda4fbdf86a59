//! Inserts the rows that are charged, and says which of them were not there before.

use std::collections::HashSet;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, QueryResult, Statement};

use super::LedgerRecord;
use super::prices::Numbered;
use super::row::CHARGES;
use super::table::Beside;

/// What tells one row from another.
type Charge = (String, i32);

/// Inserts the rows that are not there yet; returns the records of these.
pub(super) async fn insert<'r>(
    transaction: &DatabaseTransaction,
    records: &[&'r LedgerRecord],
    prices: &Numbered,
) -> Result<Vec<&'r LedgerRecord>, DbErr> {
    let backend = transaction.get_database_backend();
    let cells: Vec<_> = records.iter().map(|record| prices.of(record)).collect();
    let statements = CHARGES.statements(backend, records, Some(Beside { name: "price_id", cells: &cells }));
    let new = match backend {
        DbBackend::Postgres => insert_returning(transaction, statements, records.len()).await?,
        _ => insert_and_look(transaction, statements, records.len()).await?,
    };
    let Some(mut new) = new else { return Ok(records.to_vec()) };
    // Of two records for one row the first one is in it.
    let inserted = |record: &&&LedgerRecord| new.remove(&(record.request_id.to_string(), record.attempt.into()));
    Ok(records.iter().filter(inserted).copied().collect())
}

/// None: all of them are new, which they almost always are; nothing has to be compared then.
async fn insert_returning(
    transaction: &DatabaseTransaction,
    statements: Vec<Statement>,
    records: usize,
) -> Result<Option<HashSet<Charge>>, DbErr> {
    let mut rows = Vec::new();
    for mut statement in statements {
        statement.sql.push_str(" RETURNING request_id, attempt");
        rows.extend(transaction.query_all_raw(statement).await?);
    }
    if rows.len() == records { Ok(None) } else { rows.iter().map(charge).collect::<Result<_, _>>().map(Some) }
}

/// The same on SQLite, where a row that is returned costs as much as one that is inserted. Nobody else writes
/// meanwhile, and ids grow: what is new has the highest.
async fn insert_and_look(
    transaction: &DatabaseTransaction,
    statements: Vec<Statement>,
    records: usize,
) -> Result<Option<HashSet<Charge>>, DbErr> {
    let last = Statement::from_string(DbBackend::Sqlite, "SELECT COALESCE(MAX(id), 0) AS id FROM usage_ledger");
    let last = transaction.query_one_raw(last).await?;
    let last: i64 = last.map_or(Ok(0), |row| row.try_get("", "id"))?;
    let mut put = 0;
    for statement in statements {
        put += transaction.execute_raw(statement).await?.rows_affected();
    }
    if put == records as u64 {
        return Ok(None);
    }
    let new = "SELECT request_id, attempt FROM usage_ledger WHERE id > ?";
    let new = Statement::from_sql_and_values(DbBackend::Sqlite, new, [last.into()]);
    transaction.query_all_raw(new).await?.iter().map(charge).collect::<Result<_, _>>().map(Some)
}

fn charge(row: &QueryResult) -> Result<Charge, DbErr> {
    Ok((row.try_get("", "request_id")?, row.try_get("", "attempt")?))
}
