//! The schema of Tollgate's database, step by step.
//!
//! A migration is a list of [`Step`]s, each of which may be repeated: PostgreSQL would undo a migration that fails
//! half way, but a SQLite file may have been left behind by a process that died between two statements.

pub mod m0001_first_tables;
pub mod m0002_budgets;
pub mod m0003_longer_sums;
pub mod m0004_lives;
pub mod m0005_applied_prices;
pub mod m0006_refusals;
pub mod m0007_list_indexes;
pub mod m0008_tokens_and_audit;
pub mod m0009_quarters;
pub mod m0010_more_list_indexes;
pub mod m0011_audit_actor;
mod step;

pub use step::Step;

pub use sea_orm_migration::{MigratorTrait, SchemaManager};

use sea_orm_migration::prelude::{DbErr, MigrationTrait};
use sea_orm_migration::sea_orm::EntityTrait;
use sea_orm_migration::seaql_migrations;

/// Brings a database to the schema of this version.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_first_tables::Migration),
            Box::new(m0002_budgets::Migration),
            Box::new(m0003_longer_sums::Migration),
            Box::new(m0004_lives::Migration),
            Box::new(m0005_applied_prices::Migration),
            Box::new(m0006_refusals::Migration),
            Box::new(m0007_list_indexes::Migration),
            Box::new(m0008_tokens_and_audit::Migration),
            Box::new(m0009_quarters::Migration),
            Box::new(m0010_more_list_indexes::Migration),
            Box::new(m0011_audit_actor::Migration),
        ]
    }
}

/// The names of the migrations that a database has had, oldest first. Changes nothing, not even on an empty database.
///
/// # Errors
///
/// What the database says.
pub async fn applied(manager: &SchemaManager<'_>) -> Result<Vec<String>, DbErr> {
    if !manager.has_table("seaql_migrations").await? {
        return Ok(Vec::new());
    }
    let mut rows = seaql_migrations::Entity::find().all(manager.get_connection()).await?;
    rows.sort_by(|left, right| left.version.cmp(&right.version));
    Ok(rows.into_iter().map(|row| row.version).collect())
}
