//! How writes reach the database: one transaction each, that holds what it has read.

use sea_orm::{DatabaseConnection, DatabaseTransaction, DbErr, SqlErr};

use super::problem::{Code, Problem};

/// Begins a write. SQLite takes its one write lock at once, so that what is read is still true when it is written;
/// PostgreSQL locks the rows that are read `lock_exclusive`.
///
/// # Errors
/// The database cannot be reached.
pub async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, Problem> {
    Ok(crate::store::begin_write(db).await?)
}

/// The problem behind a failed insert or update of an object whose `name` is unique.
pub fn name_taken(what: &str) -> impl FnOnce(DbErr) -> Problem {
    move |error| match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => {
            Problem::new(Code::Conflict, format!("There is another {what} of this name."))
        }
        _ => error.into(),
    }
}
