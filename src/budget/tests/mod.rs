//! What budgets must do.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod isolation;
mod one_node;
mod protocol;
mod race;
mod reservations;
mod windows;
mod world;
