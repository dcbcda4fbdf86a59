//! Several nodes that share one Redis and one PostgreSQL, as their users and their operators see them: real processes, and
//! everything that can go wrong between them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(clippy::print_stdout, reason = "how much was spent, and at what price, is part of the result")]
#![allow(missing_docs, reason = "nobody reads the documentation of tests")]

#[path = "../support/mod.rs"]
mod servers;
#[allow(dead_code, unused_imports, reason = "shared with the end-to-end tests of one node")]
#[path = "../e2e/support/mod.rs"]
mod support;

mod harness;
mod inside;
mod net;
mod redis_cluster;
mod streams;
mod traffic;
mod witness;

mod affinity;
mod at_once;
mod both_away;
mod caps;
mod circuits;
mod clocks;
mod counts;
mod database_away;
mod edits;
mod edits_running;
mod every_write;
mod failover;
mod faults;
mod figures;
mod flips;
mod flush;
mod given_up;
mod idle;
mod lagging;
mod lives;
mod outage;
mod overspend;
mod pace;
mod paused;
mod recall;
mod restarted;
mod restored;
mod scripts;
mod slots;
mod start;
mod swap;
mod takeover;
mod waiters;
