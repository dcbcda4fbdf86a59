//! The folder of journals: a file per life of a process, locked as long as that process lives.
//!
//! ```text
//! <inc>-<started at>.journal:  head (4 096 bytes)  |  place 0  |  place 1  |  ...
//! head (at 0 and at 2 048):  magic 8, version 4, bytes of a place 4, inc 8, started at 8, key 16, checksum 8
//! inode (at 1 024): 8
//! ```

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use sha2::{Digest, Sha256};

use super::disk::Disk;
use super::format::{Found, PLACE, Seal};
use super::place::{self, FIRST, Journal};

const MAGIC: [u8; 8] = *b"tollgjnl";
const VERSION: u32 = 1;
const HEAD: usize = 56;
const EXTENSION: &str = "journal";
/// What a journal is called that was damaged, or had records that the database refused.
const KEPT: &str = "kept";
/// Where the head stands, twice: without it nothing could be read.
pub(super) const HEADS: [u64; 2] = [0, 2_048];
/// Where the number stands that the file system gave the file: a copy has another one.
const INODE: u64 = 1_024;

/// The folder that this node's journals are in.
#[derive(Clone, Debug)]
pub struct JournalHome(PathBuf);

/// The journal of a process that has ended.
#[derive(Debug)]
pub struct DeadJournal {
    path: PathBuf,
    /// Locked until it is dropped: nobody else reads it meanwhile.
    file: File,
    seal: Seal,
    places: u32,
    /// The number of that life.
    pub inc: i64,
    /// When that life began, Unix milliseconds: with the number it tells whether it is one of this database.
    pub started_at: i64,
    /// It is not the file that the process wrote: a lock says nothing about whether that process lives.
    pub copied: bool,
}

impl JournalHome {
    /// Makes the folder if need be.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn new(data_dir: &Path) -> io::Result<Self> {
        let folder = data_dir.join("journal");
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    /// Begins the journal of this process, of at most so many bytes, forced to disk every `sync`.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn begin(&self, inc: i64, started_at: i64, max_bytes: u64, sync: Duration) -> io::Result<Arc<Journal>> {
        let name = format!("{inc}-{started_at}");
        // Others see it once it is locked.
        let new = self.0.join(format!("{name}.new"));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::Error::other("another process has locked it"),
        })?;
        let key = rand::rng().random();
        for at in HEADS {
            file.write_at(&head(inc, started_at, key), at)?;
        }
        file.write_at(&file.metadata()?.ino().to_le_bytes(), INODE)?;
        file.sync_all()?;
        let path = self.0.join(name).with_extension(EXTENSION);
        fs::rename(&new, &path)?;
        // The name as well.
        File::open(&self.0)?.sync_all()?;
        let journal = Arc::new(Journal::new(Box::new(file), path, Seal(key), max_bytes));
        journal.keep_synced(sync)?;
        Ok(journal)
    }

    /// The journals of processes that have ended, oldest life first. What is none is left alone, and reported.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn dead(&self) -> io::Result<Vec<DeadJournal>> {
        let mut dead = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            if path.extension() != Some(OsStr::new(EXTENSION)) {
                continue;
            }
            match DeadJournal::open(&path) {
                Ok(found) => dead.extend(found),
                Err(error) => {
                    tracing::error!(%error, path = %path.display(), "a journal cannot be read; it is left as it is");
                }
            }
        }
        dead.sort_by_key(|journal| journal.inc);
        Ok(dead)
    }
}

impl DeadJournal {
    /// None: its process lives.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let metadata = file.metadata()?;
        // Another process may have been faster, and done with it.
        if metadata.nlink() == 0 {
            return Ok(None);
        }
        let heads = HEADS.iter().filter_map(|at| {
            let mut bytes = [0; HEAD];
            file.read_at(&mut bytes, *at).ok()?;
            read_head(&bytes)
        });
        let (inc, started_at, key) =
            { heads }.next().ok_or_else(|| io::Error::other("its head is damaged, or of another version"))?;
        let places = metadata.len().saturating_sub(FIRST).div_ceil(PLACE as u64);
        let places = u32::try_from(places).unwrap_or(u32::MAX);
        let mut inode = [0; 8];
        // Earlier versions did not write it.
        if file.read_at(&mut inode, INODE).is_err() {
            inode = [0; 8];
        }
        let copied = ![0, metadata.ino()].contains(&u64::from_le_bytes(inode));
        Ok(Some(Self { path: path.to_owned(), file, seal: Seal(key), places, inc, started_at, copied }))
    }

    /// The numbers of its places.
    #[must_use]
    pub fn places(&self) -> std::ops::Range<u32> {
        0..self.places
    }

    /// What is in a place.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn read(&self, place: u32) -> io::Result<Found> {
        place::read(&self.file, &self.seal, place)
    }

    /// Everything in it is in the database.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// It is done with, and may be of use to somebody: it keeps its bytes under another name.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn put_aside(self) -> io::Result<PathBuf> {
        let kept = self.path.with_extension(KEPT);
        fs::rename(&self.path, &kept)?;
        Ok(kept)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

pub(super) fn head(inc: i64, started_at: i64, key: [u8; 16]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let place = u32::try_from(PLACE).unwrap_or(0);
    let parts: [&[u8]; 6] =
        [&MAGIC, &VERSION.to_le_bytes(), &place.to_le_bytes(), &inc.to_le_bytes(), &started_at.to_le_bytes(), &key];
    let mut at = 0;
    for part in parts {
        head[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    let checksum = Sha256::digest(&head[..at]);
    head[at..].copy_from_slice(&checksum[..HEAD - at]);
    head
}

fn read_head(bytes: &[u8; HEAD]) -> Option<(i64, i64, [u8; 16])> {
    let inc = i64::from_le_bytes(bytes[16..24].try_into().ok()?);
    let started_at = i64::from_le_bytes(bytes[24..32].try_into().ok()?);
    let key = bytes[32..48].try_into().ok()?;
    (*bytes == head(inc, started_at, key)).then_some((inc, started_at, key))
}
