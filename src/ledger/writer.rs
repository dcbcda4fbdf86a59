//! Takes records off the request's path and writes them in batches.
//!
//! A request reserves its place in the queue before it is admitted; so whoever has been served can be recorded, and
//! when the database has been away for so long that the queue is full, nobody new is admitted.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::LedgerRecord;
use super::batch::{BatchWriter, STOPPED};

/// How the ledger is written.
#[derive(Clone, Copy, Debug)]
pub struct LedgerOptions {
    /// Records that wait, those of requests in flight included. One takes about a kilobyte.
    pub queue: usize,
    /// Records per transaction.
    pub batch: usize,
    /// How long the first record of a batch waits for others.
    pub interval: Duration,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self { queue: 64 * 1024, batch: 500, interval: Duration::from_millis(50) }
    }
}

/// The way into the ledger.
#[derive(Debug)]
pub struct Ledger {
    queue: mpsc::Sender<LedgerRecord>,
    stats: Arc<LedgerStats>,
    /// Take nothing new, write what is there.
    stop: CancellationToken,
    /// Stop writing.
    abandon: CancellationToken,
    /// The writer is done.
    ended: CancellationToken,
}

/// A place in the queue. Dropping it gives it back.
#[derive(Debug)]
pub struct LedgerSlot {
    permit: mpsc::OwnedPermit<LedgerRecord>,
    stats: Arc<LedgerStats>,
}

/// How the writing goes.
#[derive(Debug, Default)]
pub struct LedgerStats {
    pub(super) pending: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) failed: AtomicU64,
    /// When the oldest record of the current batch was settled; 0: there is none.
    pub(super) oldest: AtomicI64,
}

impl Ledger {
    /// Starts a writer on the current runtime, which must be the one that the pool of connections lives on.
    #[must_use]
    pub fn start(db: DatabaseConnection, options: LedgerOptions) -> Self {
        let (queue, records) = mpsc::channel(options.queue.max(1));
        let stats = Arc::new(LedgerStats::default());
        let (stop, abandon, ended) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let writer = Writer {
            records,
            options,
            stop: stop.clone(),
            batches: BatchWriter::new(db, Arc::clone(&stats), abandon.clone()),
        };
        // Also when the writer panics: nobody shall wait for it then.
        let done = ended.clone().drop_guard();
        tokio::spawn(async move {
            writer.run().await;
            drop(done);
        });
        Self { queue, stats, stop, abandon, ended }
    }

    /// A place for the record of a request that is about to be admitted; none: the database has been away for too
    /// long, or the gateway is stopping.
    #[must_use]
    pub fn reserve(&self) -> Option<LedgerSlot> {
        // The writer closes the queue, but maybe not before it has written a batch.
        if self.stop.is_cancelled() {
            return None;
        }
        let permit = self.queue.clone().try_reserve_owned().ok()?;
        Some(LedgerSlot { permit, stats: Arc::clone(&self.stats) })
    }

    /// How the writing goes.
    #[must_use]
    pub fn stats(&self) -> &Arc<LedgerStats> {
        &self.stats
    }

    /// Admits nothing more. Slots that are out may still be used.
    pub fn close(&self) {
        self.stop.cancel();
    }

    /// Admits nothing more and waits until everything is written, slots that are still out included. What is not
    /// written by the deadline goes to the log. Of several who wait, the one with the least time decides.
    pub async fn flush_and_stop(&self, deadline: Duration) {
        self.close();
        if tokio::time::timeout(deadline, self.ended.cancelled()).await.is_err() {
            self.abandon.cancel();
            // It now only writes to the log.
            self.ended.cancelled().await;
        }
    }
}

impl LedgerSlot {
    /// Hands the record over. Neither waits nor fails.
    pub fn commit(self, record: LedgerRecord) {
        self.stats.pending.fetch_add(1, Ordering::Relaxed);
        self.permit.send(record);
    }
}

impl LedgerStats {
    /// Records that were handed over and are not in the database yet.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// Records that are in the database.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Records that the database refused, or that were given up at the end; they are in the log.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// For how long the oldest record has been waiting.
    #[must_use]
    pub fn lag(&self, now: i64) -> Duration {
        match self.oldest.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            oldest => Duration::from_millis(u64::try_from(now.saturating_sub(oldest)).unwrap_or(0)),
        }
    }
}

struct Writer {
    records: mpsc::Receiver<LedgerRecord>,
    options: LedgerOptions,
    stop: CancellationToken,
    batches: BatchWriter,
}

impl Writer {
    async fn run(mut self) {
        while let Some(batch) = self.next_batch().await {
            self.batches.write(batch).await;
        }
        // Empty, unless writing was given up: then nothing may come after the last look.
        self.records.close();
        while let Ok(record) = self.records.try_recv() {
            self.batches.give_up(&record, STOPPED);
        }
    }

    /// None when everything has come that will ever come, or writing was given up.
    async fn next_batch(&mut self) -> Option<Vec<LedgerRecord>> {
        let first = loop {
            tokio::select! {
                biased;
                () = self.batches.abandoned() => return None,
                // From here on nobody gets a place; those who have one may still use it. Before the next record: when
                // they come without a gap, there would never be a time for it.
                () = self.stop.cancelled(), if !self.records.is_closed() => self.records.close(),
                first = self.records.recv() => break first?,
            }
        };
        let mut batch = vec![first];
        // Asleep, not waiting for the next record: each would wake this task from a thread that has better things to do.
        // A full queue cannot get any fuller, and nobody is admitted as long as it is.
        if self.records.len() + 1 < self.options.batch.min(self.records.max_capacity()) {
            tokio::select! {
                () = tokio::time::sleep(self.options.interval) => {}
                () = self.stop.cancelled() => {}
                () = self.batches.abandoned() => {}
            }
        }
        while batch.len() < self.options.batch
            && let Ok(record) = self.records.try_recv()
        {
            batch.push(record);
        }
        Some(batch)
    }
}
