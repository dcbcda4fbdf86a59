//! Who guesses keys is answered without the database; who has a right one never is stopped by others behind his address.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::directory::{MissBudget, SecretHash};

/// Keys that are remembered; about 100 bytes each.
const MOST: usize = 32 * 1024;

/// Decides about whom the database is asked though his address, or his credential, has failed too often.
#[derive(Debug)]
pub struct Guesses {
    /// Keys that the database knew. Whether they may still be used is asked each time.
    known: Mutex<HashSet<SecretHash>>,
    budget: MissBudget,
}

impl Default for Guesses {
    fn default() -> Self {
        Self { known: Mutex::default(), budget: MissBudget::of_the_blocked(0) }
    }
}

impl Guesses {
    /// Whether the database is asked about this key now: it was right before, or there have been few such questions.
    pub fn may_ask(&self, key: &SecretHash, now: i64) -> bool {
        self.known.lock().contains(key) || self.budget.take(now)
    }

    /// The key exists.
    pub fn was_right(&self, key: SecretHash) {
        let mut known = self.known.lock();
        // Whoever is forgotten here is asked about once more.
        if known.len() >= MOST {
            known.clear();
        }
        if known.insert(key) {
            self.budget.give_back();
        }
    }

    /// The key does not exist, or no longer.
    pub fn was_wrong(&self, key: &SecretHash) {
        self.known.lock().remove(key);
    }
}
