//! Writes one batch: again and again while the database is away, and around a record that it will never take.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use entity::{message_request, usage_ledger};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveModelTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait};
use tokio_util::sync::CancellationToken;

use super::writer::LedgerStats;
use super::{LedgerRecord, row};
use crate::backoff::Backoff;
use crate::store;

/// A transaction that takes longer counts as failed. It may have come through all the same: then the next one finds
/// its rows and leaves them as they are.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Rows per statement, the most first. Only a few different statements: the driver keeps them prepared, and parsing one
/// costs more than running it. Each half of the one before: a batch takes few round trips whatever its size. The
/// largest stays far below SQLite's 32 766 variables (PostgreSQL allows twice that).
const ROWS: [usize; 9] = [256, 128, 64, 32, 16, 8, 4, 2, 1];

/// Why records are given up at the end.
pub(super) const STOPPED: &str = "the gateway stopped before the database was back";

/// See the module.
pub(super) struct BatchWriter {
    db: DatabaseConnection,
    stats: Arc<LedgerStats>,
    abandon: CancellationToken,
}

/// What became of a part of a batch.
enum Attempt {
    Written,
    /// The same may well work later.
    Away(String),
    /// The database was there, and refused.
    Refused(DbErr),
}

impl BatchWriter {
    pub(super) fn new(db: DatabaseConnection, stats: Arc<LedgerStats>, abandon: CancellationToken) -> Self {
        Self { db, stats, abandon }
    }

    /// Returns once writing has been given up.
    pub(super) async fn abandoned(&self) {
        self.abandon.cancelled().await;
    }

    /// Returns when every record is in the database or, if it cannot be, in the log.
    pub(super) async fn write(&self, batch: Vec<LedgerRecord>) {
        let mut retry = Backoff::default();
        let mut any_written = false;
        // Parts that are still to be written, the next one last. A part that is refused is halved, until the record
        // at fault is alone.
        let mut parts: Vec<Range<usize>> = std::iter::once(0..batch.len()).collect();
        while let Some(part) = parts.pop() {
            let records = &batch[part.clone()];
            let Some(first) = records.first() else { continue };
            self.stats.oldest.store(first.settled_at, Ordering::Relaxed);
            let attempt = tokio::select! {
                biased;
                () = self.abandoned() => {
                    parts.push(part);
                    break;
                }
                attempt = self.insert(records) => attempt,
            };
            match attempt {
                Attempt::Written => {
                    any_written = true;
                    retry = Backoff::default();
                    self.done(&self.stats.written, records.len());
                }
                Attempt::Refused(_) if records.len() > 1 => parts.extend(halves(part)),
                // One record alone is at fault if the error says so, or if others went through.
                Attempt::Refused(error) if any_written || store::is_data_error(&error) => {
                    self.give_up(first, &error.to_string());
                }
                Attempt::Refused(error) => {
                    parts.push(part);
                    self.wait(&mut retry, &error.to_string()).await;
                }
                Attempt::Away(error) => {
                    parts.push(part);
                    self.wait(&mut retry, &error).await;
                }
            }
        }
        for record in parts.into_iter().rev().flat_map(|part| &batch[part]) {
            self.give_up(record, STOPPED);
        }
        self.stats.oldest.store(0, Ordering::Relaxed);
    }

    async fn insert(&self, records: &[LedgerRecord]) -> Attempt {
        match tokio::time::timeout(WRITE_TIMEOUT, self.transaction(records)).await {
            Ok(Ok(())) => Attempt::Written,
            Ok(Err(error)) if store::is_away(&error) => Attempt::Away(error.to_string()),
            Ok(Err(error)) => Attempt::Refused(error),
            Err(_) => Attempt::Away(format!("no answer within {WRITE_TIMEOUT:?}")),
        }
    }

    async fn transaction(&self, records: &[LedgerRecord]) -> Result<(), DbErr> {
        use usage_ledger::Column::{Attempt as Number, RequestId};
        let transaction = store::begin_write(&self.db).await?;
        insert_new(&transaction, records.iter().map(row::charge), OnConflict::columns([RequestId, Number])).await?;
        let known = OnConflict::column(message_request::Column::RequestId);
        insert_new(&transaction, records.iter().map(row::detail), known).await?;
        transaction.commit().await
    }

    /// The record will not be in the database: the log is the last place to keep it.
    pub(super) fn give_up(&self, record: &LedgerRecord, error: &str) {
        tracing::error!(error, record = %row::json(record), "a record of the ledger could not be written");
        self.done(&self.stats.failed, 1);
    }

    fn done(&self, counter: &std::sync::atomic::AtomicU64, records: usize) {
        let records = records as u64;
        counter.fetch_add(records, Ordering::Relaxed);
        self.stats.pending.fetch_sub(records, Ordering::Relaxed);
    }

    async fn wait(&self, retry: &mut Backoff, error: &str) {
        if retry.is_calm() {
            let pending = self.stats.pending.load(Ordering::Relaxed);
            tracing::warn!(error, pending, "cannot write the ledger; trying again until it works");
        }
        tokio::select! {
            () = tokio::time::sleep(retry.next()) => {}
            () = self.abandoned() => {}
        }
    }
}

/// Inserts rows, leaving those alone that are there already.
async fn insert_new<A: ActiveModelTrait + Send>(
    transaction: &DatabaseTransaction,
    mut rows: impl ExactSizeIterator<Item = A>,
    mut same: OnConflict,
) -> Result<(), DbErr> {
    same.do_nothing();
    while let Some(size) = ROWS.into_iter().find(|size| *size <= rows.len()) {
        let chunk: Vec<A> = rows.by_ref().take(size).collect();
        A::Entity::insert_many(chunk).on_conflict(same.clone()).exec_without_returning(transaction).await?;
    }
    Ok(())
}

/// The second half comes first: the parts are a stack.
fn halves(part: Range<usize>) -> [Range<usize>; 2] {
    let middle = part.start + part.len() / 2;
    [middle..part.end, part.start..middle]
}
