//! Brings a database to the schema of this version.

use migration::{Migrator, MigratorTrait, SchemaManager};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};

use super::{StoreError, begin_write};

/// Any number will do, as long as nobody else takes the same lock in this database.
const LOCK: i64 = 0x746f_6c6c_6761_7465;

/// One step of the schema's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationState {
    /// Its name.
    pub name: String,
    /// Whether this database has it.
    pub applied: bool,
}

/// Applies what is missing; does nothing when nothing is. Several nodes may start at once: one does it, the others wait.
///
/// # Errors
///
/// [`StoreError::Newer`] when the database is ahead of this program, else [`StoreError::Schema`].
pub async fn migrate(db: &DatabaseConnection) -> Result<(), StoreError> {
    // On SQLite the transaction itself is the lock.
    let transaction = begin_write(db).await.map_err(StoreError::Schema)?;
    if transaction.get_database_backend() == DbBackend::Postgres {
        let lock = format!("SET LOCAL lock_timeout = '60s'; SELECT pg_advisory_xact_lock({LOCK})");
        transaction.execute_unprepared(&lock).await.map_err(StoreError::Schema)?;
    }
    applied(&SchemaManager::new(&transaction)).await?;
    Box::pin(Migrator::up(&transaction, None)).await.map_err(StoreError::Schema)?;
    transaction.commit().await.map_err(StoreError::Schema)
}

/// What of the schema's history this database has. Changes nothing.
///
/// # Errors
///
/// As [`migrate`].
pub async fn migration_status(db: &DatabaseConnection) -> Result<Vec<MigrationState>, StoreError> {
    let applied = applied(&SchemaManager::new(db)).await?;
    Ok(Migrator::migrations()
        .iter()
        .map(|migration| migration.name().to_owned())
        .map(|name| MigrationState { applied: applied.contains(&name), name })
        .collect())
}

/// The library would say that a "migration file is missing", which helps nobody.
async fn applied(manager: &SchemaManager<'_>) -> Result<Vec<String>, StoreError> {
    let applied = migration::applied(manager).await.map_err(StoreError::Schema)?;
    let known = Migrator::migrations();
    match applied.iter().find(|name| !known.iter().any(|migration| migration.name() == name.as_str())) {
        Some(name) => Err(StoreError::Newer(name.clone())),
        None => Ok(applied),
    }
}
