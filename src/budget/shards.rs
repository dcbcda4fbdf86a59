//! How budgets are spread over maps, so that different budgets rarely wait for each other.

use std::hash::{BuildHasher, Hasher};

use crate::limit::BudgetId;

/// A power of two well above the number of cores.
pub const SHARDS: usize = 128;

/// Mixes the few integers of a budget's name. Administrators give them out, so nobody can choose them to collide.
#[derive(Clone, Copy, Debug, Default)]
pub struct BudgetHasher;

/// See [`BudgetHasher`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Mix(u64);

impl BuildHasher for BudgetHasher {
    type Hasher = Mix;

    fn build_hasher(&self) -> Mix {
        Mix::default()
    }
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        // The maps use the high bits and the low ones.
        let mixed = self.0 ^ (self.0 >> 32);
        mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (mixed >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(26) ^ value).wrapping_mul(0xd6e8_feb8_6659_fd93);
    }

    fn write_i64(&mut self, value: i64) {
        self.write_u64(value.cast_unsigned());
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value.cast_unsigned() as u64);
    }
}

/// Which map a budget is in.
#[must_use]
pub fn shard_of(budget: BudgetId) -> usize {
    // Other bits than the maps use.
    usize::try_from((BudgetHasher.hash_one(budget) >> 40) % SHARDS as u64).unwrap_or_default()
}
