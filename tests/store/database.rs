//! The two kinds of database, behind one type, so that each test is written once.

use std::path::Path;

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
