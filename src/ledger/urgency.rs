//! What makes the writer write before its interval is over.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Shared by the writer, those who wait for it, and those who bring what is waited for.
#[derive(Debug, Default)]
pub(super) struct Urgency {
    /// Somebody waits for everything up to this number.
    wanted: AtomicU64,
    wake: Notify,
}

impl Urgency {
    /// Waits for everything up to this number.
    pub(super) fn ask(&self, lsn: u64) {
        self.wanted.fetch_max(lsn, Ordering::SeqCst);
        self.wake();
    }

    /// This number is in the queue now.
    pub(super) fn brought(&self, lsn: u64) {
        if self.is_wanted(lsn) {
            self.wake();
        }
    }

    /// Whether somebody waits for the first entry that could be written.
    pub(super) fn concerns(&self, first: Option<u64>) -> bool {
        first.is_some_and(|first| self.is_wanted(first))
    }

    /// Wakes the writer, now or when it next falls asleep.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Returns when somebody has woken the writer.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    fn is_wanted(&self, lsn: u64) -> bool {
        lsn <= self.wanted.load(Ordering::SeqCst)
    }
}
