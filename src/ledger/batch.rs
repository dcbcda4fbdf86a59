//! Writes one batch: again and again while the database is away, and around a record that it will never take.
//!
//! A transaction holds the rows, the sums of exactly those rows that were inserted by it, and the number up to which
//! this process has now written: none of the three is ever there without the others.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sea_orm::{DatabaseConnection, DatabaseTransaction, DbErr};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::prices::{AppliedPrices, Numbered};
use super::rollup::Rollup;
use super::slot::Entry;
use super::starts::Starts;
use super::writer::LedgerStats;
use super::{LedgerRecord, Outcome, charges, node, quarters, row, starts};
use crate::backoff::Backoff;
use crate::store;

/// A transaction that takes longer counts as failed. It may have come through all the same: then the next one finds
/// its rows and leaves them as they are.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the last word to the database may take. Nothing depends on it: who finds the journal says the same.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);

/// Why records are given up at the end.
pub(super) const STOPPED: &str = "the gateway stopped before the database was back";

/// How far the writing is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Everything up to this number is in the database, or was given up.
    pub(super) written: u64,
    /// The last try failed, and will be repeated.
    pub(super) stuck: bool,
    /// The database has been told that this life is over.
    pub(super) over: bool,
}

/// What became of the last word to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// It was heard: this life is over.
    Said,
    /// Nobody knows whether it was heard.
    Unheard,
    /// Writing has been given up.
    Abandoned,
}

/// See the module.
pub(super) struct BatchWriter {
    pub(super) db: DatabaseConnection,
    pub(super) inc: i64,
    pub(super) stats: Arc<LedgerStats>,
    pub(super) starts: Arc<Starts>,
    pub(super) prices: AppliedPrices,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) abandon: CancellationToken,
}

/// What became of a part of a batch.
enum Attempt {
    Written,
    /// The same may well work later.
    Away(String),
    /// There was no answer in time. Maybe there never is one to so much at once.
    Slow,
    /// The database was there, and refused.
    Refused(DbErr),
}

impl BatchWriter {
    /// For work beside a ledger: nobody waits for what it writes.
    pub(super) fn beside(db: &DatabaseConnection, inc: i64) -> Self {
        Self {
            db: db.clone(),
            inc,
            stats: Arc::default(),
            starts: Arc::default(),
            prices: AppliedPrices::default(),
            progress: watch::channel(Progress::default()).0,
            abandon: CancellationToken::new(),
        }
    }

    /// Returns once writing has been given up.
    pub(super) async fn abandoned(&self) {
        self.abandon.cancelled().await;
    }

    /// Returns when every record is in the database, or in the log because the database refuses it; or, once writing was
    /// given up, when it is known where the rest is.
    pub(super) async fn write(&self, mut batch: Vec<Entry>) {
        let mut retry = Backoff::default();
        let mut any_written = false;
        // Parts that are still to be written, the next one last. A part that is refused is halved, until the record
        // at fault is alone.
        let mut parts: Vec<Range<usize>> = std::iter::once(0..batch.len()).collect();
        while let Some(part) = parts.pop() {
            let entries = &batch[part.clone()];
            let records = records(entries).count();
            if let Some(first) = self::records(entries).next() {
                self.stats.oldest.store(first.settled_at, Ordering::Relaxed);
            }
            let attempt = tokio::select! {
                biased;
                () = self.abandoned() => {
                    parts.push(part);
                    break;
                }
                attempt = self.insert(entries) => attempt,
            };
            match attempt {
                Attempt::Written => {
                    any_written |= records > 0;
                    retry = Backoff::default();
                    self.done(&self.stats.written, records);
                    self.advanced(entries);
                    batch[part].iter_mut().for_each(Entry::written);
                }
                Attempt::Refused(_) if records > 1 => parts.extend(halves(&batch, part)),
                // One record alone is at fault if the error says so, or if others went through.
                Attempt::Refused(error) if records == 1 && (any_written || store::is_data_error(&error)) => {
                    for entry in &mut batch[part.clone()] {
                        if let Some(record) = entry.take() {
                            self.give_up(&record, &error.to_string());
                        }
                    }
                    // Its number counts as written: what comes later must not wait for it.
                    parts.push(part);
                }
                Attempt::Refused(error) => {
                    parts.push(part);
                    self.wait(&mut retry, &error.to_string()).await;
                }
                Attempt::Away(error) => {
                    parts.push(part);
                    self.wait(&mut retry, &error).await;
                }
                Attempt::Slow => {
                    if part.len() > 1 {
                        parts.extend(halves(&batch, part))
                    } else {
                        parts.push(part)
                    }
                    self.wait(&mut retry, &format!("no answer within {WRITE_TIMEOUT:?}")).await;
                }
            }
        }
        for part in parts.into_iter().rev() {
            self.leave(&batch[part]);
        }
        self.stats.oldest.store(0, Ordering::Relaxed);
    }

    async fn insert(&self, entries: &[Entry]) -> Attempt {
        match tokio::time::timeout(WRITE_TIMEOUT, self.transaction(entries)).await {
            Ok(Ok(())) => Attempt::Written,
            Ok(Err(error)) if store::is_away(&error) => Attempt::Away(error.to_string()),
            Ok(Err(error)) => Attempt::Refused(error),
            Err(_) => Attempt::Slow,
        }
    }

    pub(super) async fn transaction(&self, entries: &[Entry]) -> Result<(), DbErr> {
        let starts = self.starts.pending();
        let mut prices = Numbered::default();
        let transaction = store::begin_write(&self.db).await?;
        let records: Vec<_> = records(entries).collect();
        if !records.is_empty() {
            // Before the rows, whose numbers they are.
            prices = self.prices.of(&transaction, &records).await?;
            put(&transaction, &prices, &records).await?;
        }
        starts::write(&transaction, &starts).await?;
        if let Some(last) = entries.last() {
            node::advance(&transaction, self.inc, last.lsn).await?;
        }
        transaction.commit().await?;
        self.starts.written(&starts);
        self.prices.keep(prices);
        Ok(())
    }

    fn advanced(&self, entries: &[Entry]) {
        self.progress.send_modify(|progress| {
            progress.stuck = false;
            progress.written = entries.last().map_or(progress.written, |last| last.lsn);
        });
    }

    /// Everything is written: this life of the process is over.
    pub(super) async fn end_life(&self, limit: Duration) -> Farewell {
        tokio::select! {
            biased;
            () = self.abandoned() => Farewell::Abandoned,
            ended = tokio::time::timeout(limit, node::end_life(&self.db, self.inc)) => match ended {
                Ok(Ok(())) => {
                    self.progress.send_modify(|progress| progress.over = true);
                    Farewell::Said
                }
                Ok(Err(_)) | Err(_) => {
                    tracing::warn!(life = self.inc, "the database was not told that a node has stopped");
                    Farewell::Unheard
                }
            },
        }
    }

    /// Writing has been given up. What is in the journal is written by the next process.
    pub(super) fn leave(&self, entries: &[Entry]) {
        let kept = entries.iter().filter(|entry| entry.survives()).count();
        if kept > 0 {
            tracing::warn!(records = kept, "records are left in the journal; the next start writes them");
        }
        for record in entries.iter().filter(|entry| !entry.survives()).filter_map(Entry::record) {
            self.give_up(record, STOPPED);
        }
    }

    /// The record will not be in the database: the log is the last place to keep it.
    pub(super) fn give_up(&self, record: &LedgerRecord, error: &str) {
        tracing::error!(error, record = %row::json(record), "a record of the ledger could not be written");
        self.done(&self.stats.failed, 1);
    }

    /// A record is nowhere any more.
    pub(super) fn lost(&self) {
        self.done(&self.stats.failed, 1);
    }

    fn done(&self, counter: &AtomicU64, records: usize) {
        let records = records as u64;
        counter.fetch_add(records, Ordering::Relaxed);
        self.stats.pending.fetch_sub(records, Ordering::Relaxed);
    }

    async fn wait(&self, retry: &mut Backoff, error: &str) {
        if retry.is_calm() {
            let pending = self.stats.pending.load(Ordering::Relaxed);
            tracing::warn!(error, pending, "cannot write the ledger; trying again until it works");
        }
        self.progress.send_modify(|progress| progress.stuck = true);
        tokio::select! {
            () = tokio::time::sleep(retry.next()) => {}
            () = self.abandoned() => {}
        }
    }
}

/// Writes rows, details, and the sums of the rows that were not there before.
pub(super) async fn put(
    transaction: &DatabaseTransaction,
    prices: &Numbered,
    records: &[&LedgerRecord],
) -> Result<(), DbErr> {
    if records.is_empty() {
        return Ok(());
    }
    let state = quarters::enter(transaction).await?;
    let inserted = charges::insert(transaction, records, prices).await?;
    // A correction is of a request that has its details, or had them long enough; whoever has lost a race, of one that has
    // them with the winner.
    let is_whole = |record: &&LedgerRecord| !matches!(record.outcome, Outcome::Corrected | Outcome::LostRace);
    let requests = records.iter().copied().filter(is_whole);
    row::DETAILS.put(transaction, requests).await?;
    quarters::add(transaction, &state, &inserted).await?;
    Rollup::of(inserted).put(transaction).await
}

fn records(entries: &[Entry]) -> impl Iterator<Item = &LedgerRecord> {
    entries.iter().filter_map(Entry::record)
}

/// The second half comes first: the parts are a stack. What is of one request stays together if it can: while a journal is
/// recovered, one of its attempts in the database would speak for the others.
fn halves(batch: &[Entry], part: Range<usize>) -> [Range<usize>; 2] {
    let half = part.start + part.len() / 2;
    let request = |at: usize| batch.get(at).and_then(Entry::record).map(|record| record.request_id);
    let begins = |at: &usize| request(*at).is_none() || request(*at) != request(at - 1);
    let middle = (half..part.end).find(begins).or_else(|| (part.start + 1..half).rev().find(begins)).unwrap_or(half);
    [middle..part.end, part.start..middle]
}
