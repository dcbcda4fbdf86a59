//! The beginning of a life: what earlier ones have left is brought into the database before anything is admitted. And what
//! others leave later: the process that this one took over from may die as well.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::clock::now_ms;
use crate::config::{Config, Interrupted};
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
    look_every(LOOK, db, config.node.data_dir.clone(), config.ledger.interrupted, found, stop)
}

async fn look_every(
    time: Duration,
    db: DatabaseConnection,
    data_dir: PathBuf,
    interrupted: Interrupted,
    found: Arc<Notify>,
    stop: CancellationToken,
) {
    let Ok(home) = JournalHome::new(&data_dir) else { return };
    while tokio::time::timeout(time, stop.cancelled()).await.is_err() {
        match ledger::recover(&db, &home, interrupted, now_ms()).await {
            Ok(recovered) if recovered.closed.is_empty() => {}
            Ok(_) => found.notify_one(),
            Err(error) => {
                tracing::warn!(%error, "what another process has left is not recovered yet; trying again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::Instant;

    use entity::usage_ledger;
    use sea_orm::EntityTrait;
    use uuid::Uuid;

    use super::*;
    use crate::dialect::Dialect;
    use crate::ledger::journal::OpenRequest;
    use crate::money::Usd;
    use crate::store;

    fn request() -> OpenRequest<'static> {
        OpenRequest {
            request_id: Uuid::from_u128(1),
            attempt: 1,
            created_at: 1,
            user_id: 1,
            key_id: 2,
            provider: "pretend".into(),
            dialect: Dialect::OpenaiChat,
            requested_model: "m".into(),
            served_model: "m".into(),
            model_group_id: None,
            estimate: Usd::from_nanos(5),
            counted_in_user_global: true,
            counted_in_key_global: true,
            user_era: 0,
            key_era: 0,
            stream: false,
            request_bytes: 7,
            has_lost: false,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_another_process_leaves_is_recovered_while_this_one_runs() {
        let folder = tempfile::tempdir().unwrap();
        let db = store::connect(&format!("sqlite://{}", folder.path().join("t.db").display()), 4).await.unwrap();
        store::migrate(&db).await.unwrap();
        let home = JournalHome::new(folder.path()).unwrap();
        let begin = async |started_at| {
            let inc = ledger::begin_life(&db, "node", false, started_at).await.unwrap();
            (inc, home.begin(inc, started_at, 1 << 20, Duration::from_millis(5)).unwrap())
        };
        let (old, old_journal) = begin(1).await;
        let (own, own_journal) = begin(2).await;
        let mut ours = own_journal.take().unwrap();
        ours.open(&OpenRequest { request_id: Uuid::from_u128(2), ..request() }).unwrap();
        let mut theirs = old_journal.take().unwrap();
        theirs.open(&request()).unwrap();
        let stop = CancellationToken::new();
        let (look, data_dir) = (Duration::from_millis(20), folder.path().to_owned());
        let looking =
            tokio::spawn(look_every(look, db.clone(), data_dir, Interrupted::Estimate, Arc::default(), stop.clone()));
        let path = |inc, started| folder.path().join(format!("journal/{inc}-{started}.journal"));
        // It dies: its journal is there, and nobody has it locked.
        let copy = folder.path().join("copy");
        std::fs::copy(path(old, 1), &copy).unwrap();
        std::fs::rename(copy, path(old, 1)).unwrap();
        let start = Instant::now();
        while path(old, 1).exists() {
            assert!(start.elapsed() < Duration::from_secs(20), "it is never recovered");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        looking.await.unwrap();
        let rows = usage_ledger::Entity::find().all(&db).await.unwrap();
        let rows: Vec<_> = rows.iter().map(|row| (row.request_id.as_str(), &*row.outcome, row.cost_nanos)).collect();
        assert_eq!(rows, [("00000000-0000-0000-0000-000000000001", "interrupted", 5)]);
        assert!(path(own, 2).exists(), "that of the living is left alone");
        drop((ours, theirs));
    }
}
