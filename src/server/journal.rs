//! The beginning of a life: what earlier ones have left is brought into the database before anything is admitted.

use std::sync::Arc;

use sea_orm::DatabaseConnection;

use super::StartError;
use crate::clock::now_ms;
use crate::config::Config;
use crate::ledger::journal::{Journal, JournalHome};
use crate::ledger::{self, RecoveryError};
use crate::store::StoreError;

/// Recovers what processes that ended without a word have left, and begins a life and its journal.
///
/// `alone`: no other node uses the database.
pub(super) async fn begin(
    db: &DatabaseConnection,
    config: &Config,
    alone: bool,
) -> Result<(i64, Arc<Journal>), StartError> {
    let failed = |error| StartError::Journal { path: config.node.data_dir.clone(), error };
    let home = JournalHome::new(&config.node.data_dir).map_err(failed)?;
    ledger::recover(db, &home, config.ledger.interrupted, now_ms()).await.map_err(|error| match error {
        RecoveryError::Database(error) => StoreError::from(error).into(),
        RecoveryError::Journal(error) => failed(error),
    })?;
    let started_at = now_ms();
    let inc = ledger::begin_life(db, &config.node.name, alone, started_at).await.map_err(StoreError::from)?;
    let journal = home.begin(inc, started_at, config.ledger.journal_max, config.ledger.fsync).map_err(failed)?;
    Ok((inc, journal))
}
