//! Whether the authority counts what the ledger says, budget by budget.
//!
//! What it counts is what the ledger contains, up to the mark of each node, with what nodes have told it beyond that and
//! without what they have not told it yet. At any moment that is exact, whatever is charged meanwhile: a difference is an
//! error and not a delay.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::account::WindowState;
use super::protocol::{Audit, Holding, Incarnation, Item, Position, SeedStatement};
use super::seeds::SeedError;
use super::shards::SHARDS;
use super::table::Entry;
use super::{Budgets, authority};
use crate::limit::{BudgetId, Mode, Scope, Window};
use crate::money::Usd;

/// A living node has told everything that it charged before (milliseconds): it reports far more often.
const QUIET: i64 = 30_000;

/// Each comparison asks the database; there is no hurry.
const PAUSE: Duration = Duration::from_millis(100);

/// A window in which the authority does not count what the ledger says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Which budget.
    pub budget: BudgetId,
    /// Which window.
    pub window: Window,
    /// What is counted.
    pub counted: Usd,
    /// What the ledger says.
    pub expected: Usd,
}

impl Budgets {
    /// Compares one budget after the other with the ledger, and seeds those anew that differ; after the authority was away
    /// all of them. Until it is stopped.
    pub async fn reconcile(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let anew = self.distrusted.swap(false, Ordering::AcqRel);
            for entry in (0..SHARDS).flat_map(|turn| self.table.part(turn)) {
                if stop.is_cancelled() {
                    return;
                }
                if !anew && self.distrusted.load(Ordering::Acquire) {
                    break;
                }
                if anew {
                    self.seed_if_known(&entry).await;
                } else {
                    self.reconcile_one(&entry).await;
                }
                pause(&stop).await;
            }
            pause(&stop).await;
        }
    }

    /// The authority was away. Somebody may have spent of a budget who has died before he could tell it: only the ledger
    /// knows.
    pub(super) fn distrust(&self) {
        self.distrusted.store(true, Ordering::Release);
    }

    /// Compares a budget that this node knows with the ledger. None: that cannot be told at the moment.
    ///
    /// # Errors
    ///
    /// When the ledger or the authority cannot be asked.
    pub async fn audit(&self, budget: BudgetId) -> Result<Option<Vec<Drift>>, SeedError> {
        match self.table.get(budget) {
            Some(entry) => self.compare(&entry).await,
            None => Ok(None),
        }
    }

    async fn reconcile_one(&self, entry: &Arc<Entry>) {
        // When the ledger cannot be asked, whoever needs the budget says so.
        let Ok(Some(drifts)) = self.compare(entry).await else { return };
        for Drift { budget, window, counted, expected } in &drifts {
            tracing::error!(
                ?budget, ?window, %counted, %expected,
                "a budget was not counted as the ledger says, and is counted anew; expected after corrected prices, a \
                 repaired sum, or what another process has left"
            );
            self.stats.drifted(*counted - *expected);
        }
        if !drifts.is_empty() {
            self.seed_if_possible(entry).await;
        }
    }

    async fn seed_if_known(&self, entry: &Arc<Entry>) {
        if matches!(entry.id.scope, Scope::Count(_)) || entry.lease.lock().is_stranger() {
            return;
        }
        // One that the authority does not know is seeded when it is used.
        if let Ok(Some(_)) = self.authority.audit(entry.id).await {
            self.seed_if_possible(entry).await;
        }
    }

    async fn seed_if_possible(&self, entry: &Arc<Entry>) {
        if let Err(error) = self.seed(entry).await {
            tracing::warn!(budget = ?entry.id, %error, "a budget could not be counted anew");
        }
    }

    async fn compare(&self, entry: &Entry) -> Result<Option<Vec<Drift>>, SeedError> {
        // The ledger knows what was spent, not how often.
        if matches!(entry.id.scope, Scope::Count(_)) {
            return Ok(None);
        }
        let ledger = self.ask_ledger(entry).await?;
        let failed = |error: authority::AuthorityError| SeedError(error.to_string());
        let Some(audit) = self.authority.audit(entry.id).await.map_err(failed)? else { return Ok(None) };
        let beyond = |position, written| entry.lease.lock().beyond(written, position);
        Ok(drifts(entry.id, &ledger, &audit, self.inc, beyond, (self.clock)()))
    }
}

async fn pause(stop: &CancellationToken) {
    // Either way it was long enough.
    let _ = tokio::time::timeout(PAUSE, stop.cancelled()).await;
}

/// `beyond`: what this node's charges up to a position differ by from those up to a place in its journal.
fn drifts(
    budget: BudgetId,
    ledger: &SeedStatement,
    audit: &Audit,
    inc: Incarnation,
    beyond: impl FnOnce(Position, u64) -> Option<Vec<Item>>,
    now: i64,
) -> Option<Vec<Drift>> {
    let policy = &ledger.terms.policy;
    if audit.reseed || audit.version != policy.version {
        return None;
    }
    let mark = |inc| ledger.seed.marks.iter().find(|(marked, _)| *marked == inc).map(|(_, lsn)| *lsn);
    // What other nodes have told beyond their marks, they alone know; unless all that they have ever charged was told and
    // written long ago.
    let is_known = |holder: &Holding| {
        let is_quiet = holder.reserved == Usd::ZERO && holder.unwritten == Usd::ZERO && now - holder.seen > QUIET;
        is_quiet || matches!(holder.position, Position::Mark(lsn, _) if mark(holder.inc) == Some(lsn))
    };
    if !audit.holders.iter().filter(|holder| holder.inc != inc).all(is_known) {
        return None;
    }
    let own = audit.holders.iter().find(|holder| holder.inc == inc).map_or(Position::Start, |holder| holder.position);
    let beyond = beyond(own, mark(inc)?)?;
    let mut drifts = Vec::new();
    for (policy, &bounds) in policy.windows.iter().zip(&ledger.terms.bounds) {
        let seed = ledger.seed.windows.iter().find(|window| window.window == policy.window)?;
        let counted = audit.windows.iter().find(|counted| counted.window == policy.window)?;
        let first_charge = ledger.seed.first_charge_start;
        let mut expected = WindowState::seeded(policy, bounds, seed, first_charge, now);
        beyond.iter().for_each(|item| expected.add(item, now));
        let expected = expected.counted();
        // One that the authority has not begun yet; of fixed five hours, one whose beginning the ledger was not told.
        if expected.start != counted.start {
            continue;
        }
        let spent = |counted: &super::Counted| match policy.mode {
            Mode::Rolling => counted.leaving.iter().filter(|(at, _)| *at > now).map(|(_, amount)| *amount).sum(),
            _ => counted.spent,
        };
        let (counted, expected) = (spent(counted), spent(&expected));
        if counted != expected {
            drifts.push(Drift { budget, window: policy.window, counted, expected });
        }
    }
    Some(drifts)
}
