//! Puts entries that come from many threads into the order of their numbers.

use std::collections::{BTreeMap, VecDeque};

use super::slot::Entry;

/// What has come and was not taken yet.
#[derive(Debug, Default)]
pub(super) struct InOrder {
    /// Without a gap after everything that was taken.
    ready: VecDeque<Entry>,
    /// What waits for an earlier one.
    early: BTreeMap<u64, Entry>,
    /// The last number that became ready.
    last: u64,
}

impl InOrder {
    pub(super) fn put(&mut self, entry: Entry) {
        if entry.lsn != self.last + 1 {
            self.early.insert(entry.lsn, entry);
            return;
        }
        self.push(entry);
        while let Some(first) = self.early.first_entry().filter(|first| *first.key() == self.last + 1) {
            let entry = first.remove();
            self.push(entry);
        }
    }

    /// The number of the first entry that can be taken.
    pub(super) fn first(&self) -> Option<u64> {
        self.ready.front().map(|entry| entry.lsn)
    }

    /// How many can be taken.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// How many wait for an earlier one.
    pub(super) fn early(&self) -> usize {
        self.early.len()
    }

    /// Takes the first few.
    pub(super) fn take(&mut self, most: usize) -> Vec<Entry> {
        self.ready.drain(..most.min(self.ready.len())).collect()
    }

    /// Takes everything, what waits in vain included.
    pub(super) fn take_all(&mut self) -> Vec<Entry> {
        self.ready.drain(..).chain(std::mem::take(&mut self.early).into_values()).collect()
    }

    fn push(&mut self, entry: Entry) {
        self.last = entry.lsn;
        self.ready.push_back(entry);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order_of(numbers: impl IntoIterator<Item = u64>) -> InOrder {
        let mut order = InOrder::default();
        numbers.into_iter().for_each(|lsn| order.put(Entry::nothing(lsn)));
        order
    }

    fn numbers(entries: Vec<Entry>) -> Vec<u64> {
        entries.into_iter().map(|entry| entry.lsn).collect()
    }

    #[test]
    fn what_is_early_waits_for_what_is_missing() {
        let mut order = order_of([2, 4]);
        assert_eq!((order.ready(), order.first(), order.early()), (0, None, 2));
        order.put(Entry::nothing(1));
        assert_eq!((order.ready(), order.first(), order.early()), (2, Some(1), 1));
        assert_eq!(numbers(order.take(10)), [1, 2]);
        order.put(Entry::nothing(3));
        assert_eq!(numbers(order.take(1)), [3]);
        assert_eq!(order.first(), Some(4));
    }

    #[test]
    fn at_the_end_nothing_stays_behind() {
        assert_eq!(numbers(order_of([4, 1, 6]).take_all()), [1, 4, 6]);
    }

    proptest! {
        #[test]
        fn any_order_of_arrival_becomes_the_order_of_numbers(arrivals in Just((1..=50_u64).collect::<Vec<_>>()).prop_shuffle()) {
            let order = &mut order_of(arrivals);
            prop_assert_eq!(order.early(), 0);
            prop_assert_eq!(numbers(order.take(50)), (1..=50).collect::<Vec<_>>());
        }
    }
}
