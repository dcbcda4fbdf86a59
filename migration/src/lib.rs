//! The schema of Tollgate's database, step by step.
//!
//! A migration is a list of [`Step`]s, each of which may be repeated: PostgreSQL would undo a migration that fails
//! half way, but a SQLite file may have been left behind by a process that died between two statements.

pub mod m0001_first_tables;
mod step;

pub use step::Step;

use sea_orm_migration::prelude::*;

/// Brings a database to the schema of this version.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_first_tables::Migration)]
    }
}
