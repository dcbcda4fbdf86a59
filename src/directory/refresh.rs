//! Reads all remembered keys again, now and then: whatever message was lost, the truth arrives.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sea_orm::DbErr;
use tokio_util::sync::CancellationToken;

use super::read;
use super::secret::SecretHash;
use super::{Directory, Principal};

const EVERY: Duration = Duration::from_secs(30);

/// After a refresh that failed.
const AGAIN: Duration = Duration::from_secs(5);

/// A query that takes longer counts as failed.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Keys per query.
const CHUNK: usize = 500;

/// How often a chunk is read again because an invalidation came in between. Then the rest waits for the next refresh:
/// what the invalidations named has been forgotten anyway.
const TRIES: usize = 3;

impl Directory {
    /// Refreshes until `stop`. While the database is away, what is remembered goes on being used.
    pub async fn keep_fresh(&self, stop: CancellationToken) {
        let mut wait = EVERY;
        while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
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
        in_time(self.inner.db.ping()).await?;
        for chunk in self.inner.cache.hashes().chunks(CHUNK) {
            for _ in 0..TRIES {
                if self.refresh_chunk(chunk).await? {
                    break;
                }
            }
        }
        self.inner.fresh_at.fetch_max(now, Ordering::Relaxed);
        Ok(())
    }

    async fn refresh_chunk(&self, hashes: &[SecretHash]) -> Result<bool, DbErr> {
        let cache = &self.inner.cache;
        let generation = cache.generation();
        let rows = in_time(read::many(&self.inner.db, hashes)).await?;
        let mut changed: Vec<SecretHash> = hashes.iter().filter(|hash| !rows.contains_key(hash)).copied().collect();
        let mut principals: HashMap<SecretHash, (u64, Arc<Principal>)> = HashMap::new();
        for (hash, (key, user)) in rows {
            // Most have not changed: they keep their compiled patterns.
            if cache.fingerprint(&hash) != Some(super::principal::fingerprint(&key, &user)) {
                changed.push(hash);
                principals.insert(hash, read::principal(key, user));
            }
        }
        Ok(cache.correct(generation, &changed, &principals))
    }
}

async fn in_time<T>(query: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    match tokio::time::timeout(QUERY_TIMEOUT, query).await {
        Ok(result) => result,
        Err(_) => Err(DbErr::Custom(format!("no answer within {QUERY_TIMEOUT:?}"))),
    }
}
