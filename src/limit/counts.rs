//! How often and how many at once: requests per minute and concurrent requests of a key and its user, on this node.
//! What several nodes admit together is decided in [`crate::budget::Counts`].
//!
//! Both are exact. A minute is sixty slots of one second: a request counts from its second until the same second of
//! the next minute. Each key and user has a lock of its own, so that they only ever wait for themselves.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock};

use super::count_limits::{Axis, CountKind, CountLimits, CountRefusal, CountSubject};

const SLOTS: usize = 60;
const MINUTE: i64 = 60;

/// A power of two well above the number of cores.
const SHARDS: usize = 64;

/// Counts the requests of every key and user.
#[derive(Debug)]
pub struct Counts {
    shards: [RwLock<Shard>; SHARDS],
}

/// A request that was admitted; it is in flight until this is dropped.
#[derive(Debug)]
#[must_use = "the request is in flight only as long as this lives"]
pub struct CountGuard {
    key: Arc<Mutex<Count>>,
    user: Arc<Mutex<Count>>,
    second: i64,
}

impl CountGuard {
    /// The request was refused after all: it counts for nothing, not even for its minute.
    pub fn take_back(self) {
        for count in [&self.key, &self.user] {
            count.lock().take_back(self.second);
        }
    }
}

impl Counts {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        Self { shards: std::array::from_fn(|_| RwLock::default()) }
    }

    /// Counts a request of this key and user at `now` (Unix milliseconds), or changes nothing.
    ///
    /// # Errors
    ///
    /// The limit in the way; the key's before the user's.
    pub fn admit(&self, subject: &CountSubject, now: i64) -> Result<CountGuard, CountRefusal> {
        let second = now.div_euclid(1000);
        let (key, user) = self.both(subject, second);
        {
            // Always the key first: two requests can then never wait for each other.
            let mut key = key.lock();
            let mut user = user.lock();
            fit(&mut key, &mut user, subject, second)?;
            key.add(second);
            user.add(second);
        }
        Ok(CountGuard { key, user, second })
    }

    /// Whether [`Self::admit`] would admit a request; counts nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::admit`].
    pub fn check(&self, subject: &CountSubject, now: i64) -> Result<(), CountRefusal> {
        let second = now.div_euclid(1000);
        let (key, user) = self.both(subject, second);
        fit(&mut key.lock(), &mut user.lock(), subject, second)
    }

    /// Counts a request that was admitted elsewhere, whatever the limits say.
    pub fn record(&self, subject: &CountSubject, now: i64) -> CountGuard {
        let second = now.div_euclid(1000);
        let (key, user) = self.both(subject, second);
        key.lock().add(second);
        user.lock().add(second);
        CountGuard { key, user, second }
    }

    fn both(&self, subject: &CountSubject, second: i64) -> (Arc<Mutex<Count>>, Arc<Mutex<Count>>) {
        (self.count(Axis::Key, subject.key_id, second), self.count(Axis::User, subject.user_id, second))
    }

    fn count(&self, axis: Axis, id: i64, second: i64) -> Arc<Mutex<Count>> {
        let shard = &self.shards[usize::try_from(id.rem_euclid(SHARDS as i64)).unwrap_or(0)];
        if let Some(count) = shard.read().counts.get(&(axis, id)) {
            return Arc::clone(count);
        }
        let mut shard = shard.write();
        shard.sweep(second);
        Arc::clone(shard.counts.entry((axis, id)).or_default())
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        for count in [&self.key, &self.user] {
            let mut count: MutexGuard<'_, Count> = count.lock();
            count.in_flight = count.in_flight.saturating_sub(1);
        }
    }
}

#[derive(Debug, Default)]
struct Shard {
    counts: HashMap<(Axis, i64), Arc<Mutex<Count>>>,
    swept_at: i64,
}

impl Shard {
    /// Drops what has been idle for a minute; at most once a minute, and only when something is added.
    fn sweep(&mut self, second: i64) {
        if second.saturating_sub(self.swept_at).saturating_abs() < MINUTE {
            return;
        }
        self.swept_at = second;
        // Nobody can get hold of a count while this shard is locked: the only holder is the map, or somebody else too.
        self.counts.retain(|_, count| Arc::strong_count(count) > 1 || !count.lock().is_idle(second));
    }
}

/// The count of one key or user.
#[derive(Debug)]
struct Count {
    in_flight: u32,
    /// Requests per second, of the seconds `newest - 59 ..= newest`, each at its remainder by 60.
    slots: [u32; SLOTS],
    newest: i64,
    sum: u32,
}

impl Default for Count {
    fn default() -> Self {
        Self { in_flight: 0, slots: [0; SLOTS], newest: i64::MIN, sum: 0 }
    }
}

impl Count {
    fn fits(&mut self, axis: Axis, limits: CountLimits, second: i64) -> Result<(), CountRefusal> {
        self.advance(second);
        if let Some(limit) = limits.rpm
            && self.sum >= limit
        {
            let retry_after = self.seconds_until_below(limit);
            return Err(CountRefusal { axis, kind: CountKind::Rpm, limit, current: self.sum, retry_after });
        }
        if let Some(limit) = limits.max_concurrent
            && self.in_flight >= limit
        {
            let current = self.in_flight;
            return Err(CountRefusal { axis, kind: CountKind::Concurrency, limit, current, retry_after: 1 });
        }
        Ok(())
    }

    fn add(&mut self, second: i64) {
        self.advance(second);
        let slot = &mut self.slots[slot(self.newest)];
        *slot = slot.saturating_add(1);
        self.sum = self.sum.saturating_add(1);
        self.in_flight = self.in_flight.saturating_add(1);
    }

    /// Undoes an [`add`](Self::add) of this second, unless it has left the minute.
    fn take_back(&mut self, second: i64) {
        if (0..MINUTE).contains(&self.newest.saturating_sub(second)) {
            let slot = &mut self.slots[slot(second)];
            if *slot > 0 {
                *slot -= 1;
                self.sum = self.sum.saturating_sub(1);
            }
        }
    }

    /// Moves the minute on. Threads may come with slightly different times: an earlier one counts as the newest. A
    /// clock that was set back by more than the minute starts it anew, or it would stand still until the clock is there.
    fn advance(&mut self, second: i64) {
        let steps = second.saturating_sub(self.newest);
        if steps >= MINUTE || steps <= -MINUTE {
            self.slots = [0; SLOTS];
            self.sum = 0;
            self.newest = second;
        }
        while self.newest < second {
            self.newest += 1;
            self.sum = self.sum.saturating_sub(std::mem::take(&mut self.slots[slot(self.newest)]));
        }
    }

    fn seconds_until_below(&self, limit: u32) -> u32 {
        let mut left = self.sum;
        // The oldest second leaves the minute in one second, the next in two, ...
        for wait in 1..=MINUTE {
            left = left.saturating_sub(self.slots[slot(self.newest.saturating_sub(MINUTE - wait))]);
            if left < limit {
                return u32::try_from(wait).unwrap_or(1);
            }
        }
        // A limit of zero.
        60
    }

    fn is_idle(&self, second: i64) -> bool {
        self.in_flight == 0 && second.saturating_sub(self.newest).saturating_abs() >= MINUTE
    }
}

fn fit(key: &mut Count, user: &mut Count, subject: &CountSubject, second: i64) -> Result<(), CountRefusal> {
    key.fits(Axis::Key, subject.key, second)?;
    user.fits(Axis::User, subject.user, second)
}

fn slot(second: i64) -> usize {
    usize::try_from(second.rem_euclid(MINUTE)).unwrap_or(0)
}

#[cfg(test)]
#[path = "counts_tests.rs"]
mod tests;
