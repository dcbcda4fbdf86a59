//! Money: [`Usd`], an exact amount in nano-dollars.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// An amount of US dollars as an integer number of nano-dollars (1e-9 USD).
///
/// Arithmetic saturates: an amount near `i64::MAX` (9.2 billion dollars) is a bug elsewhere, and saturating keeps
/// a limit closed where wrapping would open it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(i64);

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Nano-dollars in one dollar.
    pub const NANOS_PER_USD: i64 = 1_000_000_000;

    /// An amount of whole nano-dollars.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The amount in nano-dollars.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }
}
