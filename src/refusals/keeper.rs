//! Takes refusals in, from the requests that they are of. Nobody waits here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use entity::refusals::Model;
use parking_lot::Mutex;
use sea_orm::DatabaseConnection;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::record::Refusal;
use super::tally::{Kind, Tallies, Turn};
use super::writer::Writer;

/// Rows that wait for the database: about 8 MB, and 40 MB where names are as long as they may be.
pub(super) const QUEUE: usize = 4_096;

/// See the module.
#[derive(Debug)]
pub struct Refusals {
    queue: mpsc::Sender<Model>,
    tallies: Arc<Tallies>,
    dropped: Arc<AtomicU64>,
    stop: CancellationToken,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Refusals {
    /// Starts the task that writes them.
    #[must_use]
    pub fn start(db: DatabaseConnection) -> Self {
        let (queue, rows) = mpsc::channel(QUEUE);
        let (tallies, dropped, stop) =
            (Arc::<Tallies>::default(), Arc::<AtomicU64>::default(), CancellationToken::new());
        let writer = Writer::new(db, rows, Arc::clone(&tallies), Arc::clone(&dropped), stop.clone());
        let writer = Mutex::new(Some(tokio::spawn(writer.run())));
        Self { queue, tallies, dropped, stop, writer }
    }

    /// Keeps a refusal, or counts it where enough of its kind are kept. `story` is asked for only in the first case: it may
    /// take its time.
    pub fn keep(&self, kind: Kind, request: Uuid, now: i64, story: impl FnOnce() -> Refusal) {
        let room = self.queue.try_reserve().ok();
        match (self.tallies.take(kind, request, now, room.is_some()), room) {
            (Turn::Row, Some(room)) => room.send(story().into_row()),
            (Turn::Counted, _) => {}
            (Turn::Row, None) | (Turn::Dropped, _) => drop(self.dropped.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Refusals that are neither a row nor counted on one.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes what waits, for so long at most. What is refused from now on is dropped.
    pub async fn finish(&self, limit: Duration) {
        self.stop.cancel();
        let writer = self.writer.lock().take();
        if let Some(writer) = writer
            && tokio::time::timeout(limit, writer).await.is_err()
        {
            tracing::warn!("refusals that were not written in time are dropped");
        }
    }
}
