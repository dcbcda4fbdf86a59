//! Model groups, user groups, limits and boosts: kept as the database has them, and looked into without locks.
//!
//! After a change only that is read, and a state shares with the one before what is the same in both; from time to time
//! everything is. A state that cannot be read again goes on being used, and says how old it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use sea_orm::{DatabaseConnection, DbErr};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::limit_rows::{self, Contained};
use crate::clock::{boot_ms, now_ms};
use crate::limit::Snapshot;

const EVERY: Duration = Duration::from_secs(30);

/// After a reading that failed.
const AGAIN: Duration = Duration::from_secs(5);

/// A reading that takes longer counts as failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A state that is known to exist is waited for so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// After it has waited in vain nobody waits for so long (milliseconds).
const BEHIND: i64 = 1_000;

/// Keeps the newest state that could be read.
#[derive(Debug)]
pub struct LimitKeeper {
    db: DatabaseConnection,
    snapshot: ArcSwap<Snapshot>,
    known: AtomicBool,
    /// Unix milliseconds at which the state was true.
    fresh_at: AtomicI64,
    /// Until then (milliseconds since the machine was started) nobody waits for a newer state.
    behind_until: AtomicI64,
    /// Wakes the refresh.
    doubt: Notify,
    /// One reader at a time: an older state must not be stored after a newer one.
    reading: tokio::sync::Mutex<Option<Contained>>,
    /// Readings that have begun, by number, and the last one that succeeded.
    begun: AtomicU64,
    done: AtomicU64,
}

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Much {
    /// What has changed.
    Changes,
    /// Whatever others than this program have done.
    All,
}

impl LimitKeeper {
    /// Reads the first state. If that fails, there is none until a later reading succeeds: see [`Self::is_known`].
    pub async fn start(db: DatabaseConnection, now: i64) -> Arc<Self> {
        let keeper = Arc::new(Self {
            db,
            snapshot: ArcSwap::default(),
            known: AtomicBool::new(false),
            fresh_at: AtomicI64::new(now),
            behind_until: AtomicI64::new(0),
            doubt: Notify::new(),
            reading: tokio::sync::Mutex::default(),
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
        });
        if let Err(error) = keeper.read(now).await {
            tracing::error!(%error, "the limits of model groups cannot be read; trying again");
        }
        keeper
    }

    /// The state in force.
    #[must_use]
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Whether any state was ever read. Without one it is not known which models are in which groups.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    /// How old the state is.
    #[must_use]
    pub fn age(&self, now: i64) -> Duration {
        let age = now.saturating_sub(self.fresh_at.load(Ordering::Relaxed));
        Duration::from_millis(u64::try_from(age).unwrap_or(0))
    }

    /// Says that something has changed: the state is read again at once, by [`Self::keep_fresh`].
    pub fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Reads what has changed; when this returns, the state of now is in force.
    ///
    /// # Errors
    ///
    /// What the database says. The old state stays in force.
    pub async fn read(&self, now: i64) -> Result<(), DbErr> {
        self.read_unless(|_| false, Much::Changes, now).await
    }

    /// Who waits while others read does not read again what one of them has begun to read after he came.
    async fn read_unless(&self, enough: impl Fn(&Snapshot) -> bool, much: Much, now: i64) -> Result<(), DbErr> {
        let begun = self.begun.load(Ordering::SeqCst);
        let mut contained = self.reading.lock().await;
        if enough(&self.snapshot()) || (much == Much::Changes && self.done.load(Ordering::SeqCst) > begun) {
            return Ok(());
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        match tokio::time::timeout(TIMEOUT, self.take_over(&mut contained, much, now)).await {
            Ok(read) => read?,
            Err(_) => return Err(DbErr::Custom(format!("no answer within {TIMEOUT:?}"))),
        }
        self.done.store(number, Ordering::SeqCst);
        self.fresh_at.fetch_max(now, Ordering::Relaxed);
        self.known.store(true, Ordering::Release);
        Ok(())
    }

    async fn take_over(&self, contained: &mut Option<Contained>, much: Much, now: i64) -> Result<(), DbErr> {
        if let Some(known) = contained.as_mut().filter(|_| much == Much::Changes)
            && let Some(changed) = limit_rows::since(&self.db, known, now).await?
        {
            known.apply(&changed);
            self.snapshot.store(Arc::new(self.snapshot().changed(changed.data, &changed.gone)));
            return Ok(());
        }
        let (data, known) = limit_rows::whole(&self.db, now).await?;
        *contained = Some(known);
        self.snapshot.store(Arc::new(Snapshot::new(data)));
        Ok(())
    }

    /// Somebody has met a row of this stamp: when this returns, the state contains whatever was changed with it, unless
    /// the database does not say so in time.
    pub async fn catch_up(&self, stamp: i64) {
        if self.snapshot().contains(stamp) || boot_ms() < self.behind_until.load(Ordering::Relaxed) {
            return;
        }
        // Whoever was first has read it for all.
        self.read_in_time(|known| known.contains(stamp)).await;
        if !self.snapshot().contains(stamp) {
            self.behind_until.store(boot_ms().saturating_add(BEHIND), Ordering::Relaxed);
        }
    }

    /// Something was changed elsewhere: when this returns, it is in force, unless the database does not say so in time.
    pub async fn refresh(&self) {
        self.read_in_time(|_| false).await;
    }

    async fn read_in_time(&self, enough: impl Fn(&Snapshot) -> bool) {
        let read = self.read_unless(enough, Much::Changes, now_ms());
        let problem = match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(late) => late.to_string(),
        };
        tracing::warn!(problem, "limits that were changed elsewhere cannot be read; the old ones go on being used");
        self.doubt();
    }

    /// Reads the state again and again until `stop`.
    pub async fn keep_fresh(&self, stop: CancellationToken) {
        let mut wait = if self.is_known() { EVERY } else { AGAIN };
        loop {
            let much = tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => Much::All,
                () = self.doubt.notified() => Much::Changes,
            };
            let now = now_ms();
            wait = match self.read_unless(|_| false, much, now).await {
                Ok(()) => EVERY,
                Err(error) => {
                    let age_seconds = self.age(now).as_secs();
                    tracing::warn!(%error, age_seconds, "cannot refresh the limits; the old ones go on being used");
                    AGAIN
                }
            };
        }
    }
}
