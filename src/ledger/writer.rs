//! Takes records off the request's path and writes them in batches, in the order of their numbers.
//!
//! A request reserves its place in the queue before it is admitted; so whoever has been served can be recorded, and
//! when the database has been away for so long that there is no place left, nobody new is admitted.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::batch::{BatchWriter, FAREWELL, Farewell, Progress};
use super::journal::Journal;
use super::order::InOrder;
use super::prices::AppliedPrices;
use super::slot::{Entry, LedgerSlot, Numbers};
use super::starts::Starts;
use super::urgency::Urgency;
use crate::limit::BudgetId;

/// A database that refuses for so long at the end is not waited for.
const AWAY: Duration = Duration::from_secs(1);

/// How the ledger is written.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// What survives the process. None: records that the database does not have are in memory only.
    pub journal: Option<Arc<Journal>>,
    /// Records that wait, those of requests in flight included; without a journal, which has its own bound. One takes
    /// about a kilobyte.
    pub queue: usize,
    /// Records per transaction.
    pub batch: usize,
    /// How long the first record of a batch waits for others.
    pub interval: Duration,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self { journal: None, queue: 64 * 1024, batch: 2_000, interval: Duration::from_millis(50) }
    }
}

/// The way into the ledger.
#[derive(Debug)]
pub struct Ledger {
    inc: i64,
    queue: mpsc::Sender<Entry>,
    journal: Option<Arc<Journal>>,
    most: usize,
    numbers: Arc<Numbers>,
    stats: Arc<LedgerStats>,
    starts: Arc<Starts>,
    urgency: Arc<Urgency>,
    progress: watch::Receiver<Progress>,
    /// Take nothing new, write what is there.
    stop: CancellationToken,
    /// Stop writing.
    abandon: CancellationToken,
    /// The writer is done.
    ended: CancellationToken,
}

/// What somebody waits for is not written, and the database does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger is behind, because the database does not answer")]
pub struct LedgerBehind;

/// How the writing goes.
#[derive(Debug, Default)]
pub struct LedgerStats {
    pub(super) pending: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) failed: AtomicU64,
    /// When the oldest record of the current batch was settled; 0: there is none.
    pub(super) oldest: AtomicI64,
    /// Records that wait for one with an earlier number.
    early: AtomicU64,
}

impl Ledger {
    /// Starts a writer on the current runtime, which must be the one that the pool of connections lives on. `inc` is
    /// the number of this process's life ([`begin_life`](super::begin_life)).
    #[must_use]
    pub fn start(db: DatabaseConnection, inc: i64, options: LedgerOptions) -> Self {
        let journal = options.journal.clone();
        let most = journal.as_ref().map_or(options.queue, |journal| journal.places()).max(1);
        let (queue, records) = mpsc::channel(most);
        let (report, progress) = watch::channel(Progress::default());
        let stats = Arc::new(LedgerStats::default());
        let (starts, urgency) = (Arc::<Starts>::default(), Arc::<Urgency>::default());
        let (stop, abandon, ended) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let batches = BatchWriter {
            db,
            inc,
            stats: Arc::clone(&stats),
            starts: Arc::clone(&starts),
            prices: AppliedPrices::default(),
            progress: report,
            abandon: abandon.clone(),
        };
        let (order, urgent) = (InOrder::default(), Arc::clone(&urgency));
        let writer = Writer { records, order, options, urgency: urgent, stop: stop.clone(), batches };
        // Also when the writer panics: nobody shall wait for it then.
        let done = ended.clone().drop_guard();
        tokio::spawn(async move {
            writer.run().await;
            drop(done);
        });
        Self {
            inc,
            queue,
            journal,
            most,
            numbers: Arc::default(),
            stats,
            starts,
            urgency,
            progress,
            stop,
            abandon,
            ended,
        }
    }

    /// A place for the record of a request that is about to be admitted; none: the database has been away for too
    /// long, the journal's disk is full or has lost something, or the gateway is stopping.
    #[must_use]
    pub fn reserve(&self) -> Option<LedgerSlot> {
        // The writer closes the queue, but maybe not before it has written a batch.
        if self.stop.is_cancelled() {
            return None;
        }
        // What waits for a lost number is not in the queue any more; it must not grow beyond all bounds either.
        if self.stats.early.load(Ordering::Relaxed) >= self.most as u64 {
            return None;
        }
        let permit = self.queue.clone().try_reserve_owned().ok()?;
        let place = match &self.journal {
            Some(journal) => Some(journal.take()?),
            None => None,
        };
        Some(LedgerSlot::new(permit, place, &self.numbers, &self.urgency, &self.stats))
    }

    /// The last number that was handed out; 0: none was.
    #[must_use]
    pub fn last_number(&self) -> u64 {
        self.numbers.last()
    }

    /// Everything up to this number is in the database, or was given up.
    #[must_use]
    pub fn written_number(&self) -> u64 {
        self.progress.borrow().written
    }

    /// Whether the database has been told that this process's life is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.progress.borrow().over
    }

    /// Returns when everything up to this number is in the database. The writer does not wait for more before it
    /// writes that.
    ///
    /// # Errors
    ///
    /// [`LedgerBehind`] when the database is away, or writing has ended.
    pub async fn barrier(&self, lsn: u64) -> Result<(), LedgerBehind> {
        self.urgency.ask(lsn);
        let mut progress = self.progress.clone();
        let known = progress.wait_for(|progress| progress.written >= lsn || progress.stuck).await;
        known.is_ok_and(|progress| progress.written >= lsn).then_some(()).ok_or(LedgerBehind)
    }

    /// Remembers, with the next batch, when the running five hours of a budget began (Unix milliseconds).
    pub fn window_started(&self, budget: BudgetId, started_at: i64) {
        self.starts.put(budget, started_at);
        self.urgency.wake();
    }

    /// The number of this process's life.
    #[must_use]
    pub const fn inc(&self) -> i64 {
        self.inc
    }

    /// Whether the journal's disk has lost something, so that nobody is admitted any more.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.is_broken())
    }

    /// Bytes of the journal that are taken.
    #[must_use]
    pub fn journal_bytes(&self) -> u64 {
        self.journal.as_ref().map_or(0, |journal| journal.bytes())
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
    /// written by the deadline stays in the journal, or goes to the log where there is none. With a journal nobody waits
    /// for a database that is away: the next process has the records. Of several who wait, the one with the least time
    /// decides.
    pub async fn flush_and_stop(&self, deadline: Duration) {
        self.close();
        tokio::select! {
            () = self.ended.cancelled() => return,
            () = tokio::time::sleep(deadline) => {}
            () = self.away() => {}
        }
        self.abandon.cancel();
        // It now only says what is left.
        self.ended.cancelled().await;
    }

    /// Returns when the database has refused everything for a moment and the journal has what it did not take.
    async fn away(&self) {
        if self.journal.is_none() {
            return std::future::pending().await;
        }
        let mut progress = self.progress.clone();
        loop {
            // The writer has ended: so has the wait.
            if progress.wait_for(|progress| progress.stuck).await.is_err() {
                return std::future::pending().await;
            }
            let back = progress.wait_for(|progress| !progress.stuck);
            if tokio::time::timeout(AWAY, back).await.is_err() {
                return;
            }
        }
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

    /// Records that the database refused, or that were given up at the end without a journal: they are in the log. And
    /// those that could not be read from the journal again.
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
    records: mpsc::Receiver<Entry>,
    order: InOrder,
    options: LedgerOptions,
    urgency: Arc<Urgency>,
    stop: CancellationToken,
    batches: BatchWriter,
}

impl Writer {
    async fn run(mut self) {
        while let Some(mut batch) = self.next_batch().await {
            self.load(&mut batch);
            self.batches.write(batch).await;
        }
        match self.batches.end_life(FAREWELL).await {
            Farewell::Said => {
                if let Some(journal) = &self.options.journal {
                    journal.remove();
                }
                return;
            }
            // The journal stays, with nothing in it that is to be written: whoever finds it ends this life.
            Farewell::Unheard => return,
            Farewell::Abandoned => {}
        }
        // Empty, unless writing was given up: then nothing may come after the last look.
        self.records.close();
        while let Ok(entry) = self.records.try_recv() {
            self.order.put(entry);
        }
        self.batches.leave(&self.order.take_all());
    }

    /// Fetches what was not kept in memory.
    fn load(&self, batch: &mut [Entry]) {
        for entry in batch {
            if !entry.load() {
                tracing::error!(lsn = entry.lsn, "a record of the ledger cannot be read from the journal");
                self.batches.lost();
            }
        }
    }

    /// None when everything has come that will ever come, or writing was given up.
    async fn next_batch(&mut self) -> Option<Vec<Entry>> {
        while self.order.ready() == 0 {
            tokio::select! {
                biased;
                () = self.batches.abandoned() => return None,
                // From here on nobody gets a place; those who have one may still use it. Before the next record: when
                // they come without a gap, there would never be a time for it.
                () = self.stop.cancelled(), if !self.records.is_closed() => self.records.close(),
                entry = self.records.recv() => match entry {
                    Some(entry) => self.receive([entry]),
                    None => return self.last_batch(),
                },
                () = self.urgency.woken() => if !self.batches.starts.is_empty() { break },
            }
        }
        self.sleep().await;
        self.receive_all();
        Some(self.order.take(self.options.batch))
    }

    /// Gives others the time to come. Asleep, not waiting for the next entry: each would wake this task from a thread
    /// that has better things to do. Only an entry that somebody waits for does. A full queue cannot get any fuller, and
    /// nobody is admitted as long as it is.
    async fn sleep(&mut self) {
        let end = tokio::time::Instant::now() + self.options.interval;
        let enough = self.options.batch.min(self.records.max_capacity());
        loop {
            self.receive_all();
            if self.order.ready() >= enough || self.urgency.concerns(self.order.first()) {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                () = self.urgency.woken() => {}
                () = self.stop.cancelled() => return,
                () = self.batches.abandoned() => return,
            }
        }
    }

    fn receive(&mut self, entries: impl IntoIterator<Item = Entry>) {
        entries.into_iter().for_each(|entry| self.order.put(entry));
        self.batches.stats.early.store(self.order.early() as u64, Ordering::Relaxed);
    }

    /// What is in the queue already.
    fn receive_all(&mut self) {
        while self.order.ready() < self.options.batch
            && let Ok(entry) = self.records.try_recv()
        {
            self.receive([entry]);
        }
    }

    fn last_batch(&mut self) -> Option<Vec<Entry>> {
        let rest = self.order.take_all();
        (!rest.is_empty() || !self.batches.starts.is_empty()).then_some(rest)
    }
}
