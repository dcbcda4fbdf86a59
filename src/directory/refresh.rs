//! Reads all remembered keys again, now and then: whatever message was lost, the truth arrives.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sea_orm::DbErr;
use tokio_util::sync::CancellationToken;

use super::cache::Noted;
use super::principal::fingerprint;
use super::{Directory, read};

const EVERY: Duration = Duration::from_secs(30);

/// After a refresh that failed.
const AGAIN: Duration = Duration::from_secs(5);

/// A query that takes longer counts as failed.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Keys per query.
const CHUNK: usize = 500;

impl Directory {
    /// Refreshes until `stop`. While the database is away, what is remembered goes on being used.
    pub async fn keep_fresh(&self, stop: CancellationToken) {
        let mut wait = EVERY;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.inner.doubt.notified() => {}
            }
            let now = jiff::Timestamp::now().as_millisecond();
            wait = match self.refresh(now).await {
                Ok(()) => EVERY,
                Err(error) => {
                    let age_seconds = self.snapshot_age(now).as_secs();
                    tracing::warn!(%error, age_seconds, "cannot refresh the keys; the old ones go on being used");
                    AGAIN
                }
            };
        }
    }

    /// Reads all remembered keys again.
    ///
    /// # Errors
    ///
    /// What the database says. What was refreshed before the error stays so.
    pub async fn refresh(&self, now: i64) -> Result<(), DbErr> {
        in_time(Box::pin(self.inner.db.ping())).await?;
        for chunk in self.inner.cache.noted().chunks(CHUNK) {
            self.refresh_chunk(chunk).await?;
        }
        self.inner.fresh_at.fetch_max(now, Ordering::Relaxed);
        Ok(())
    }

    async fn refresh_chunk(&self, chunk: &[Noted]) -> Result<(), DbErr> {
        let hashes = chunk.iter().map(|noted| noted.hash);
        let mut rows = in_time(read::many(&self.inner.db, hashes)).await?;
        for noted in chunk {
            let read = match rows.remove(&noted.hash) {
                // Most have not changed: they keep their compiled patterns.
                Some((key, user)) if fingerprint(&key, &user) == noted.fingerprint => continue,
                Some((key, user)) => Some(read::principal(key, user)),
                None => None,
            };
            self.inner.cache.correct(noted, read);
        }
        Ok(())
    }
}

async fn in_time<T>(query: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    match tokio::time::timeout(QUERY_TIMEOUT, query).await {
        Ok(result) => result,
        Err(_) => Err(DbErr::Custom(format!("no answer within {QUERY_TIMEOUT:?}"))),
    }
}
