//! The two kinds of database, fresh, and thrown away afterwards.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use tempfile::TempDir;
use tollgate::store;

use crate::support::postgres::Postgres;

/// Keeps a database until it is dropped.
pub struct Database {
    pub name: &'static str,
    pub db: DatabaseConnection,
    _sqlite: Option<TempDir>,
    _postgres: Option<Postgres>,
}

impl Database {
    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = open(&format!("sqlite://{}", folder.path().join("tollgate.db").display())).await;
        Self { name: "SQLite", db, _sqlite: Some(folder), _postgres: None }
    }

    pub async fn postgres() -> Self {
        let server = Postgres::start();
        let db = open(&server.url("postgres")).await;
        Self { name: "PostgreSQL", db, _sqlite: None, _postgres: Some(server) }
    }

    pub fn is_postgres(&self) -> bool {
        self.db.get_database_backend() == DbBackend::Postgres
    }

    /// One number.
    pub async fn number(&self, sql: &str) -> i64 {
        let statement = Statement::from_string(self.db.get_database_backend(), sql);
        self.db.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
    }

    /// Bytes of a table with its indexes.
    pub async fn size(&self, table: &str) -> i64 {
        if self.is_postgres() {
            return self.number(&format!("SELECT pg_total_relation_size('{table}')")).await;
        }
        let names = format!("SELECT name FROM sqlite_schema WHERE tbl_name = '{table}'");
        self.number(&format!("SELECT SUM(pgsize) FROM dbstat WHERE name IN ({names})")).await
    }
}

async fn open(url: &str) -> DatabaseConnection {
    let db = store::connect(url, 8).await.unwrap();
    store::migrate(&db).await.unwrap();
    db
}
