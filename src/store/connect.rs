//! Opens the pool of connections.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    AccessMode, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    IsolationLevel, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};

use super::StoreError;

/// How long a connection may take to be there, at start and later.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a write waits for another one to finish (SQLite has one writer at a time).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A process that stands still, or is cut off, in the middle of a write keeps all others from writing the same rows.
/// PostgreSQL takes back what it has begun after so long.
const STANDS_STILL: &str = "SET LOCAL idle_in_transaction_session_timeout = '5s'";

/// Opens a pool and makes sure that the database answers. A SQLite file and its folder are created.
///
/// # Errors
///
/// [`StoreError::Url`] when the URL is wrong, else one for which [`StoreError::is_unreachable`] holds.
pub async fn connect(url: &str, max_connections: u32) -> Result<DatabaseConnection, StoreError> {
    open(url, max_connections, false).await
}

/// The same, but connects only when there is something to do.
///
/// # Errors
///
/// [`StoreError::Url`] when the URL is wrong.
pub async fn connect_later(url: &str, max_connections: u32) -> Result<DatabaseConnection, StoreError> {
    open(url, max_connections, true).await
}

async fn open(url: &str, max_connections: u32, later: bool) -> Result<DatabaseConnection, StoreError> {
    let (target, mut options) = if let Some(rest) = url.strip_prefix("sqlite:") {
        let options = sqlite(url)?;
        let path = options.get_filename().to_owned();
        if path.as_os_str().is_empty() || rest.contains(":memory:") || rest.contains("mode=memory") {
            return Err(StoreError::Url { reason: "it names no file".to_owned() });
        }
        create_folder(&path)?;
        // The real options travel in the closure: what is given as text may be written to a log by the driver.
        let mut pool = ConnectOptions::new("sqlite:file");
        pool.map_sqlx_sqlite_opts(move |_| options.clone());
        (path.display().to_string(), pool)
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| StoreError::Url { reason: error.to_string() })?
            .application_name("tollgate");
        let target = postgres_target(&options);
        let mut pool = ConnectOptions::new("postgres://configured");
        pool.map_sqlx_postgres_opts(move |_| options.clone());
        (target, pool)
    } else {
        return Err(StoreError::Url { reason: "it starts with neither sqlite:// nor postgres://".to_owned() });
    };
    options
        .max_connections(max_connections.max(1))
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy(later)
        .sqlx_logging(false)
        .record_stmt_in_spans(false);
    // Some 17 KB, which would sit in every caller.
    match Box::pin(Database::connect(options)).await {
        Ok(db) => Ok(db),
        Err(source) => Err(StoreError::Unreachable { target, source }),
    }
}

/// Begins a transaction that will write.
///
/// On SQLite it takes its place in the queue of writers at once: one that reads first and writes later would fail
/// with "database is locked" whenever somebody else wrote in between.
///
/// # Errors
///
/// What the database says.
pub async fn begin_write(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let transaction = db.begin_with_options(options).await?;
    if db.get_database_backend() == DbBackend::Postgres {
        transaction.execute_unprepared(STANDS_STILL).await?;
    }
    Ok(transaction)
}

/// Begins a transaction that only reads, and sees one state of the database however long it takes.
///
/// # Errors
///
/// What the database says.
pub async fn begin_snapshot(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    match db.get_database_backend() {
        DbBackend::Postgres => {
            db.begin_with_config(Some(IsolationLevel::RepeatableRead), Some(AccessMode::ReadOnly)).await
        }
        // There every transaction is like that.
        _ => db.begin().await,
    }
}

fn sqlite(url: &str) -> Result<SqliteConnectOptions, StoreError> {
    let options = SqliteConnectOptions::from_str(url).map_err(|error| StoreError::Url { reason: error.to_string() })?;
    Ok(options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // The journal's places are used again once a record is in the database, so that has to hold without power too.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT))
}

fn create_folder(file: &Path) -> Result<(), StoreError> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => {
            std::fs::create_dir_all(folder).map_err(|source| StoreError::Folder { path: folder.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn postgres_target(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    match options.get_socket() {
        Some(socket) => format!("{}/{database}", socket.display()),
        None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
    }
}
