//! What goes wrong with a database, and whose fault it is.

use std::path::PathBuf;

use sea_orm::sqlx::error::{DatabaseError, Error as SqlxError};
use sea_orm::{DbErr, RuntimeErr};

/// Why the database cannot be used. Never contains the password of its URL.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL makes no sense.
    #[error("the database URL cannot be used: {reason}; write sqlite://PATH or postgres://USER:PASSWORD@HOST/NAME")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// The folder of the SQLite file cannot be created.
    #[error("cannot create the folder {path} of the database: {source}", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The database does not answer, or does not let us in.
    #[error("cannot reach the database at {target}: {source}")]
    Unreachable {
        /// Where it was looked for.
        target: String,
        /// What the driver says.
        source: DbErr,
    },
    /// The schema cannot be brought up to date.
    #[error("cannot bring the database to this version's schema: {0}")]
    Schema(#[source] DbErr),
    /// A statement failed.
    #[error("the database failed: {0}")]
    Query(#[from] DbErr),
    /// The database has been used by a newer version.
    #[error("the database has the schema of a newer version ({0} is not known here): start that version instead")]
    Newer(String),
}

impl StoreError {
    /// Whether the database could not be reached, as against one that was reached and is wrong.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Folder { .. } | Self::Unreachable { .. } => true,
            Self::Schema(error) | Self::Query(error) => is_away(error),
            Self::Url { .. } | Self::Newer(_) => false,
        }
    }
}

/// Whether the same statement may well succeed later: the connection, the server or the disk failed, not the data.
#[must_use]
pub fn is_away(error: &DbErr) -> bool {
    match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => match &**error {
            SqlxError::Io(_)
            | SqlxError::Tls(_)
            | SqlxError::Protocol(_)
            | SqlxError::PoolTimedOut
            | SqlxError::PoolClosed
            | SqlxError::WorkerCrashed => true,
            SqlxError::Database(error) => code_is(error.as_ref(), &AWAY_POSTGRES, &AWAY_SQLITE),
            _ => false,
        },
        _ => false,
    }
}

/// Whether the values of the statement are at fault, so that repeating it cannot help.
#[must_use]
pub fn is_data_error(error: &DbErr) -> bool {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => match &**error {
            SqlxError::Encode(_) => true,
            SqlxError::Database(error) => code_is(error.as_ref(), &DATA_POSTGRES, &DATA_SQLITE),
            _ => false,
        },
        _ => false,
    }
}

/// Classes of SQLSTATE: connection, read-only during a fail-over, rolled back, out of resources, not available (a
/// lock), operator intervention (shutting down, starting up), system error.
const AWAY_POSTGRES: [&str; 7] = ["08", "25", "40", "53", "55", "57", "58"];

/// Primary result codes: BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN.
const AWAY_SQLITE: [i32; 7] = [5, 6, 7, 8, 10, 13, 14];

/// Classes of SQLSTATE: data exception, constraint violation, with-check violation, limit of the program exceeded.
const DATA_POSTGRES: [&str; 4] = ["22", "23", "44", "54"];

/// Primary result codes: TOOBIG, CONSTRAINT, MISMATCH.
const DATA_SQLITE: [i32; 3] = [18, 19, 20];

fn code_is(error: &dyn DatabaseError, postgres: &[&str], sqlite: &[i32]) -> bool {
    let Some(code) = error.code() else { return false };
    if error.try_downcast_ref::<sea_orm::SqlxPostgresError>().is_some() {
        return postgres.iter().any(|class| code.starts_with(class));
    }
    // SQLite's code is a decimal number; its low byte is the primary code.
    code.parse::<i32>().is_ok_and(|code| sqlite.contains(&(code & 0xff)))
}
