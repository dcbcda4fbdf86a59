//! A database and the journals of processes that died before it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use entity::usage_ledger;
use parking_lot::Mutex;
use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::super::format::{OpenRequest, Seal};
use super::super::home::{HEADS, JournalHome, head};
use super::super::place::Journal;
use super::{Disk, PLACE, SEAL};
use crate::config::Interrupted;
use crate::ledger::batch::BatchWriter;
use crate::ledger::slot::Entry;
use crate::ledger::{LedgerRecord, Outcome, Recovered, begin_life, recover};
use crate::money::Usd;
use crate::store;

const STARTED: i64 = 1_000;
const NOW: i64 = 1_000_000;

/// Made once for many cases: each is a life of its own, with requests of its own.
pub struct World {
    runtime: Runtime,
    db: DatabaseConnection,
    home: JournalHome,
    folder: TempDir,
    requests: AtomicU64,
}

/// What the ledger says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    Nothing,
    /// Its exact cost.
    Exact,
    /// What it was expected to cost, at first or later.
    Interrupted,
}

/// What recovery has found, and where the file is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// Where it was: it could not be read at all.
    Left,
    /// Under another name.
    Kept,
    Removed,
}

impl World {
    pub fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("tollgate.db").display());
        let db = runtime.block_on(async {
            let db = store::connect(&url, 2).await.unwrap();
            store::migrate(&db).await.unwrap();
            db
        });
        let home = JournalHome::new(folder.path()).unwrap();
        Self { runtime, db, home, folder, requests: AtomicU64::new(1) }
    }

    /// The number of a request that there was not before. Every second one has names that do not fit into a sector.
    pub fn next(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// A process lived, wrote these records, and died; what is in its journal is recovered.
    pub fn recover(
        &self,
        written: &[(u64, u64)],
        mut file: Vec<u8>,
        damage: impl FnOnce(&mut Vec<u8>),
    ) -> (Recovered, File) {
        self.runtime.block_on(async {
            let inc = begin_life(&self.db, "node", true, STARTED).await.unwrap();
            let entries: Vec<_> = written.iter().map(|(lsn, n)| Entry::of(*lsn, record(*n))).collect();
            if !entries.is_empty() {
                BatchWriter::beside(&self.db, inc).transaction(&entries).await.unwrap();
            }
            for at in HEADS {
                let (at, head) = (usize::try_from(at).unwrap(), head(inc, STARTED, SEAL.0));
                file.resize(file.len().max(at + head.len()), 0);
                file[at..at + head.len()].copy_from_slice(&head);
            }
            damage(&mut file);
            let path = self.folder.path().join(format!("journal/{inc}-{STARTED}.journal"));
            std::fs::write(&path, &file).unwrap();
            let found = recover(&self.db, &self.home, Interrupted::Estimate, NOW).await.unwrap();
            let kept = path.with_extension("kept");
            let now = match (path.exists(), kept.exists()) {
                (false, false) => File::Removed,
                (false, true) => File::Kept,
                (true, false) => File::Left,
                (true, true) => panic!("it is there twice"),
            };
            // The next case has nothing to do with it.
            let _ = std::fs::remove_file(path);
            (found, now)
        })
    }

    /// What the ledger says of these requests. Fails when it is a wrong amount.
    pub fn rows(&self, of: impl IntoIterator<Item = u64>) -> BTreeMap<u64, Row> {
        let mut rows: BTreeMap<_, _> = of.into_iter().map(|n| (n, Row::Nothing)).collect();
        let ids: Vec<_> = rows.keys().map(|n| id(*n).to_string()).collect();
        let query = usage_ledger::Entity::find().filter(usage_ledger::Column::RequestId.is_in(ids));
        for row in self.runtime.block_on(query.all(&self.db)).unwrap() {
            let n = u64::try_from(Uuid::parse_str(&row.request_id).unwrap().as_u128()).unwrap();
            let (cost, estimates) = (cost(n).nanos(), [0, 1].map(|raised| estimate(n, raised).nanos()));
            let found = match row.outcome.as_str() {
                "completed" if row.cost_nanos == cost && !row.estimated => Row::Exact,
                "interrupted" if estimates.contains(&row.cost_nanos) && row.estimated => Row::Interrupted,
                _ => panic!("a wrong row of request {n}: {row:?}"),
            };
            assert_eq!(rows.insert(n, found), Some(Row::Nothing), "request {n} is there twice");
        }
        rows
    }
}

pub fn journal(disk: impl Disk + 'static, places: u64) -> Arc<Journal> {
    Arc::new(Journal::new(Box::new(disk), PathBuf::new(), Seal(SEAL.0), places * PLACE as u64))
}

fn id(n: u64) -> Uuid {
    Uuid::from_u128(n.into())
}

fn cost(n: u64) -> Usd {
    Usd::from_nanos(1_000 + i64::try_from(n).unwrap())
}

/// What it is expected to cost, at first and once that is more.
fn estimate(n: u64, raised: i64) -> Usd {
    Usd::from_nanos(1_000_000_000 + raised * 1_000_000_000 + i64::try_from(n).unwrap())
}

fn model(n: u64) -> String {
    if n.is_multiple_of(2) { "m".to_owned() } else { "long ".repeat(60) }
}

pub fn request(n: u64, raised: bool) -> OpenRequest<'static> {
    let names = model(n);
    OpenRequest {
        request_id: id(n),
        attempt: 1,
        estimate: estimate(n, raised.into()),
        requested_model: names.clone().into(),
        served_model: names.into(),
        ..super::request(0)
    }
}

pub fn record(n: u64) -> LedgerRecord {
    LedgerRecord {
        request_id: id(n),
        attempt: 1,
        requested_model: model(n),
        served_model: model(n),
        outcome: Outcome::Completed,
        estimated: false,
        cost: cost(n),
        ..super::record(0)
    }
}

/// A disk that forgets what was not forced to it, a sector here and a sector there.
#[derive(Clone, Debug, Default)]
pub struct Sectors(Arc<Mutex<SectorBytes>>);

#[derive(Debug, Default)]
struct SectorBytes {
    now: Vec<u8>,
    /// What each sector that was written since the last sync has been since then, the synced state first.
    versions: BTreeMap<usize, Vec<Vec<u8>>>,
}

pub const SECTOR: usize = 512;

impl Sectors {
    /// What is there after a power failure: of each sector that was not forced to disk, any state since the last sync.
    pub fn after_power_loss(&self, mut any: impl FnMut(usize) -> usize) -> Vec<u8> {
        let state = self.0.lock();
        let mut left = state.now.clone();
        for (sector, versions) in &state.versions {
            let version = &versions[any(versions.len())];
            left[sector * SECTOR..(sector + 1) * SECTOR].copy_from_slice(version);
        }
        left
    }

    /// Everything, as after the death of the process.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().now.clone()
    }

    pub fn is_synced(&self) -> bool {
        self.0.lock().versions.is_empty()
    }
}

impl Disk for Sectors {
    fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        let mut state = self.0.lock();
        let whole = (from + bytes.len()).next_multiple_of(SECTOR);
        if state.now.len() < whole {
            state.now.resize(whole, 0);
        }
        let sectors = from / SECTOR..whole / SECTOR;
        let at = |sector: usize| sector * SECTOR..(sector + 1) * SECTOR;
        for sector in sectors.clone() {
            let before = state.now[at(sector)].to_vec();
            state.versions.entry(sector).or_insert_with(|| vec![before]);
        }
        state.now[from..from + bytes.len()].copy_from_slice(bytes);
        for sector in sectors {
            let after = state.now[at(sector)].to_vec();
            state.versions.entry(sector).or_default().push(after);
        }
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
        let state = self.0.lock();
        let from = usize::try_from(offset).unwrap().min(state.now.len());
        let there = bytes.len().min(state.now.len() - from);
        bytes.fill(0);
        bytes[..there].copy_from_slice(&state.now[from..from + there]);
        Ok(())
    }

    fn sync(&self) -> std::io::Result<()> {
        self.0.lock().versions.clear();
        Ok(())
    }

    fn shrink(&self, length: u64) -> std::io::Result<()> {
        self.0.lock().now.truncate(usize::try_from(length).unwrap());
        Ok(())
    }
}
