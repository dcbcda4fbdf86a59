//! Money: [`Usd`], an exact amount in nano-dollars.

mod decimal;
mod wire;

pub use decimal::{Decimal, DecimalError};

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

use thiserror::Error;

/// Decimals of an amount that is written in dollars.
const DECIMALS: u32 = 9;

/// Pico-dollars in one nano-dollar.
const PICOS_PER_NANO: i128 = 1_000;

/// An amount of US dollars as an integer number of nano-dollars (1e-9 USD).
///
/// Arithmetic saturates: an amount near `i64::MAX` (9.2 billion dollars) is a bug elsewhere, and saturating keeps
/// a limit closed where wrapping would open it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(i64);

/// Why a text is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ParseUsdError {
    /// Not a number at all.
    #[error("not an amount of USD: write a plain number such as 0.0125")]
    NotANumber,
    /// Finer than a nano-dollar.
    #[error("an amount of USD has at most 9 decimals")]
    TooPrecise,
    /// More than nano-dollars can count.
    #[error("an amount of USD is at most 9 223 372 036")]
    OutOfRange,
}

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The largest amount there is.
    pub const MAX: Self = Self(i64::MAX);

    /// Nano-dollars in one dollar.
    pub const NANOS_PER_USD: i64 = 1_000_000_000;

    /// An amount of whole nano-dollars.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The smallest amount that is not less than so many pico-dollars (1e-12 USD): money that is owed is rounded up.
    #[must_use]
    pub const fn from_pico_ceil(pico: i128) -> Self {
        let mut nanos = pico.div_euclid(PICOS_PER_NANO);
        if pico.rem_euclid(PICOS_PER_NANO) != 0 {
            nanos += 1;
        }
        if nanos > i64::MAX as i128 {
            Self(i64::MAX)
        } else if nanos < i64::MIN as i128 {
            Self(i64::MIN)
        } else {
            Self(nanos as i64)
        }
    }

    /// The amount in nano-dollars.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The double nearest to the amount, for JSON and metrics only.
    #[must_use]
    pub fn to_f64_for_display(self) -> f64 {
        // Both are exact below 2^53 nano-dollars, so the one division is the only rounding.
        self.0 as f64 / Self::NANOS_PER_USD as f64
    }

    /// The amount so many times over.
    #[must_use]
    pub const fn saturating_mul(self, times: i64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl Add for Usd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Usd {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Neg for Usd {
    type Output = Self;

    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Usd {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl<'a> Sum<&'a Self> for Usd {
    fn sum<I: Iterator<Item = &'a Self>>(amounts: I) -> Self {
        amounts.copied().sum()
    }
}

/// A plain decimal in dollars, without trailing zeros: `0.0125`, `-3`, `1200.5`.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_usd = Self::NANOS_PER_USD.unsigned_abs();
        let (whole, nanos) = (self.0.unsigned_abs() / per_usd, self.0.unsigned_abs() % per_usd);
        let text = if nanos == 0 { whole.to_string() } else { format!("{whole}.{nanos:09}") };
        let text = if nanos == 0 { text.as_str() } else { text.trim_end_matches('0') };
        f.pad_integral(self.0 >= 0, "", text)
    }
}

impl FromStr for Usd {
    type Err = ParseUsdError;

    fn from_str(text: &str) -> Result<Self, ParseUsdError> {
        let nanos = Decimal::parse(text).and_then(|decimal| decimal.scaled(DECIMALS)).map_err(|error| match error {
            DecimalError::NotANumber => ParseUsdError::NotANumber,
            DecimalError::TooPrecise => ParseUsdError::TooPrecise,
            DecimalError::OutOfRange => ParseUsdError::OutOfRange,
        })?;
        i64::try_from(nanos).map(Self).map_err(|_| ParseUsdError::OutOfRange)
    }
}

#[cfg(test)]
mod tests;
