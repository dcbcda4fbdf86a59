//! The heartbeat of this process in the database: it says that it lives, and learns whether the others still think so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use sea_orm::{DatabaseConnection, DbErr};
use tokio_util::sync::CancellationToken;

use super::node::{self, Fate};
use crate::budget::{Clock, Incarnation, Lifeline, Living};

/// How often it says that it lives, unless it would be given up too soon for that.
const EVERY: Duration = Duration::from_secs(5);
const EVERY_AT_LEAST: Duration = Duration::from_millis(100);

/// A database that takes longer has not heard it, as far as anybody knows.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Three beats: who was not seen for so long (milliseconds) is not counted among the living.
const LIVING: i64 = 15_000;

/// How long a node may be silent. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// After so long it does not spend any more.
    pub dead_after: i64,
    /// So long after that the others give it up.
    pub write_off: i64,
}

impl Silence {
    /// After so long the others give a node up.
    #[must_use]
    pub const fn given_up(self) -> i64 {
        self.dead_after.saturating_add(self.write_off)
    }
}

/// Why a beat came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum PulseError {
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] DbErr),
    /// It gave no answer.
    #[error("the database gave no answer within {TIMEOUT:?}")]
    Late,
}

/// The heartbeat of this process.
pub struct Pulse {
    db: DatabaseConnection,
    inc: Incarnation,
    clock: Clock,
    silence: ArcSwap<Silence>,
    /// When the last beat was sent that the database took.
    confirmed_at: AtomicI64,
    /// When the last statement was sent that the authority took: nobody is given up whom it hears.
    heard_at: AtomicI64,
    over: AtomicBool,
    living: ArcSwap<Vec<Incarnation>>,
}

impl Pulse {
    /// Of a life that began at `started_at` (Unix milliseconds).
    #[must_use]
    pub fn new(db: DatabaseConnection, inc: Incarnation, started_at: i64, silence: Silence, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            db,
            inc,
            clock,
            silence: ArcSwap::from_pointee(silence),
            confirmed_at: AtomicI64::new(started_at),
            heard_at: AtomicI64::new(i64::MIN),
            over: AtomicBool::new(false),
            living: ArcSwap::from_pointee(vec![inc]),
        })
    }

    /// Replaces what the configuration says.
    pub fn configure(&self, silence: Silence) {
        self.silence.store(Arc::new(silence));
    }

    /// How long a node may be silent.
    #[must_use]
    pub fn silence(&self) -> Silence {
        **self.silence.load()
    }

    /// The life that beats.
    #[must_use]
    pub const fn inc(&self) -> Incarnation {
        self.inc
    }

    /// When the last beat was sent that the database took, Unix milliseconds.
    #[must_use]
    pub fn confirmed_at(&self) -> i64 {
        self.confirmed_at.load(Ordering::Acquire)
    }

    /// Lives that go on, as of the last beat that was taken.
    #[must_use]
    pub fn living(self: &Arc<Self>) -> Living {
        let pulse = Arc::clone(self);
        Arc::new(move || pulse.living.load().to_vec())
    }

    /// Says that this process lives; what the database says of it.
    ///
    /// # Errors
    ///
    /// When it is not known whether the database took it.
    pub async fn beat(&self) -> Result<Fate, PulseError> {
        tokio::time::timeout(TIMEOUT, self.beat_now()).await.map_err(|_| PulseError::Late)?
    }

    async fn beat_now(&self) -> Result<Fate, PulseError> {
        let sent = (self.clock)();
        let fate = node::beat(&self.db, self.inc, sent).await?;
        if fate != Fate::Live {
            self.over.store(true, Ordering::Release);
            return Ok(fate);
        }
        self.confirmed_at.fetch_max(sent, Ordering::AcqRel);
        self.living.store(Arc::new(node::living(&self.db, sent.saturating_sub(LIVING)).await?));
        Ok(fate)
    }

    /// Nothing is said to the authority when the last beat is `write_off` ago: one may fail, and one be late.
    fn every(&self) -> Duration {
        let write_off = Duration::from_millis(u64::try_from(self.silence().write_off).unwrap_or_default());
        (write_off / 3).clamp(EVERY_AT_LEAST, EVERY)
    }

    /// Beats until it is stopped, or until the database says that this life is over: then it says how.
    pub async fn run(&self, stop: CancellationToken) -> Option<Fate> {
        let mut failing = false;
        loop {
            match stop.run_until_cancelled(self.beat()).await? {
                Ok(Fate::Live) => failing = false,
                Ok(fate) => return Some(fate),
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "the database was not told that this node lives; trying again");
                    }
                }
            }
            stop.run_until_cancelled(tokio::time::sleep(self.every())).await?;
        }
    }
}

impl Lifeline for Pulse {
    /// The others wait `dead_after` longer; that is left to clocks that differ.
    fn confirmed_until(&self) -> i64 {
        if self.over.load(Ordering::Acquire) {
            return i64::MIN;
        }
        let known = self.confirmed_at().max(self.heard_at.load(Ordering::Acquire));
        known.saturating_add(self.silence().write_off)
    }

    fn heard(&self, sent: i64) {
        self.heard_at.fetch_max(sent, Ordering::AcqRel);
    }
}
