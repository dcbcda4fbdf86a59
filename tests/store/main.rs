//! The store, the directory and the ledger against real databases: everything runs on SQLite and on PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod database;
mod schema;
#[path = "../support/mod.rs"]
mod support;
