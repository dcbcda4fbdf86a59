//! Who may spend how much, and how often.

mod counts;

pub use counts::{Axis, CountGuard, CountKind, CountLimits, CountRefusal, CountSubject, Counts};
