//! Tollgate: an edge gateway for AI APIs in which money obeys rules.
//!
//! The way of a request can be read in [`gateway`], one file per stage, over parts that do not know it: [`dialect`] (wire formats), [`pricing`] (what an answer costs), [`limit`] (who may
//! spend), [`directory`] (who may call), [`ledger`] (what was spent), [`upstream`] (the only way out).

pub mod admin;
mod backoff;
pub mod budget;
pub mod clock;
pub mod config;
pub mod demo;
pub mod dialect;
pub mod directory;
pub mod gateway;
mod json;
pub mod ledger;
pub mod limit;
pub mod money;
pub mod pricing;
pub mod provider;
pub mod refusals;
pub mod server;
pub mod store;
mod subscribe;
pub mod telemetry;
pub mod upstream;
