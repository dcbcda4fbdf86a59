//! What budgets must do.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod audit;
mod away;
mod axes;
mod cluster;
mod counts;
mod counts_protocol;
mod hour;
mod isolation;
mod life;
mod one_node;
mod protocol;
mod race;
mod redis;
mod rest;
mod suite;
mod suite_counts;
mod swap;
mod trouble;
mod windows;
mod world;
