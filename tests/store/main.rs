//! The store, the directory and the ledger against real servers: what touches a database runs on SQLite and on
//! PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod audit;
mod database;
mod details;
mod directory;
mod ledger;
mod ledger_faults;
mod ledger_outage;
mod limits;
mod lives;
mod outage;
mod prices;
mod provision;
mod pubsub;
mod quarters;
mod recovery;
mod refusals;
mod rerate;
mod schema;
mod seeds;
#[path = "../support/mod.rs"]
mod support;
