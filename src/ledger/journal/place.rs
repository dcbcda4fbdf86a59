//! The journal of this process, and the places in it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::disk::Disk;
use super::format::{self, Found, OPENING, OpenRequest, PLACE, Seal};
use crate::ledger::LedgerRecord;

/// Where the first place begins; before it is the file's head.
pub(super) const FIRST: u64 = 4_096;

/// The file is made smaller once in so many syncs: whoever is admitted waits meanwhile.
const SHRINK_EVERY: u32 = 200;

/// A file of fewer places is not worth shrinking.
const SMALL: usize = 32 * 1_024;

/// The journal of this process.
#[derive(Debug)]
pub struct Journal {
    disk: Box<dyn Disk>,
    path: PathBuf,
    seal: Seal,
    most: u32,
    free: Mutex<Free>,
    /// Something was written since the last sync.
    dirty: AtomicBool,
    /// What was written may be lost: nothing is taken any more.
    broken: AtomicBool,
    in_use: AtomicU64,
}

/// Which places can be taken.
#[derive(Debug, Default)]
struct Free {
    /// Given back; the last one first, so that a quiet process writes to few pages.
    back: Vec<u32>,
    /// Given back while the disk did not take that their request came to nothing.
    spoiled: Vec<u32>,
    /// The first that was never taken.
    next: u32,
}

/// Why something could not be written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk does not take it.
    #[error("the journal cannot be written: {0}")]
    Disk(#[from] io::Error),
    /// It does not fit, which its format rules out.
    #[error("a record does not fit into the journal")]
    TooLarge,
}

/// A place of the journal. Dropped, it can be taken again, unless it holds a record.
#[derive(Debug)]
pub struct Place {
    journal: Arc<Journal>,
    index: u32,
    holds: Holds,
}

/// What a crash would find in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Nothing,
    /// A request that would be taken for interrupted.
    Request,
    /// A record that is not known to be in the database.
    Record,
    /// A request whose record the disk did not take: it would be taken for interrupted.
    Settled,
}

impl Journal {
    /// A journal of at most so many bytes.
    pub(super) fn new(disk: Box<dyn Disk>, path: PathBuf, seal: Seal, max_bytes: u64) -> Self {
        let most = u32::try_from(max_bytes / PLACE as u64).unwrap_or(u32::MAX).max(1);
        Self {
            disk,
            path,
            seal,
            most,
            free: Mutex::default(),
            dirty: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            in_use: AtomicU64::new(0),
        }
    }

    /// Forces to disk what was written, every so often, until nobody holds the journal any more.
    pub(super) fn keep_synced(self: &Arc<Self>, interval: Duration) -> io::Result<()> {
        let journal = Arc::downgrade(self);
        let keep = move || {
            let mut turn = 1_u32;
            while let Some(journal) = journal.upgrade() {
                journal.clean();
                journal.sync();
                if turn.is_multiple_of(SHRINK_EVERY) {
                    journal.shrink();
                }
                drop(journal);
                turn = turn.wrapping_add(1);
                std::thread::sleep(interval);
            }
        };
        std::thread::Builder::new().name("journal".to_owned()).spawn(keep).map(drop)
    }

    /// A place for a request. None: there is none left, or the disk has lost something.
    #[must_use]
    pub fn take(self: &Arc<Self>) -> Option<Place> {
        if self.is_broken() {
            return None;
        }
        let mut free = self.free.lock();
        // What is written next goes over what should not be there: a full disk spoils no more than are in use at once.
        let (index, holds) = if let Some(index) = free.spoiled.pop() {
            (index, Holds::Request)
        } else if let Some(index) = free.back.pop() {
            (index, Holds::Nothing)
        } else if free.next < self.most {
            free.next += 1;
            (free.next - 1, Holds::Nothing)
        } else {
            return None;
        };
        self.in_use.fetch_add(1, Ordering::Relaxed);
        Some(Place { journal: Arc::clone(self), index, holds })
    }

    /// How many places there are.
    #[must_use]
    pub const fn places(&self) -> usize {
        self.most as usize
    }

    /// Bytes of the places that are taken.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.in_use.load(Ordering::Relaxed) * PLACE as u64
    }

    /// Whether what was written may be lost with the power.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Forces everything that was written before to disk.
    pub fn sync(&self) {
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return;
        }
        // The kernel reports a failure once, and may have thrown the pages away: trying again would only look well.
        if let Err(error) = self.disk.sync()
            && !self.broken.swap(true, Ordering::AcqRel)
        {
            tracing::error!(%error, "the journal could not be forced to disk; no requests are admitted until a restart");
        }
    }

    /// Tries again to say of requests that they came to nothing.
    pub(super) fn clean(&self) {
        let mut free = self.free.lock();
        while free.spoiled.last().is_some_and(|index| self.void(*index).is_ok()) {
            let clean = free.spoiled.pop();
            free.back.extend(clean);
        }
    }

    /// Removes the file, when everything in it is in the database.
    pub fn remove(&self) {
        if self.in_use.load(Ordering::Acquire) == 0
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "the journal cannot be removed; the next start does it");
        }
    }

    /// After an outage of the database, most of the file is not needed any more.
    pub(super) fn shrink(&self) {
        let mut free = self.free.lock();
        if (free.next as usize) < SMALL || free.back.len() < free.next as usize / 8 * 7 {
            return;
        }
        let before = free.next;
        free.back.sort_unstable();
        while free.back.last().is_some_and(|last| *last + 1 == free.next) {
            free.back.pop();
            free.next -= 1;
        }
        // The lowest are taken first: in time what is above them comes free.
        free.back.reverse();
        free.back.shrink_to(SMALL);
        if free.next < before
            && let Err(error) = self.disk.shrink(FIRST + u64::from(free.next) * PLACE as u64)
        {
            tracing::warn!(%error, "the journal cannot be made smaller");
        }
    }

    /// The request that may be there came to nothing.
    fn void(&self, index: u32) -> Result<(), JournalError> {
        self.write(&format::VOID, index, 0)
    }

    fn write(&self, bytes: &[u8], index: u32, at: usize) -> Result<(), JournalError> {
        self.disk.write_at(bytes, offset(index) + at as u64)?;
        self.dirty.store(true, Ordering::Release);
        Ok(())
    }
}

impl Place {
    /// Writes what is known of a request before it goes to a provider, in place of what was there.
    ///
    /// # Errors
    ///
    /// When the disk does not take it: the request must not go out.
    pub fn open(&mut self, request: &OpenRequest<'_>) -> Result<(), JournalError> {
        // All of the place, so that its record finds room on the disk.
        let place = format::opening(&self.journal.seal, self.index, request).ok_or(JournalError::TooLarge)?;
        // Also when it fails: a part may be there.
        self.holds = Holds::Request;
        self.journal.write(&place, self.index, 0)
    }

    /// Writes a record.
    ///
    /// # Errors
    ///
    /// When the disk does not take it. After a crash the request would be taken for interrupted.
    pub fn end(&mut self, lsn: u64, record: &LedgerRecord) -> Result<(), JournalError> {
        self.holds = Holds::Settled;
        let journal = &self.journal;
        let (part, length) = format::ending(&journal.seal, self.index, lsn, record).ok_or(JournalError::TooLarge)?;
        journal.write(&part[..length], self.index, OPENING)?;
        self.holds = Holds::Record;
        Ok(())
    }

    /// The record that was written here.
    #[must_use]
    pub fn record(&self) -> Option<Box<LedgerRecord>> {
        match read(&*self.journal.disk, &self.journal.seal, self.index) {
            Ok(Found::Ended(_, record)) => Some(record),
            _ => None,
        }
    }

    /// Whether the record survives the process.
    #[must_use]
    pub fn has_record(&self) -> bool {
        self.holds == Holds::Record
    }

    /// Everything up to the record's number is in the database: the place can be taken again. A record in it is known
    /// by that number to be done.
    pub fn written(mut self) {
        match self.holds {
            Holds::Record => self.holds = Holds::Nothing,
            Holds::Settled => self.holds = Holds::Request,
            Holds::Nothing | Holds::Request => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let journal = &self.journal;
        let voided = match self.holds {
            Holds::Nothing => Ok(()),
            Holds::Request => journal.void(self.index),
            // The next process sees to it.
            Holds::Record | Holds::Settled => return,
        };
        journal.in_use.fetch_sub(1, Ordering::Relaxed);
        let mut free = journal.free.lock();
        match voided {
            Ok(()) => free.back.push(self.index),
            Err(error) => {
                if free.spoiled.is_empty() {
                    tracing::error!(%error, "until the disk takes more, a crash would charge requests that came to nothing");
                }
                free.spoiled.push(self.index);
            }
        }
    }
}

pub(super) const fn offset(index: u32) -> u64 {
    FIRST + index as u64 * PLACE as u64
}

pub(super) fn read(disk: &dyn Disk, seal: &Seal, index: u32) -> io::Result<Found> {
    let mut place = [0; PLACE];
    disk.read_at(&mut place, offset(index))?;
    Ok(format::read(seal, index, &place))
}
