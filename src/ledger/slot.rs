//! A place in the ledger's queue, and the number (LSN) that what is written there gets.
//!
//! Numbers are contiguous within the life of a process: a place that has a number and is given up sends word of it,
//! so that what comes after it does not wait for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::OwnedPermit;

use super::journal::{JournalError, OpenRequest, Place};
use super::urgency::Urgency;
use super::{LedgerRecord, LedgerStats};

/// So many records are kept in memory as well; of more, which an outage of the database brings, only the numbers are.
const IN_MEMORY: u64 = 32 * 1_024;

/// What takes the place of one number.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) lsn: u64,
    pub(super) content: Content,
    /// Where the record is in the journal, until it is in the database.
    pub(super) place: Option<Place>,
}

#[derive(Debug)]
pub(super) enum Content {
    /// There is nothing to write under this number.
    Nothing,
    Record(Box<LedgerRecord>),
    /// The record is in the journal only.
    InJournal,
}

impl Entry {
    /// A record that is in no journal of this process.
    pub(super) fn of(lsn: u64, record: impl Into<Box<LedgerRecord>>) -> Self {
        Self { lsn, content: Content::Record(record.into()), place: None }
    }

    #[cfg(test)]
    pub(super) const fn nothing(lsn: u64) -> Self {
        Self { lsn, content: Content::Nothing, place: None }
    }

    pub(super) fn record(&self) -> Option<&LedgerRecord> {
        match &self.content {
            Content::Record(record) => Some(record),
            Content::Nothing | Content::InJournal => None,
        }
    }

    /// Takes the record out.
    pub(super) fn take(&mut self) -> Option<Box<LedgerRecord>> {
        match std::mem::replace(&mut self.content, Content::Nothing) {
            Content::Record(record) => Some(record),
            Content::Nothing | Content::InJournal => None,
        }
    }

    /// Fetches the record from the journal, if it is only there. False: it cannot be read.
    pub(super) fn load(&mut self) -> bool {
        if !matches!(self.content, Content::InJournal) {
            return true;
        }
        let record = self.place.as_ref().and_then(Place::record);
        self.content = record.map_or(Content::Nothing, Content::Record);
        matches!(self.content, Content::Record(_))
    }

    /// Everything up to its number is in the database.
    pub(super) fn written(&mut self) {
        self.content = Content::Nothing;
        if let Some(place) = self.place.take() {
            place.written();
        }
    }

    /// Whether the next process finds the record.
    pub(super) fn survives(&self) -> bool {
        self.place.as_ref().is_some_and(Place::has_record)
    }
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
    /// None: there is no journal. Given back before the permit: once all of those are back, the process may end.
    place: Option<Place>,
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
        place: Option<Place>,
        numbers: &Arc<Numbers>,
        urgency: &Arc<Urgency>,
        stats: &Arc<LedgerStats>,
    ) -> Self {
        let (numbers, urgency, stats) = (Arc::clone(numbers), Arc::clone(urgency), Arc::clone(stats));
        Self { permit: Some(permit), place, lsn: None, numbers, urgency, stats }
    }

    /// The number that the record will have; always the same. To be asked for right before the record is committed:
    /// what has a later number is not written before this one.
    pub fn number(&mut self) -> u64 {
        *self.lsn.get_or_insert_with(|| self.numbers.next())
    }

    /// Writes into the journal what is known of the request, before anything of it goes to a provider.
    ///
    /// # Errors
    ///
    /// When the disk does not take it: nothing may go out then.
    pub fn open(&mut self, request: &OpenRequest<'_>) -> Result<(), JournalError> {
        self.place.as_mut().map_or(Ok(()), |place| place.open(request))
    }

    /// Hands the record over; it is in the journal when this returns. Neither waits nor fails.
    pub fn commit(mut self, record: LedgerRecord) {
        let lsn = self.number();
        let pending = self.stats.pending.fetch_add(1, Ordering::Relaxed);
        let in_journal = self.place.as_mut().is_some_and(|place| {
            place.end(lsn, &record).inspect_err(|error| {
                tracing::error!(%error, request = %record.request_id, "a record is in memory only until the database has it");
            }).is_ok()
        });
        let content =
            if in_journal && pending >= IN_MEMORY { Content::InJournal } else { Content::Record(Box::new(record)) };
        self.send(lsn, content);
    }

    /// Does nothing the second time.
    fn send(&mut self, lsn: u64, content: Content) {
        if let Some(permit) = self.permit.take() {
            permit.send(Entry { lsn, content, place: self.place.take() });
            self.urgency.brought(lsn);
        }
    }
}

impl Drop for LedgerSlot {
    fn drop(&mut self) {
        if let Some(lsn) = self.lsn {
            self.send(lsn, Content::Nothing);
        }
    }
}
