//! A scalar of a document, read leniently: providers differ in how they write numbers.

/// More tokens than this in one answer are a provider's bug, not a bill.
const MAX_PLAUSIBLE_COUNT: u64 = 1 << 30;

/// A string, number, boolean or null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Scalar<'a> {
    /// A string, unescaped.
    Text(&'a str),
    /// A number or a literal, as written.
    Bare(&'a [u8]),
}

impl<'a> Scalar<'a> {
    /// The string.
    pub fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bare(_) => None,
        }
    }

    /// Whether it says something: not null, false, or an empty string.
    pub fn is_something(self) -> bool {
        !matches!(self, Self::Text("") | Self::Bare(b"null" | b"false"))
    }

    /// A count of tokens. Negative ones are zero, floats lose their fraction, digits in a string count, and what is
    /// absurdly large is as if it were absent.
    pub fn count(self) -> Option<u64> {
        let text = match self {
            Self::Text(text) => text.trim(),
            Self::Bare(bytes) => std::str::from_utf8(bytes).ok()?,
        };
        if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            return None;
        }
        let count = match text.parse::<u64>() {
            Ok(count) => count,
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
            Err(_) => text.parse::<f64>().ok()?.max(0.0) as u64,
        };
        (count <= MAX_PLAUSIBLE_COUNT).then_some(count)
    }
}
