//! Strings that may come in pieces, cut anywhere: also inside an escape.

use std::borrow::Cow;

use super::MAX_CAPTURE;

/// Names and short values end within this many bytes; a few words beat a call into `memchr` there.
const SHORT: usize = 32;

/// Bytes of a machine word.
const WORD: usize = 8;

/// The string in progress, after its opening quote.
#[derive(Debug, Default)]
pub(super) struct Text {
    /// What was captured, as written.
    raw: Vec<u8>,
    escape: Escape,
    has_escapes: bool,
    too_long: bool,
}

/// Inside an escape, or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// After the backslash.
    Backslash,
    /// In `\uXXXX`: digits that are missing, and the code unit so far.
    Unicode { missing: u8, unit: u16 },
}

impl Text {
    /// Begins a new string.
    pub fn clear(&mut self) {
        self.raw.clear();
        self.escape = Escape::None;
        self.has_escapes = false;
        self.too_long = false;
    }

    /// Whether nothing was captured.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty() && !self.too_long
    }

    /// What was captured as written; none when it was too long.
    pub fn raw(&self) -> Option<&[u8]> {
        (!self.too_long).then_some(self.raw.as_slice())
    }

    /// Captures a piece.
    pub fn append(&mut self, part: &[u8]) {
        if self.too_long || self.raw.len() + part.len() > MAX_CAPTURE {
            self.too_long = true;
        } else {
            self.raw.extend_from_slice(part);
        }
    }

    /// Passes over the string; gives back what follows its closing quote.
    pub fn skip<'b>(&mut self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let mut at = 0;
        loop {
            if self.escape != Escape::None {
                // Only the byte after the backslash can be mistaken for a quote.
                bytes.get(at)?;
                at += 1;
                self.escape = Escape::None;
            }
            let rest = bytes.get(at..)?;
            let found = find_special(rest)?;
            at += found + 1;
            if rest[found] == b'"' {
                return bytes.get(at..);
            }
            self.escape = Escape::Backslash;
        }
    }

    /// Counts the bytes that the string has once its escapes are resolved; gives them and what follows the closing
    /// quote.
    pub fn count<'b>(&mut self, bytes: &'b [u8]) -> (usize, Option<&'b [u8]>) {
        let (mut counted, mut at) = (0, 0);
        while let Some(&byte) = bytes.get(at) {
            if self.escape != Escape::None {
                counted += self.resolve(byte);
                at += 1;
                continue;
            }
            let rest = &bytes[at..];
            let found = find_special(rest).unwrap_or(rest.len());
            counted += found;
            at += found + 1;
            match rest.get(found) {
                Some(b'"') => return (counted, bytes.get(at..)),
                Some(_) => self.escape = Escape::Backslash,
                None => {}
            }
        }
        (counted, None)
    }

    /// Captures the string. Gives its text, if it came in one piece without escapes, and what follows the closing
    /// quote.
    pub fn capture<'b>(&mut self, bytes: &'b [u8]) -> (Option<&'b [u8]>, Option<&'b [u8]>) {
        let mut at = 0;
        while at < bytes.len() {
            if self.escape != Escape::None {
                self.append(&bytes[at..=at]);
                self.escape = Escape::None;
                at += 1;
                continue;
            }
            let rest = &bytes[at..];
            let found = find_special(rest).unwrap_or(rest.len());
            let is_end = rest.get(found) == Some(&b'"');
            if is_end && at == 0 && self.is_empty() {
                return (Some(&rest[..found]), Some(&rest[found + 1..]));
            }
            self.append(&rest[..found]);
            if is_end {
                return (None, Some(&rest[found + 1..]));
            }
            if found < rest.len() {
                self.append(b"\\");
                self.has_escapes = true;
                self.escape = Escape::Backslash;
            }
            at += found + 1;
        }
        (None, None)
    }

    /// The bytes of a captured string that has ended; none when it was too long or has a broken escape.
    pub fn finish<'t>(&'t self, whole: Option<&'t [u8]>) -> Option<Cow<'t, [u8]>> {
        if let Some(whole) = whole {
            return (whole.len() <= MAX_CAPTURE).then_some(Cow::Borrowed(whole));
        }
        let raw = self.raw()?;
        if self.has_escapes {
            let quoted = [b"\"", raw, b"\""].concat();
            serde_json::from_slice::<String>(&quoted).ok().map(|text| Cow::Owned(text.into_bytes()))
        } else {
            Some(Cow::Borrowed(raw))
        }
    }

    /// Takes the next byte of an escape; gives the bytes of UTF-8 that it completes.
    fn resolve(&mut self, byte: u8) -> usize {
        match self.escape {
            Escape::Backslash if byte == b'u' => {
                self.escape = Escape::Unicode { missing: 4, unit: 0 };
                0
            }
            Escape::Unicode { missing, unit } if missing > 1 => {
                self.escape = Escape::Unicode { missing: missing - 1, unit: (unit << 4) | hex(byte) };
                0
            }
            Escape::Unicode { unit, .. } => {
                self.escape = Escape::None;
                utf8_len((unit << 4) | hex(byte))
            }
            Escape::Backslash | Escape::None => {
                self.escape = Escape::None;
                1
            }
        }
    }
}

/// The next quote or backslash: what ends a string, or changes what the next byte means.
#[inline]
pub(in super::super::super) fn find_special(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; WORD]);
    const HIGH: u64 = u64::from_le_bytes([0x80; WORD]);
    let mut at = 0;
    // Eight bytes at a time: a zero byte is the only one that borrows into its high bit first.
    while at < SHORT
        && let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<WORD>())
    {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * b'\\' as u64);
        let found = ((quote.wrapping_sub(ONES) & !quote) | (backslash.wrapping_sub(ONES) & !backslash)) & HIGH;
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += WORD;
    }
    let rest = &bytes[at..];
    let found = if rest.len() < WORD {
        rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))
    } else {
        memchr::memchr2(b'"', b'\\', rest)
    };
    found.map(|found| at + found)
}

fn hex(byte: u8) -> u16 {
    char::from(byte).to_digit(16).map_or(0, |digit| u16::try_from(digit).unwrap_or(0))
}

/// Bytes of UTF-8 for a code unit; the halves of a surrogate pair share the pair's four.
const fn utf8_len(unit: u16) -> usize {
    match unit {
        0..0x80 => 1,
        0x80..0x800 | 0xD800..0xE000 => 2,
        _ => 3,
    }
}
