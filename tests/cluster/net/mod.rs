//! What lies between a node and its Redis, and goes wrong as a test wants.

mod answers;
mod commands;
mod faults;
mod frame;
mod proxy;
mod tests;

pub use faults::Faults;
pub use proxy::{Figures, Proxy};
