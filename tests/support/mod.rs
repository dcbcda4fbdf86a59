//! Real servers for tests: started on demand, thrown away afterwards.
//!
//! Include it from an integration test with `#[path = "../support/mod.rs"] mod support;`. What is missing on the
//! machine fails the test with a message that says how to install it; nothing is skipped.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

pub mod crowd;
pub mod faketime;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod refusals;
