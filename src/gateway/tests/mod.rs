//! The gateway itself, with the clients and providers of a test.

mod panicking;
mod panics;
