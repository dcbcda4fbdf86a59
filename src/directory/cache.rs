//! What this node remembers about keys: those that exist and, for a while, those that do not.
//!
//! An invalidation wins against whatever is being read from the database at that moment. Something new is remembered
//! only if no invalidation at all has come since before it was read (the *generation* is the same); something old is
//! corrected only if it is still the same entry (its *stamp* is). All changes are made under one lock ([`Index`]);
//! reading a known key takes only the read lock of its shard.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::Principal;
use super::secret::SecretHash;

const SHARDS: usize = 16;

/// Keys remembered. A principal takes about a kilobyte.
const KNOWN_MAX: usize = 128 * 1024;

/// Of how many keys the one is dropped that was not used for longest, when a shard is full.
const EVICTION_SAMPLE: usize = 8;

/// Keys remembered as not existing, and for how long (milliseconds).
const UNKNOWN_MAX: usize = 64 * 1024;
const UNKNOWN_TTL: i64 = 30_000;

/// What is remembered about a key.
#[derive(Debug)]
pub(super) enum Found {
    Known(Arc<Principal>),
    Unknown,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Cache {
    shards: [RwLock<HashMap<SecretHash, Known>>; SHARDS],
    unknown: Mutex<Unknown>,
    index: Mutex<Index>,
    generation: AtomicU64,
    known_per_shard: usize,
}

/// A remembered key, as it was when it was looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted {
    pub(super) hash: SecretHash,
    pub(super) fingerprint: u64,
    stamp: u64,
}

#[derive(Debug)]
struct Known {
    principal: Arc<Principal>,
    fingerprint: u64,
    /// No other entry has or had it.
    stamp: u64,
    /// Unix seconds of the last use; whole seconds, so that a busy key is not a busy cache line.
    used: AtomicI64,
}

/// Which entries belong to a user or key. A key has one secret, so it has at most one entry.
#[derive(Debug, Default)]
struct Index {
    by_user: HashMap<i64, HashSet<SecretHash>>,
    by_key: HashMap<i64, SecretHash>,
    last_stamp: u64,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self::with_capacity(KNOWN_MAX, UNKNOWN_MAX)
    }

    fn with_capacity(known: usize, unknown: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            unknown: Mutex::new(Unknown::new(unknown)),
            index: Mutex::default(),
            generation: AtomicU64::new(0),
            known_per_shard: known / SHARDS,
        }
    }

    /// Changes with every invalidation.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn get(&self, hash: &SecretHash, now: i64) -> Option<Found> {
        let seconds = now / 1000;
        if let Some(known) = self.shard(hash).read().get(hash) {
            if known.used.load(Ordering::Relaxed) != seconds {
                known.used.store(seconds, Ordering::Relaxed);
            }
            return Some(Found::Known(Arc::clone(&known.principal)));
        }
        self.unknown.lock().contains(hash, now).then_some(Found::Unknown)
    }

    /// Remembers what was read at `generation`; does nothing if that has passed.
    pub(super) fn remember(
        &self,
        generation: u64,
        hash: SecretHash,
        found: Option<(&Arc<Principal>, u64)>,
        now: i64,
    ) -> bool {
        let mut index = self.index.lock();
        if self.generation() != generation {
            return false;
        }
        match found {
            Some((principal, fingerprint)) => {
                self.make_room(&mut index, &hash);
                self.insert(&mut index, hash, Arc::clone(principal), fingerprint, now);
            }
            None => self.unknown.lock().insert(hash, now),
        }
        true
    }

    /// All remembered keys.
    pub(super) fn noted(&self) -> Vec<Noted> {
        let note = |(hash, known): (&SecretHash, &Known)| Noted {
            hash: *hash,
            fingerprint: known.fingerprint,
            stamp: known.stamp,
        };
        self.shards.iter().flat_map(|shard| shard.read().iter().map(note).collect::<Vec<_>>()).collect()
    }

    /// Corrects an entry to what has been read since it was noted; none: the key is gone.
    pub(super) fn correct(&self, noted: &Noted, read: Option<(u64, Arc<Principal>)>) {
        let mut index = self.index.lock();
        {
            let mut shard = self.shard(&noted.hash).write();
            let Some(known) = shard.get_mut(&noted.hash).filter(|known| known.stamp == noted.stamp) else { return };
            if let Some((fingerprint, principal)) = read {
                known.principal = principal;
                known.fingerprint = fingerprint;
                return;
            }
        }
        self.remove(&mut index, &noted.hash);
    }

    pub(super) fn forget_user(&self, id: i64) {
        let mut index = self.new_generation();
        for hash in index.by_user.get(&id).cloned().unwrap_or_default() {
            self.remove(&mut index, &hash);
        }
    }

    pub(super) fn forget_key(&self, id: i64) {
        let mut index = self.new_generation();
        if let Some(hash) = index.by_key.get(&id).copied() {
            self.remove(&mut index, &hash);
        }
    }

    pub(super) fn forget_hash(&self, hash: &SecretHash) {
        let mut index = self.new_generation();
        self.remove(&mut index, hash);
        self.unknown.lock().remove(hash);
    }

    pub(super) fn forget_all(&self) {
        let mut index = self.new_generation();
        index.by_user.clear();
        index.by_key.clear();
        for shard in &self.shards {
            shard.write().clear();
        }
        self.unknown.lock().clear();
    }

    /// Forgets which keys do not exist, and remembers nothing that is being read now.
    pub(super) fn doubt(&self) {
        let _index = self.new_generation();
        self.unknown.lock().clear();
    }

    fn new_generation(&self) -> parking_lot::MutexGuard<'_, Index> {
        let index = self.index.lock();
        self.generation.fetch_add(1, Ordering::AcqRel);
        index
    }

    fn shard(&self, hash: &SecretHash) -> &RwLock<HashMap<SecretHash, Known>> {
        &self.shards[hash.shard(SHARDS)]
    }

    fn insert(&self, index: &mut Index, hash: SecretHash, principal: Arc<Principal>, fingerprint: u64, now: i64) {
        // After a rotation the old secret may still be here: it must go, since nothing would find it by the key's id.
        if let Some(old) = index.by_key.get(&principal.key.id).copied() {
            self.remove(index, &old);
        }
        index.by_key.insert(principal.key.id, hash);
        index.by_user.entry(principal.user.id).or_default().insert(hash);
        index.last_stamp += 1;
        let known = Known { principal, fingerprint, stamp: index.last_stamp, used: AtomicI64::new(now / 1000) };
        self.shard(&hash).write().insert(hash, known);
    }

    fn remove(&self, index: &mut Index, hash: &SecretHash) {
        let Some(known) = self.shard(hash).write().remove(hash) else { return };
        let (user, key) = (known.principal.user.id, known.principal.key.id);
        index.by_key.remove(&key);
        if let Some(hashes) = index.by_user.get_mut(&user) {
            hashes.remove(hash);
            if hashes.is_empty() {
                index.by_user.remove(&user);
            }
        }
    }

    fn make_room(&self, index: &mut Index, hash: &SecretHash) {
        let oldest = {
            let shard = self.shard(hash).read();
            if shard.len() < self.known_per_shard {
                return;
            }
            let sample = shard.iter().take(EVICTION_SAMPLE);
            sample.min_by_key(|(_, known)| known.used.load(Ordering::Relaxed)).map(|(hash, _)| *hash)
        };
        if let Some(oldest) = oldest {
            self.remove(index, &oldest);
        }
    }
}

/// Keys that the database does not have. All live equally long, so the order of arrival is the order of expiry.
#[derive(Debug)]
struct Unknown {
    capacity: usize,
    since: HashMap<SecretHash, i64>,
    order: VecDeque<(SecretHash, i64)>,
}

impl Unknown {
    fn new(capacity: usize) -> Self {
        Self { capacity, since: HashMap::new(), order: VecDeque::new() }
    }

    fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }

    fn contains(&self, hash: &SecretHash, now: i64) -> bool {
        self.since.get(hash).is_some_and(|since| is_fresh(*since, now))
    }

    fn insert(&mut self, hash: SecretHash, now: i64) {
        while let Some((oldest, since)) = self.order.front().copied() {
            if is_fresh(since, now) && self.order.len() < self.capacity {
                break;
            }
            self.order.pop_front();
            // It may have been forgotten and learnt anew since: then this is not its entry.
            if self.since.get(&oldest) == Some(&since) {
                self.since.remove(&oldest);
            }
        }
        self.since.insert(hash, now);
        self.order.push_back((hash, now));
    }

    fn remove(&mut self, hash: &SecretHash) {
        self.since.remove(hash);
    }
}

/// The clock may have been set back: what comes from the future is not fresh either.
fn is_fresh(since: i64, now: i64) -> bool {
    (0..UNKNOWN_TTL).contains(&now.saturating_sub(since))
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
