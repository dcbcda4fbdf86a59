//! A place in the ledger's queue, and the number (LSN) that what is written there gets.
//!
//! Numbers are contiguous within the life of a process: a place that has a number and is given up sends word of it,
//! so that what comes after it does not wait for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::OwnedPermit;

use super::urgency::Urgency;
use super::{LedgerRecord, LedgerStats};

/// What takes the place of one number.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) lsn: u64,
    /// None: there is nothing to write under this number.
    pub(super) record: Option<Box<LedgerRecord>>,
}

/// Hands out numbers, from 1.
#[derive(Debug, Default)]
pub(super) struct Numbers(AtomicU64);

impl Numbers {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The last one that was handed out; 0: none was.
    pub(super) fn last(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A place in the queue. Dropping it gives it back.
#[derive(Debug)]
pub struct LedgerSlot {
    /// None once it was used.
    permit: Option<OwnedPermit<Entry>>,
    lsn: Option<u64>,
    numbers: Arc<Numbers>,
    urgency: Arc<Urgency>,
    stats: Arc<LedgerStats>,
}

impl LedgerSlot {
    pub(super) fn new(
        permit: OwnedPermit<Entry>,
        numbers: &Arc<Numbers>,
        urgency: &Arc<Urgency>,
        stats: &Arc<LedgerStats>,
    ) -> Self {
        let (numbers, urgency, stats) = (Arc::clone(numbers), Arc::clone(urgency), Arc::clone(stats));
        Self { permit: Some(permit), lsn: None, numbers, urgency, stats }
    }

    /// The number that the record will have; always the same. To be asked for right before the record is committed:
    /// what has a later number is not written before this one.
    pub fn number(&mut self) -> u64 {
        *self.lsn.get_or_insert_with(|| self.numbers.next())
    }

    /// Hands the record over. Neither waits nor fails.
    pub fn commit(mut self, record: LedgerRecord) {
        let lsn = self.number();
        self.stats.pending.fetch_add(1, Ordering::Relaxed);
        self.send(Entry { lsn, record: Some(Box::new(record)) });
    }

    /// Does nothing the second time.
    fn send(&mut self, entry: Entry) {
        let lsn = entry.lsn;
        if let Some(permit) = self.permit.take() {
            permit.send(entry);
            self.urgency.brought(lsn);
        }
    }
}

impl Drop for LedgerSlot {
    fn drop(&mut self) {
        if let Some(lsn) = self.lsn {
            self.send(Entry { lsn, record: None });
        }
    }
}
