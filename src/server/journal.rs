//! The beginning of a life: what earlier ones have left is brought into the database before anything is admitted. And what
//! others leave later: the process that this one took over from may die as well.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::clock::now_ms;
use crate::config::Config;
use crate::ledger::journal::{Journal, JournalHome};
use crate::ledger::{self, RecoveryError};
use crate::store::StoreError;

/// How often it is looked whether another process has ended.
const LOOK: Duration = Duration::from_secs(30);

/// Recovers what processes that ended without a word have left, and begins a life and its journal.
///
/// `alone`: no other node uses the database. Returns the number of the life, when it began, and its journal.
pub(super) async fn begin(
    db: &DatabaseConnection,
    config: &Config,
    alone: bool,
) -> Result<(i64, i64, Arc<Journal>), StartError> {
    let failed = |error| StartError::Journal { path: config.node.data_dir.clone(), error };
    let home = JournalHome::new(&config.node.data_dir).map_err(failed)?;
    ledger::recover(db, &home, config.ledger.interrupted, now_ms()).await.map_err(|error| match error {
        RecoveryError::Database(error) => StoreError::from(error).into(),
        RecoveryError::Journal(error) => failed(error),
    })?;
    let started_at = now_ms();
    let inc = ledger::begin_life(db, &config.node.name, alone, started_at).await.map_err(StoreError::from)?;
    let journal = home.begin(inc, started_at, config.ledger.journal_max, config.ledger.fsync).map_err(failed)?;
    Ok((inc, started_at, journal))
}

/// Recovers what other processes leave, until it is stopped. Whoever tells the authority is told that there is something.
pub(super) fn keep_recovering(
    db: DatabaseConnection,
    config: &Config,
    found: Arc<Notify>,
    stop: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let (data_dir, interrupted) = (config.node.data_dir.clone(), config.ledger.interrupted);
    async move {
        let Ok(home) = JournalHome::new(&data_dir) else { return };
        while tokio::time::timeout(LOOK, stop.cancelled()).await.is_err() {
            match ledger::recover(&db, &home, interrupted, now_ms()).await {
                Ok(recovered) if recovered.closed.is_empty() => {}
                Ok(_) => found.notify_one(),
                Err(error) => {
                    tracing::warn!(%error, "what another process has left is not recovered yet; trying again");
                }
            }
        }
    }
}
