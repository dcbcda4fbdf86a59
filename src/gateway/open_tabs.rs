//! The tabs of attempts in progress, so that none goes unpaid when the process has to end before they do.

use std::collections::HashMap;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use uuid::Uuid;

use super::tab::Tab;

/// A power of two well above the number of cores: threads seldom meet.
const SHARDS: usize = 64;

/// An attempt: the request and its number.
type Attempt = (Uuid, u16);

/// See the module.
pub struct OpenTabs {
    closed: AtomicBool,
    shards: [Mutex<HashMap<Attempt, Weak<Tab>>>; SHARDS],
}

impl Default for OpenTabs {
    fn default() -> Self {
        Self { closed: AtomicBool::new(false), shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl OpenTabs {
    /// Lets no attempt begin any more, and settles those that have with what was seen so far. Returns how many.
    pub fn close(&self) -> usize {
        self.closed.store(true, Ordering::Release);
        let mut interrupted = 0;
        for shard in &self.shards {
            // A tab that is dropped takes itself out: not while the shard is locked.
            let tabs: Vec<Weak<Tab>> = shard.lock().values().cloned().collect();
            interrupted += tabs.iter().filter_map(Weak::upgrade).filter(|tab| tab.interrupt()).count();
        }
        interrupted
    }

    /// Returns whether the attempt may begin.
    pub(super) fn add(&self, attempt: Attempt, tab: Weak<Tab>) -> bool {
        self.shard(attempt).lock().insert(attempt, tab);
        // After the insertion: whoever is not refused here was in the shard before it was swept.
        !self.closed.load(Ordering::Acquire)
    }

    pub(super) fn remove(&self, attempt: Attempt) {
        self.shard(attempt).lock().remove(&attempt);
    }

    /// The last byte of a UUIDv7 is random.
    fn shard(&self, (request, _): Attempt) -> &Mutex<HashMap<Attempt, Weak<Tab>>> {
        &self.shards[usize::from(request.as_bytes()[15]) % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_attempt_begins_after_the_close() {
        let tabs = OpenTabs::default();
        assert!(tabs.add((Uuid::from_u128(1), 1), Weak::new()));
        assert_eq!(tabs.close(), 0, "an attempt that is over is not interrupted");
        for number in 0..100 {
            assert!(!tabs.add((Uuid::from_u128(number), 1), Weak::new()));
        }
    }
}
