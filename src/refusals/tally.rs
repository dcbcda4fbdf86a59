//! Which refusals become rows, and which are only counted.
//!
//! A client that is refused asks again, some of them ten thousand times a second. Of the refusals of one key with the same
//! code, axis, scope and window the first few of each minute are rows; the others are added to the last of those rows
//! (`repeated`). So rows and `repeated` together are all refusals, and what a storm leaves behind is a few rows a minute.

use std::collections::HashMap;

use parking_lot::Mutex;
use uuid::Uuid;

use super::record::word;
use crate::dialect::{ErrorCode, GatewayError};

/// Rows of one kind and minute.
pub const FIRST: u32 = 5;

/// Kinds, each with its minute, that are counted at once. More keys than these refused in one minute for different reasons
/// are a case of their own; what does not fit is counted as dropped.
pub(super) const MOST_KINDS: usize = 4_096;

/// How long after its minute a count waits for its row to be in the database, while that takes rows.
const PATIENCE: i64 = 2;

const MINUTE_MS: i64 = 60_000;

/// Refusals that are of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    key_id: i64,
    code: ErrorCode,
    /// Axis, scope and window.
    limit: [Option<Box<str>>; 3],
}

impl Kind {
    /// The kind of this refusal of this key.
    #[must_use]
    pub fn of(key_id: i64, error: &GatewayError) -> Self {
        let limit = ["axis", "scope", "window"].map(|name| word(error, name).map(Box::from));
        Self { key_id, code: error.code, limit }
    }
}

/// What becomes of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// A row of its own.
    Row,
    /// One more on a row that there is.
    Counted,
    /// Nothing: there is no room.
    Dropped,
}

/// A count, and the row that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Count {
    place: (Kind, i64),
    /// The request of the row.
    pub(super) row: Uuid,
    /// How many more there were.
    pub(super) repeated: u64,
}

#[derive(Debug)]
struct Tally {
    rows: u32,
    last: Uuid,
    repeated: u64,
    /// Of those, how many the database knows.
    told: u64,
}

/// All counts, by kind and minute.
#[derive(Debug, Default)]
pub(super) struct Tallies(Mutex<HashMap<(Kind, i64), Tally>>);

impl Tallies {
    /// Takes a refusal in. `has_room`: there would be room for its row.
    pub(super) fn take(&self, kind: Kind, request: Uuid, now: i64, has_room: bool) -> Turn {
        let mut tallies = self.0.lock();
        let kinds = tallies.len();
        let place = (kind, now.div_euclid(MINUTE_MS));
        let Some(tally) = tallies.get_mut(&place) else {
            if !has_room || kinds >= MOST_KINDS {
                return Turn::Dropped;
            }
            tallies.insert(place, Tally { rows: 1, last: request, repeated: 0, told: 0 });
            return Turn::Row;
        };
        // What is counted belongs to the last row: there is none after that.
        if has_room && tally.rows < FIRST && tally.repeated == 0 {
            (tally.rows, tally.last) = (tally.rows + 1, request);
            return Turn::Row;
        }
        tally.repeated += 1;
        Turn::Counted
    }

    /// The counts that the database does not know. Those that are over and known are forgotten.
    pub(super) fn news(&self, now: i64) -> Vec<Count> {
        let minute = now.div_euclid(MINUTE_MS);
        let mut tallies = self.0.lock();
        // Nor is one that a clock was ahead for kept until it is time.
        tallies.retain(|place, tally| place.1 == minute || tally.told < tally.repeated);
        let news = tallies.iter().filter(|(_, tally)| tally.told < tally.repeated);
        news.map(|(place, tally)| Count { place: place.clone(), row: tally.last, repeated: tally.repeated }).collect()
    }

    /// The database knows this count.
    pub(super) fn told(&self, count: &Count) {
        if let Some(tally) = self.0.lock().get_mut(&count.place) {
            tally.told = count.repeated;
        }
    }

    /// The database has no such row. It may still be on its way; else the count is given up: returns how many are lost.
    pub(super) fn has_no_row(&self, count: &Count, now: i64) -> u64 {
        let mut tallies = self.0.lock();
        if now.div_euclid(MINUTE_MS) <= count.place.1 + PATIENCE {
            return 0;
        }
        tallies.remove(&count.place).map_or(0, |tally| tally.repeated - tally.told)
    }

    /// All that the database will never know.
    pub(super) fn give_up(&self) -> u64 {
        self.0.lock().drain().map(|(_, tally)| tally.repeated - tally.told).sum()
    }
}
