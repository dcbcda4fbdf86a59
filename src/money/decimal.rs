//! Reads decimal numbers from their text, exactly: no float ever comes near the digits.

use thiserror::Error;

/// Why a text is not the number that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecimalError {
    /// Not a number at all, or not a finite one.
    #[error("not a number")]
    NotANumber,
    /// More decimals than the unit has.
    #[error("more decimals than can be kept exactly")]
    TooPrecise,
    /// Does not fit.
    #[error("out of range")]
    OutOfRange,
}

/// A decimal number as it was written: `mantissa * 10^exponent`, negated where `negative`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    mantissa: u128,
    exponent: i64,
}

impl Decimal {
    /// Reads `12`, `-0.5`, `1.25e-07` and the like; nothing around it, no digit groups.
    ///
    /// # Errors
    /// When the text is anything else, or has more significant digits than fit in 128 bits.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        let (negative, text) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let (digits, power) = match text.split_once(['e', 'E']) {
            Some((digits, power)) => (digits, parse_power(power)?),
            None => (text, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(DecimalError::NotANumber);
        }
        let mut mantissa: u128 = 0;
        // Zeros wait here until a digit follows: trailing ones must not fill the mantissa.
        let mut zeros: i64 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            match byte {
                b'0' => zeros += 1,
                b'1'..=b'9' => {
                    if mantissa != 0 {
                        mantissa = raise(mantissa, zeros).ok_or(DecimalError::OutOfRange)?;
                    }
                    zeros = 0;
                    mantissa = mantissa
                        .checked_mul(10)
                        .and_then(|raised| raised.checked_add(u128::from(byte - b'0')))
                        .ok_or(DecimalError::OutOfRange)?;
                }
                _ => return Err(DecimalError::NotANumber),
            }
        }
        let decimals = i64::try_from(fraction.len()).map_err(|_| DecimalError::OutOfRange)?;
        let exponent = power.saturating_sub(decimals).saturating_add(zeros);
        Ok(Self { negative, mantissa, exponent })
    }

    /// The number in units of `10^-scale`.
    ///
    /// # Errors
    /// When it is not a whole number of them, or does not fit.
    pub fn scaled(self, scale: u32) -> Result<i128, DecimalError> {
        match self.shifted(scale)? {
            (whole, true) => self.signed(whole),
            (_, false) => Err(DecimalError::TooPrecise),
        }
    }

    /// The number in units of `10^-scale`, to the nearest one, halves away from zero.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn scaled_nearest(self, scale: u32) -> Result<i128, DecimalError> {
        let finer = self.shifted(scale + 1)?.0;
        self.signed(finer / 10 + u128::from(finer % 10 >= 5))
    }

    /// The magnitude in units of `10^-scale`, cut off, and whether nothing was lost.
    fn shifted(self, scale: u32) -> Result<(u128, bool), DecimalError> {
        if self.mantissa == 0 {
            return Ok((0, true));
        }
        let shift = self.exponent.saturating_add(i64::from(scale));
        if shift >= 0 {
            let raised = raise(self.mantissa, shift).ok_or(DecimalError::OutOfRange)?;
            return Ok((raised, true));
        }
        let divisor = raise(1, shift.saturating_neg());
        Ok(divisor.map_or((0, false), |divisor| (self.mantissa / divisor, self.mantissa.is_multiple_of(divisor))))
    }

    fn signed(self, magnitude: u128) -> Result<i128, DecimalError> {
        let magnitude = i128::try_from(magnitude).map_err(|_| DecimalError::OutOfRange)?;
        Ok(if self.negative { -magnitude } else { magnitude })
    }
}

/// The power of ten after the `e`. One beyond any use is as good as another, so a long one saturates.
fn parse_power(text: &str) -> Result<i64, DecimalError> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DecimalError::NotANumber);
    }
    let power = digits.parse::<i32>().map_or(i64::from(i32::MAX), i64::from);
    Ok(if negative { -power } else { power })
}

/// `value * 10^power`, when it fits.
fn raise(value: u128, power: i64) -> Option<u128> {
    10u128.checked_pow(u32::try_from(power).ok()?)?.checked_mul(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn nanos(text: &str) -> Result<i128, DecimalError> {
        Decimal::parse(text)?.scaled(9)
    }

    #[test]
    fn every_way_of_writing_a_number_gives_the_same_number() {
        for text in ["0.0125", "+0.0125", ".0125", "00.01250", "1.25e-2", "125E-4", "12500000e-9", "0.000000000125e+8"]
        {
            assert_eq!(nanos(text), Ok(12_500_000), "{text}");
        }
        assert_eq!(nanos("-3"), Ok(-3_000_000_000));
        assert_eq!(nanos("7."), Ok(7_000_000_000));
        assert_eq!(nanos("-0.0"), Ok(0));
        assert_eq!(nanos("0e99999999999"), Ok(0));
    }

    #[test]
    fn what_is_not_a_number_is_refused() {
        for text in [
            "", ".", "-", "+", "e5", "1e", "1e+", "1e5.0", "1_000", "1,5", " 1", "1 ", "0x10", "NaN", "inf", "--1",
            "1.2.3", "١",
        ] {
            assert_eq!(nanos(text), Err(DecimalError::NotANumber), "{text:?}");
        }
    }

    #[test]
    fn digits_that_would_be_lost_are_refused_not_dropped() {
        assert_eq!(nanos("0.000000001"), Ok(1));
        assert_eq!(nanos("0.0000000010"), Ok(1));
        assert_eq!(nanos("0.0000000001"), Err(DecimalError::TooPrecise));
        assert_eq!(nanos("1e-300"), Err(DecimalError::TooPrecise));
        assert_eq!(nanos("1e-99999999999"), Err(DecimalError::TooPrecise));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(nanos("1e30"), Err(DecimalError::OutOfRange));
        assert_eq!(nanos("1e99999999999"), Err(DecimalError::OutOfRange));
        assert_eq!(nanos(&"9".repeat(60)), Err(DecimalError::OutOfRange));
        assert_eq!(nanos(&format!("1{}", "0".repeat(10_000))), Err(DecimalError::OutOfRange));
        assert_eq!(nanos(&format!("0.5{}", "0".repeat(10_000))), Ok(500_000_000));
        assert_eq!(nanos(&format!("{}5", "0".repeat(10_000))), Ok(5_000_000_000));
    }

    #[test]
    fn the_nearest_unit_is_found_where_the_digits_are_float_noise() {
        let nearest = |text: &str| Decimal::parse(text).unwrap().scaled_nearest(12);
        assert_eq!(nearest("2.9999999999999997e-07"), Ok(300_000));
        assert_eq!(nearest("3.0000000000000004e-07"), Ok(300_000));
        assert_eq!(nearest("0.5e-12"), Ok(1));
        assert_eq!(nearest("0.49e-12"), Ok(0));
        assert_eq!(nearest("-0.5e-12"), Ok(-1));
        assert_eq!(nearest("1e-60"), Ok(0));
    }
}
