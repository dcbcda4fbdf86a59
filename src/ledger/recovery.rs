//! Brings into the database what processes that ended without a word have left in their journals.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::Ordering;

use entity::{gateway_nodes, usage_ledger};
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QuerySelect};

use super::batch::{BatchWriter, Farewell, WRITE_TIMEOUT};
use super::eras::Eras;
use super::journal::{DeadJournal, Found, JournalHome, OpenRequest};
use super::node;
use super::slot::Entry;
use super::{LedgerRecord, Outcome};
use crate::config::Interrupted;
use crate::dialect::Usage;
use crate::money::Usd;

/// A process that was seen so lately (milliseconds) lives.
const SEEN_LATELY: i64 = 30_000;

/// Records per transaction.
const BATCH: usize = 500;

/// What the client got, as far as anybody knows.
const STATUS: u16 = 503;

/// What was found in the journals of processes that had ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Lives that had ended.
    pub lives: u64,
    /// Records that were not in the database yet.
    pub records: u64,
    /// Requests whose end nobody knows.
    pub interrupted: u64,
    /// Of these, those whose record was there and cannot be read.
    pub unreadable: u64,
    /// Places of which nothing can be read.
    pub damaged: u64,
    /// Records that the database refused; they are in the log.
    pub refused: u64,
    /// Lives that are over now: the authority of the budgets is to be told.
    pub closed: Vec<i64>,
}

/// Why nothing could be recovered. The journals are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] DbErr),
    /// A journal cannot be read.
    #[error("a journal cannot be read: {0}")]
    Journal(#[from] io::Error),
}

/// Writes what is left in journals whose processes have ended, and removes them. To be done before a budget is read
/// from the ledger. Can be interrupted anywhere and done again.
///
/// # Errors
///
/// When the database or a journal cannot be read.
pub async fn recover(
    db: &DatabaseConnection,
    home: &JournalHome,
    interrupted: Interrupted,
    now: i64,
) -> Result<Recovered, RecoveryError> {
    let mut recovered = Recovered::default();
    for journal in home.dead()? {
        let life = gateway_nodes::Entity::find_by_id(journal.inc).one(db).await?;
        let Some(life) = life.filter(|life| life.started_at == journal.started_at) else {
            tracing::error!(
                path = %journal.path().display(),
                "this journal was written for another database; it is left as it is: start with that database, or move \
                 the file away"
            );
            continue;
        };
        if journal.copied && life.state == node::LIVE && now - life.seen_at < SEEN_LATELY {
            tracing::warn!(
                path = %journal.path().display(), life = journal.inc, node = life.name,
                "this is a copy of the journal of a process that was there a moment ago; it is left alone until that process \
                 has ended, or was not seen for a while: give every node a node.data_dir of its own, made by itself"
            );
            continue;
        }
        let applied = u64::try_from(life.applied_lsn).unwrap_or(0);
        let found = Recovery { db, journal: &journal, interrupted, now }.run(applied).await?;
        recovered.add(&found);
        let Recovered { records, interrupted, unreadable, damaged, refused, .. } = found;
        let life = journal.inc;
        if found.closed.is_empty() {
            tracing::warn!(life, "what a process has left is in the database, but not that it is over; trying again");
            continue;
        }
        tracing::info!(life, records, interrupted, "recovered what a process has left in its journal");
        if unreadable + damaged + refused == 0 {
            journal.remove()?;
            continue;
        }
        let path = journal.put_aside()?;
        tracing::error!(
            life, unreadable, damaged, refused, path = %path.display(),
            "not all of a journal could be recovered, so the file is kept: of unreadable records the estimate was charged, \
             of damaged places nothing; refused records are in the log"
        );
    }
    Ok(recovered)
}

impl Recovered {
    fn add(&mut self, other: &Self) {
        self.lives += other.lives;
        self.records += other.records;
        self.interrupted += other.interrupted;
        self.unreadable += other.unreadable;
        self.damaged += other.damaged;
        self.refused += other.refused;
        self.closed.extend(&other.closed);
    }
}

struct Recovery<'a> {
    db: &'a DatabaseConnection,
    journal: &'a DeadJournal,
    interrupted: Interrupted,
    now: i64,
}

/// What a first look finds: of records only where they are, for there can be many.
#[derive(Default)]
struct Inventory {
    /// By number.
    records: Vec<(u64, u32)>,
    open: Vec<OpenRequest<'static>>,
    /// What can be said so far.
    found: Recovered,
}

impl Recovery<'_> {
    async fn run(&self, applied: u64) -> Result<Recovered, RecoveryError> {
        let Inventory { mut records, mut open, mut found } = self.look(applied);
        records.sort_unstable();
        let writer = BatchWriter::beside(self.db, self.journal.inc);
        for batch in records.chunks(BATCH) {
            let mut entries = Vec::with_capacity(batch.len());
            for (lsn, place) in batch {
                if let Found::Ended(_, record) = self.journal.read(*place)? {
                    entries.push(Entry::of(*lsn, record));
                }
            }
            write(&writer, entries).await;
        }
        let mut last = records.last().map_or(applied, |(lsn, _)| *lsn);
        // The same order however often this is done.
        open.sort_unstable_by_key(|request| (request.request_id, request.attempt));
        // All of a request together: what is written of one of its attempts is taken for what became of the others.
        let mut new = Vec::with_capacity(open.len());
        for batch in open.chunks(BATCH) {
            new.extend(self.not_recorded(batch).await?);
        }
        for batch in by_request(&new) {
            let eras = self.eras(batch).await?;
            let entries: Vec<Entry> = batch
                .iter()
                .map(|request| {
                    last = last.saturating_add(1);
                    Entry::of(last, self.record(request, &eras))
                })
                .collect();
            found.interrupted += entries.len() as u64;
            write(&writer, entries).await;
        }
        if writer.end_life(WRITE_TIMEOUT).await == Farewell::Said {
            found.closed.push(self.journal.inc);
        }
        found.refused = writer.stats.failed();
        Ok(found)
    }

    fn look(&self, applied: u64) -> Inventory {
        let mut inventory = Inventory { found: Recovered { lives: 1, ..Recovered::default() }, ..Inventory::default() };
        let found = &mut inventory.found;
        for place in self.journal.places() {
            // What the disk does not give back must not keep the rest from being recovered.
            match self.journal.read(place).unwrap_or(Found::Damaged) {
                Found::Ended(lsn, _) if lsn > applied => {
                    found.records += 1;
                    inventory.records.push((lsn, place));
                }
                Found::Open { request, damaged } => {
                    found.unreadable += u64::from(damaged);
                    inventory.open.push(request);
                }
                Found::Damaged => found.damaged += 1,
                Found::Ended(..) | Found::Nothing => {}
            }
        }
        inventory
    }

    /// Those that nothing is known of. After a power failure an opening can be older than what became of it. Whoever has
    /// lost a race has a record beside that of the winner, and neither says anything about the other.
    async fn not_recorded<'r>(
        &self,
        requests: &'r [OpenRequest<'static>],
    ) -> Result<Vec<&'r OpenRequest<'static>>, DbErr> {
        use usage_ledger::Column::{Attempt, Outcome as How, RequestId};
        let ids = requests.iter().map(|request| request.request_id.to_string());
        let query = usage_ledger::Entity::find().select_only().columns([RequestId, Attempt, How]);
        let known: Vec<(String, i32, String)> = query.filter(RequestId.is_in(ids)).into_tuple().all(self.db).await?;
        let lost = Outcome::LostRace.as_str();
        let attempt = |(id, attempt, how): &(String, i32, String)| (id.clone(), (how == lost).then_some(*attempt));
        let known: HashSet<(String, Option<i32>)> = known.iter().map(attempt).collect();
        let is_new = |request: &&OpenRequest<'_>| {
            let id = request.request_id.to_string();
            let itself = (id.clone(), Some(i32::from(request.attempt)));
            !known.contains(&itself) && (request.has_lost || !known.contains(&(id, None)))
        };
        Ok(requests.iter().filter(is_new).collect())
    }

    async fn eras(&self, requests: &[&OpenRequest<'_>]) -> Result<Eras, DbErr> {
        let users = requests.iter().map(|request| request.user_id).collect();
        Eras::read(self.db, users, requests.iter().map(|request| request.key_id).collect()).await
    }

    fn record(&self, request: &OpenRequest<'_>, eras: &Eras) -> LedgerRecord {
        LedgerRecord {
            request_id: request.request_id,
            attempt: request.attempt,
            created_at: request.created_at,
            settled_at: self.now,
            user_id: request.user_id,
            key_id: request.key_id,
            provider: request.provider.as_ref().into(),
            dialect: request.dialect,
            requested_model: request.requested_model.to_string(),
            served_model: request.served_model.to_string(),
            model_group_id: request.model_group_id,
            outcome: if request.has_lost { Outcome::LostRace } else { Outcome::Interrupted },
            estimated: true,
            status: STATUS,
            duration_ms: self.now.saturating_sub(request.created_at).max(0),
            first_byte_ms: None,
            usage: Usage::default(),
            cost: match self.interrupted {
                Interrupted::Estimate => request.estimate,
                Interrupted::Zero => Usd::ZERO,
            },
            price: None,
            counted_in_user_global: request.counted_in_user_global,
            counted_in_key_global: request.counted_in_key_global,
            user_era: eras.of_user(request.user_id, request.user_era),
            key_era: eras.of_key(request.key_id, request.key_era),
            stream: request.stream,
            request_bytes: request.request_bytes,
            response_bytes: 0,
            attempts: Vec::new(),
        }
    }
}

/// Batches, in none of which there is only a part of what is known of a request.
fn by_request<'r, 'a>(mut rest: &'r [&'a OpenRequest<'a>]) -> impl Iterator<Item = &'r [&'a OpenRequest<'a>]> {
    std::iter::from_fn(move || {
        let last = rest.get(..BATCH).unwrap_or(rest).last()?.request_id;
        let (batch, later) = rest.split_at(rest.partition_point(|request| request.request_id <= last));
        rest = later;
        Some(batch)
    })
}

async fn write(writer: &BatchWriter, entries: Vec<Entry>) {
    writer.stats.pending.fetch_add(entries.len() as u64, Ordering::Relaxed);
    writer.write(entries).await;
}
