//! Numbers in as few bytes as they need: a budget that rests is little else.

use crate::money::Usd;

/// As few as need be.
pub type Bytes = Box<[u8]>;

/// Writes numbers, the small ones in one byte.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Seven bits to a byte, the lowest first. Small numbers of either sign are short, and so are the least and the most,
    /// which stand for never and always.
    pub fn put(&mut self, number: i64) {
        let mut rest = (number.wrapping_shl(1) ^ (number >> 63)).cast_unsigned().wrapping_add(2);
        while rest >= 0x80 {
            self.0.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
    }

    pub fn put_all(&mut self, numbers: impl IntoIterator<Item = i64>) {
        numbers.into_iter().for_each(|number| self.put(number));
    }

    /// How many things follow.
    pub fn put_len(&mut self, len: usize) {
        self.put(i64::try_from(len).unwrap_or(i64::MAX));
    }

    pub fn done(self) -> Bytes {
        self.0.into()
    }
}

/// Reads what a [`Writer`] has written, and zeros after its end.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn number(&mut self) -> i64 {
        let (mut number, mut shift) = (0_u64, 0);
        while let Some((&byte, rest)) = self.0.split_first() {
            self.0 = rest;
            number |= u64::from(byte & 0x7f).wrapping_shl(shift);
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let zigzag = number.wrapping_sub(2);
        (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed()
    }

    pub fn usd(&mut self) -> Usd {
        Usd::from_nanos(self.number())
    }

    /// So many things as are announced, each read by `read`; no more than there are.
    pub fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let len = self.number();
        (0..len).map_while(|_| (!self.0.is_empty()).then(|| read(self))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back_and_the_common_ones_are_short() {
        let cases = [(0, 1), (1, 1), (-1, 1), (i64::MIN, 1), (i64::MAX, 1), (60, 1), (1_000_000_000, 5)];
        let powers = (0..63).flat_map(|bit| [1_i64 << bit, -(1 << bit), (1 << bit) - 1, i64::MAX - (1 << bit)]);
        for (number, most) in cases.into_iter().chain(powers.map(|number| (number, 10))) {
            let mut writer = Writer::default();
            writer.put_all([number, 7]);
            let bytes = writer.done();
            assert!(bytes.len() <= most + 1, "{number} takes {bytes:?}");
            let mut reader = Reader::new(&bytes);
            assert_eq!((reader.number(), reader.number()), (number, 7));
        }
    }
}
