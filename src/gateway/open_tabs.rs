//! The tabs of attempts in progress, so that none goes unpaid when the process has to end before they do.

use std::collections::HashMap;
use std::sync::Weak;

use parking_lot::Mutex;
use uuid::Uuid;

use super::bill::Tab;

/// A power of two well above the number of cores: threads seldom meet.
const SHARDS: usize = 64;

/// An attempt: the request and its number.
type Attempt = (Uuid, u16);

/// See the module.
pub struct OpenTabs {
    shards: [Mutex<HashMap<Attempt, Weak<Tab>>>; SHARDS],
}

impl Default for OpenTabs {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl OpenTabs {
    /// Settles all that are open with what was seen so far.
    pub fn interrupt_all(&self) {
        for shard in &self.shards {
            // A tab that is dropped takes itself out: not while the shard is locked.
            let tabs: Vec<Weak<Tab>> = shard.lock().values().cloned().collect();
            for tab in tabs.iter().filter_map(Weak::upgrade) {
                tab.interrupt();
            }
        }
    }

    pub(super) fn add(&self, attempt: Attempt, tab: Weak<Tab>) {
        self.shard(attempt).lock().insert(attempt, tab);
    }

    pub(super) fn remove(&self, attempt: Attempt) {
        self.shard(attempt).lock().remove(&attempt);
    }

    /// The last byte of a UUIDv7 is random.
    fn shard(&self, (request, _): Attempt) -> &Mutex<HashMap<Attempt, Weak<Tab>>> {
        &self.shards[usize::from(request.as_bytes()[15]) % SHARDS]
    }
}
