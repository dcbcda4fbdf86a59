//! Writes refusals into the database, in batches, beside everything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use entity::refusals::{Column, Entity, Model};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::table::REFUSALS;
use super::tally::{Count, Tallies};
use crate::backoff::Backoff;
use crate::clock::now_ms;
use crate::store;

/// Rows of one transaction.
const BATCH: usize = 500;

/// How long the first row of a batch waits for others.
const GATHER: Duration = Duration::from_millis(100);

/// How often counts are brought up to date.
const TELL: Duration = Duration::from_secs(2);

/// Counts of one transaction, so that nobody else who writes waits for long.
const COUNTS_AT_ONCE: usize = 100;

/// What comes between two transactions: SQLite has no queue of writers.
const PAUSE: Duration = Duration::from_millis(20);

/// What one statement may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Writer {
    db: DatabaseConnection,
    rows: mpsc::Receiver<Model>,
    tallies: Arc<Tallies>,
    dropped: Arc<AtomicU64>,
    stop: CancellationToken,
}

/// What became of a batch.
enum Written {
    Yes,
    /// It may be tried again.
    NotYet(String),
    /// It will never be.
    Never(String),
}

impl Writer {
    pub(super) const fn new(
        db: DatabaseConnection,
        rows: mpsc::Receiver<Model>,
        tallies: Arc<Tallies>,
        dropped: Arc<AtomicU64>,
        stop: CancellationToken,
    ) -> Self {
        Self { db, rows, tallies, dropped, stop }
    }

    /// Until it is stopped, or nobody is left who could refuse anything.
    pub(super) async fn run(mut self) {
        let mut tell = tokio::time::interval_at(Instant::now() + TELL, TELL);
        tell.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                _ = tell.tick() => {
                    // A count whose row still waits says nothing to the database.
                    if self.rows.is_empty() {
                        let stop = self.stop.clone();
                        let _ = stop.run_until_cancelled(self.tell()).await;
                    }
                    // However long that took, rows come next.
                    tell.reset();
                }
                received = self.rows.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        break;
                    }
                    self.gather(&mut batch).await;
                    self.write(std::mem::take(&mut batch)).await;
                }
            }
        }
        self.finish().await;
    }

    async fn gather(&mut self, batch: &mut Vec<Model>) {
        // Also after a full one: whoever else writes is not to wait for all of them.
        let pause = if batch.len() < BATCH { GATHER } else { PAUSE };
        let _ = self.stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        while batch.len() < BATCH
            && let Ok(row) = self.rows.try_recv()
        {
            batch.push(row);
        }
    }

    /// Tries until it works. Meanwhile the queue fills up, and nothing else is asked of the database.
    async fn write(&self, batch: Vec<Model>) {
        let mut retry = Backoff::default();
        loop {
            match self.insert(&batch).await {
                Written::Yes => return,
                Written::Never(error) => {
                    tracing::error!(error, rows = batch.len(), "the database does not take these refusals");
                    return self.lose(batch.len() as u64);
                }
                Written::NotYet(error) => {
                    if retry.is_calm() {
                        tracing::warn!(%error, "cannot write refusals; trying again until it works");
                    }
                    if self.stop.run_until_cancelled(tokio::time::sleep(retry.next())).await.is_none() {
                        Self::says_dropped(batch.len(), &error);
                        return self.lose(batch.len() as u64);
                    }
                }
            }
        }
    }

    async fn insert(&self, batch: &[Model]) -> Written {
        let put = async {
            let transaction = store::begin_write(&self.db).await?;
            REFUSALS.put(&transaction, batch).await?;
            transaction.commit().await
        };
        match tokio::time::timeout(WRITE_TIMEOUT, put).await {
            Ok(Ok(())) => Written::Yes,
            Ok(Err(error)) if store::is_data_error(&error) => Written::Never(error.to_string()),
            Ok(Err(error)) => Written::NotYet(error.to_string()),
            Err(_) => Written::NotYet(format!("no answer within {WRITE_TIMEOUT:?}")),
        }
    }

    /// Brings counts up to date. What fails is said with the next ones.
    async fn tell(&self) {
        let now = now_ms();
        for counts in self.tallies.news(now).chunks(COUNTS_AT_ONCE) {
            match tokio::time::timeout(WRITE_TIMEOUT, self.update(counts)).await {
                Ok(Ok(missing)) => missing.into_iter().for_each(|count| self.lose(self.tallies.has_no_row(count, now))),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "counts of refusals were not written");
                    return;
                }
                Err(_) => {
                    tracing::warn!("counts of refusals were not written within {WRITE_TIMEOUT:?}; trying again later");
                    return;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Returns those whose row is not there.
    async fn update<'a>(&self, counts: &'a [Count]) -> Result<Vec<&'a Count>, DbErr> {
        let transaction = store::begin_write(&self.db).await?;
        let (mut known, mut missing) = (Vec::new(), Vec::new());
        for count in counts {
            let repeated = i64::try_from(count.repeated).unwrap_or(i64::MAX);
            let row = Entity::update_many().filter(Column::RequestId.eq(count.row.to_string()));
            let changed = row.col_expr(Column::Repeated, Expr::value(repeated)).exec(&transaction).await?;
            if changed.rows_affected > 0 { known.push(count) } else { missing.push(count) }
        }
        transaction.commit().await?;
        known.into_iter().for_each(|count| self.tallies.told(count));
        Ok(missing)
    }

    /// One try for what is left.
    async fn finish(mut self) {
        self.rows.close();
        let mut batch = Vec::new();
        while self.rows.recv_many(&mut batch, BATCH).await > 0 {
            match self.insert(&batch).await {
                Written::Yes => {}
                Written::Never(error) => {
                    tracing::error!(error, rows = batch.len(), "the database does not take these refusals");
                    self.lose(batch.len() as u64);
                }
                Written::NotYet(error) => {
                    let left = batch.len() + self.rows.len();
                    Self::says_dropped(left, &error);
                    self.lose(left as u64);
                    break;
                }
            }
            batch.clear();
        }
        self.tell().await;
        self.lose(self.tallies.give_up());
    }

    fn says_dropped(rows: usize, error: &str) {
        tracing::warn!(error, rows, "refusals are dropped: the gateway stopped before they were written");
    }

    fn lose(&self, refusals: u64) {
        self.dropped.fetch_add(refusals, Ordering::Relaxed);
    }
}
