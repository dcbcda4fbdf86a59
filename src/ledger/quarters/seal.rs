//! Adds up the rows of quarters that are over, some at a time; one process does it, whichever comes first.

use std::time::Duration;

use entity::usage_rollup_state::{Column, Entity, Model};
use sea_orm::sea_query::{Expr, LockBehavior, LockType};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, EntityTrait, QuerySelect, Statement,
};

use super::sums::{Sums, of_rows};
use super::{QUARTER_MS, WRITERS, floor, state};
use crate::store;

/// Rows that are added up at once: few enough that nobody who writes waits for more than moments.
const AT_ONCE: u64 = 10_000;

/// What comes in between. SQLite has no queue of writers: whoever asks first is next, and would always be this one.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a quarter has been over when it is announced: almost all of its rows are there then.
const GRACE_MS: i64 = QUARTER_MS;

/// For so long an announcement waits for those who write, while others who would begin wait for it. Later it tries again.
const PATIENCE: &str = "SET LOCAL lock_timeout = '2s'";

/// Adds up everything that is due at this instant (Unix milliseconds), unless somebody else is at it.
///
/// # Errors
///
/// What the database says. What was sealed by then stays sealed.
pub async fn roll_up(db: &DatabaseConnection, now: i64) -> Result<(), DbErr> {
    loop {
        while seal(db, AT_ONCE).await? {
            tokio::time::sleep(PAUSE).await;
        }
        if !announce(db, now).await? {
            return Ok(());
        }
    }
}

/// Says which rows are to be sealed next, and that whoever writes such rows from now on adds them itself. False: there are
/// none, or those that were announced before are not sealed yet.
///
/// # Errors
///
/// What the database says.
pub async fn announce(db: &DatabaseConnection, now: i64) -> Result<bool, DbErr> {
    let until = floor(now.saturating_sub(GRACE_MS));
    let known = state(db).await?;
    if known.sealed_until < known.announced_until || until <= known.announced_until {
        return Ok(false);
    }
    let transaction = store::begin_write(db).await?;
    if locked(&transaction).await? != Some(known) {
        return Ok(false);
    }
    let backend = transaction.get_database_backend();
    if backend == DbBackend::Postgres {
        let lock = format!("{PATIENCE}; SELECT pg_advisory_xact_lock({WRITERS})");
        transaction.execute_unprepared(&lock).await?;
    }
    // A statement of its own: it sees everything that was written until the lock was there.
    let last = Statement::from_string(backend, "SELECT COALESCE(MAX(id), 0) AS id FROM usage_ledger");
    let last = transaction.query_one_raw(last).await?;
    let last: i64 = last.map_or(Ok(0), |row| row.try_get("", "id"))?;
    let announce = Entity::update_many().col_expr(Column::AnnouncedUntil, Expr::value(until));
    announce.col_expr(Column::AnnouncedId, Expr::value(last)).exec(&transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Adds up some of the rows that were announced, about so many. False: there is nothing left, or somebody else is at it.
///
/// # Errors
///
/// What the database says.
pub async fn seal(db: &DatabaseConnection, most: u64) -> Result<bool, DbErr> {
    let known = state(db).await?;
    if known.sealed_until >= known.announced_until {
        return Ok(false);
    }
    let until = end(db, &known, most).await?;
    // These rows are all there, and never change: they need not be read by the transaction, which others wait for.
    let sums = add_up(db, &known, until).await?;
    let transaction = store::begin_write(db).await?;
    if locked(&transaction).await? != Some(known) {
        return Ok(false);
    }
    sums.put(&transaction).await?;
    Entity::update_many().col_expr(Column::SealedUntil, Expr::value(until)).exec(&transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

/// The numbers, which nobody else changes before this transaction ends. None: somebody is about to.
async fn locked(transaction: &DatabaseTransaction) -> Result<Option<Model>, DbErr> {
    let mut query = Entity::find();
    if transaction.get_database_backend() == DbBackend::Postgres {
        query = query.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    }
    query.one(transaction).await
}

/// Where a part of what was announced ends, for it to have no more than about so many rows.
async fn end(db: &DatabaseConnection, known: &Model, most: u64) -> Result<i64, DbErr> {
    let sql = format!(
        "SELECT settled_at FROM usage_ledger WHERE settled_at >= $1 AND settled_at < $2 ORDER BY settled_at LIMIT 1 \
         OFFSET {most}"
    );
    let range = [known.sealed_until, known.announced_until].map(Into::into);
    let next = db.query_one_raw(Statement::from_sql_and_values(db.get_database_backend(), sql, range)).await?;
    let next: Option<i64> = next.map(|row| row.try_get("", "settled_at")).transpose()?;
    // However many are of one instant, they are sealed together.
    Ok(next.map_or(known.announced_until, |next| next.max(known.sealed_until + 1)))
}

async fn add_up(db: &DatabaseConnection, known: &Model, until: i64) -> Result<Sums, DbErr> {
    let backend = db.get_database_backend();
    let sql = of_rows(backend, "settled_at >= $1 AND settled_at < $2 AND id <= $3", "earlier.id <= $3");
    let values = [known.sealed_until, until, known.announced_id].map(Into::into);
    let mut sums = Sums::default();
    for row in db.query_all_raw(Statement::from_sql_and_values(backend, sql, values)).await? {
        sums.read(&row)?;
    }
    Ok(sums)
}
