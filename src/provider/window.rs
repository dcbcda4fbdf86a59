//! Good and bad ends within a sliding window, in tenths of it.

use std::time::Duration;

/// Parts of a window: that much of it more or less is counted.
const PARTS: usize = 10;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    /// Milliseconds of a part. When the configuration changes it, what was counted is forgotten.
    width: i64,
    parts: [Part; PARTS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// Its number since 1970.
    number: i64,
    good: u32,
    bad: u32,
}

impl Window {
    /// Counts one.
    pub(super) fn add(&mut self, length: Duration, now: i64, good: bool) {
        let number = self.number(length, now);
        let slot = usize::try_from(number.rem_euclid(PARTS as i64)).unwrap_or_default();
        let part = &mut self.parts[slot];
        if part.number != number {
            *part = Part { number, ..Part::default() };
        }
        let count = if good { &mut part.good } else { &mut part.bad };
        *count = count.saturating_add(1);
    }

    /// Good and bad ones.
    pub(super) fn sums(&mut self, length: Duration, now: i64) -> (u32, u32) {
        let number = self.number(length, now);
        let within = self.parts.iter().filter(|part| (0..PARTS as i64).contains(&(number - part.number)));
        within.fold((0, 0), |(good, bad): (u32, u32), part| {
            (good.saturating_add(part.good), bad.saturating_add(part.bad))
        })
    }

    fn number(&mut self, length: Duration, now: i64) -> i64 {
        let width = i64::try_from(length.as_millis()).unwrap_or(i64::MAX) / PARTS as i64;
        let width = width.max(1);
        if self.width != width {
            *self = Self { width, ..Self::default() };
        }
        now.div_euclid(width)
    }
}
