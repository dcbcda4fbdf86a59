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
mod holdings;
mod net;
mod redis_cluster;
mod traffic;

mod caps;
mod clocks;
mod counts;
mod edits;
mod faults;
mod figures;
mod flush;
mod idle;
mod lagging;
mod lives;
mod outage;
mod overspend;
mod paused;
mod recall;
mod restored;
mod scripts;
mod slots;
mod start;
mod swap;
mod takeover;
mod waiters;
