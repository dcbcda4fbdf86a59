//! What a budget at the authority takes from the ledger, and what it then knows of the nodes.

use std::sync::Arc;

use super::window::WindowState;
use super::{AHEAD, Account};
use crate::budget::protocol::{Incarnation, Lsn, Position, SeedStatement, Seeded};
use crate::budget::rules::Rule;

/// A seed whose query is older may miss charges that nodes no longer remember.
const SEED_LIFE: i64 = 5_000;

/// A node that a snapshot does not list and that was not heard of for so long has not begun after that snapshot: it has
/// ended before.
const SILENT: i64 = 60_000;

impl Account {
    /// Sets what was spent to what the ledger says.
    pub fn seed(&mut self, said: &SeedStatement, clock: i64) -> Seeded {
        let now = self.now.max(clock);
        let seed = &said.seed;
        let policy = &said.terms.policy;
        // The ledger knows nothing of counts: what the nodes have told is all there is.
        if self.is_count() && !self.windows.is_empty() {
            return Seeded::Refused;
        }
        let old = clock - seed.query_started > SEED_LIFE || seed.query_started < self.seeded_at;
        // Of a clock that is far ahead nobody knows when it began, and for so long nothing would be later.
        let ahead = seed.query_started - clock > AHEAD;
        if old || ahead || policy.version < self.policy.version || policy.windows.len() != said.terms.bounds.len() {
            return Seeded::Refused;
        }
        // What a node told before its journal was written further is in neither the sums nor what it has not written.
        let overtaken = |&(inc, mark): &(Incarnation, Lsn)| {
            self.holders.iter().any(|holder| holder.inc == inc && !holder.closed && mark < holder.written)
        };
        if self.rules.hold(Rule::Overtaken) && seed.marks.iter().any(overtaken) {
            return Seeded::Refused;
        }
        // A node that is a little ahead begins the next day, and then that is the time: what others charge until they know
        // would be of no window.
        let begun = said.terms.bounds.iter().flatten().map(|bounds| bounds.start).max().unwrap_or(now);
        if begun > self.now.max(clock + AHEAD) {
            return Seeded::Refused;
        }
        let now = now.max(begun);
        let mut windows = Vec::with_capacity(policy.windows.len());
        for (policy, &bounds) in policy.windows.iter().zip(&said.terms.bounds) {
            let known = seed.windows.iter().find(|window| window.window == policy.window);
            let (Some(known), false) = (known, WindowState::is_over(policy, bounds, now)) else {
                return Seeded::Refused;
            };
            windows.push(WindowState::seeded(policy, bounds, known, seed.first_charge_start, now));
        }
        self.now = now;
        self.policy = Arc::clone(policy);
        self.windows = windows.into();
        self.seeded_at = seed.query_started;
        let listed = |inc| seed.marks.iter().any(|&(marked, _)| marked == inc);
        // A node that the snapshot does not list has its whole journal in it, unless its life began after the snapshot.
        self.holders.retain(|holder| listed(holder.inc) || (!holder.closed && clock - holder.seen < SILENT));
        self.join.retain(|&inc| listed(inc));
        // A snapshot from before a node was closed may miss the end of its journal.
        self.reseed = self.holders.iter().any(|holder| holder.closed);
        for &(inc, _) in &seed.marks {
            self.holder(inc);
        }
        for holder in &mut self.holders {
            let mark = seed.marks.iter().find(|&&(inc, _)| inc == holder.inc).map_or(0, |&(_, lsn)| lsn);
            if self.rules.hold(Rule::Marks) {
                holder.position = Position::Mark(mark, self.settle_until);
            }
            if self.rules.hold(Rule::Pending) {
                holder.pending = holder.unwritten;
            }
        }
        Seeded::Taken
    }

    /// A node is gone and its journal is in the database.
    pub fn close(&mut self, inc: Incarnation) {
        // Nobody waits for it any more once the next seed has told what it spent.
        if let Some(holder) = self.holders.iter_mut().find(|holder| holder.inc == inc) {
            holder.closed = true;
            self.reseed = !self.is_count();
        }
    }

    /// The ledger says something else than was told.
    pub fn count_anew(&mut self) {
        self.reseed = !self.is_count();
    }
}
