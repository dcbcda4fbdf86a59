//! What budgets must do.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod one_node;
mod race;
mod windows;
mod world;
