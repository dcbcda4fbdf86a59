//! The two kinds of database, behind one type, so that each test is written once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};
use tempfile::TempDir;
use tollgate::store;

use crate::support::postgres::Postgres;

/// A fresh, empty database that is thrown away.
pub enum TestDatabase {
    Sqlite(TempDir),
    Postgres(Postgres),
}

impl TestDatabase {
    pub fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub fn postgres() -> Self {
        Self::Postgres(Postgres::start())
    }

    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => sqlite_url(&folder.path().join("data/tollgate.db")),
            Self::Postgres(server) => server.url("postgres"),
        }
    }

    /// Connects without creating a table.
    pub async fn connect(&self) -> DatabaseConnection {
        store::connect(&self.url(), 8).await.unwrap()
    }

    /// Connects, brings it to the newest schema, and counts the statements from then on.
    pub async fn open_counted(&self) -> (DatabaseConnection, Arc<AtomicUsize>) {
        let mut db = self.open().await;
        let statements = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&statements);
        db.set_metric_callback(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        (db, statements)
    }

    /// Connects and brings it to the newest schema.
    pub async fn open(&self) -> DatabaseConnection {
        let db = self.connect().await;
        store::migrate(&db).await.unwrap();
        db
    }
}

pub fn sqlite_url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

/// Waits for a condition, with a bound.
pub async fn eventually<F: Future<Output = bool>>(what: &str, limit: Duration, mut condition: impl FnMut() -> F) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs a statement that differs between the two.
pub async fn execute(db: &DatabaseConnection, sqlite: &str, postgres: &str) {
    let sql = if db.get_database_backend() == DbBackend::Postgres { postgres } else { sqlite };
    db.execute_unprepared(sql).await.unwrap();
}

/// Makes of `async fn name(database: TestDatabase)` one test per kind of database.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                Box::pin(super::$name(crate::database::TestDatabase::sqlite())).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                Box::pin(super::$name(crate::database::TestDatabase::postgres())).await;
            })+
        }
    };
}
pub(crate) use on_both;
