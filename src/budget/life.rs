//! What the life of this process has to do with its budgets: it speaks only as long as nobody can have given it up, and
//! at its end it gives back what it holds.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;

use super::Budgets;
use super::authority::{Authority, AuthorityError};
use super::lease::Occasion;
use super::protocol::{Answer, Incarnation};
use super::table::Entry;
use crate::limit::BudgetId;
use crate::money::Usd;

/// So many budgets are given back at once.
const AT_ONCE: usize = 64;

/// A flight that was under way may have left before everything was settled.
const TRIES: usize = 2;

/// Knows until when nobody can have given up this life: a node that slept for so long that it was written off must not
/// go on as if nothing had happened.
pub trait Lifeline: Send + Sync {
    /// Until then (Unix milliseconds) this life has certainly not been given up.
    fn confirmed_until(&self) -> i64;

    /// The authority has heard what was sent at this instant.
    fn heard(&self, sent: i64);
}

impl Budgets {
    /// From now on nothing is said to the authority while this life may have been given up. To be called once, before
    /// the first request.
    pub fn live_by(&self, lifeline: Arc<dyn Lifeline>) {
        // A second one would know the same life.
        let _ = self.lifeline.set(lifeline);
    }

    /// Gives back what this node holds, as far as the time allows. To be called when nothing is in flight any more.
    pub async fn give_back_all(&self, limit: Duration) {
        let work = stream::iter(self.table.all()).for_each_concurrent(AT_ONCE, |entry| async move {
            self.give_back(&entry).await;
        });
        if tokio::time::timeout(limit, Box::pin(work)).await.is_err() {
            tracing::warn!(
                "not everything that this node holds could be given back; the others do it once it has ended"
            );
        }
    }

    /// This life is over and all that it charged is in the database: tells the authority.
    ///
    /// # Errors
    ///
    /// When the authority cannot be asked.
    pub async fn close_own_life(&self) -> Result<(), AuthorityError> {
        let known = self.table.all().into_iter().map(|entry| entry.id);
        close_life(self.authority.as_ref(), self.inc, known).await.map(drop)
    }

    async fn give_back(&self, entry: &Arc<Entry>) {
        for _ in 0..TRIES {
            let occasion = {
                let lease = entry.lease.lock();
                if lease.gone || (lease.own().0 == Usd::ZERO && !lease.has_news((self.clock)())) {
                    return;
                }
                // A position that somebody may still ask for is left behind until the life is closed.
                Occasion { give_back: true, last: lease.is_over(), report: false }
            };
            self.ask(entry, occasion).await;
        }
    }

    pub(super) fn may_speak(&self) -> Result<(), AuthorityError> {
        match self.lifeline.get() {
            Some(lifeline) if (self.clock)() >= lifeline.confirmed_until() => {
                Err(AuthorityError::Away("the database has not confirmed that this node was not given up".to_owned()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn was_heard(&self, answer: &Answer, sent: i64) {
        if let (Some(lifeline), Answer::Ok(_) | Answer::Resend(_)) = (self.lifeline.get(), answer) {
            lifeline.heard(sent);
        }
    }
}

/// Tells an authority that a life is over and its journal is in the database. What it holds ends; so does what is counted
/// of it in `also`. May be repeated. Returns how many budgets that were.
///
/// # Errors
///
/// When the authority cannot be asked.
pub async fn close_life(
    authority: &dyn Authority,
    inc: Incarnation,
    also: impl IntoIterator<Item = BudgetId>,
) -> Result<usize, AuthorityError> {
    let mut budgets = authority.held_by(inc).await?;
    budgets.extend(also);
    budgets.sort_unstable();
    budgets.dedup();
    if !budgets.is_empty() {
        authority.close(inc, &budgets).await?;
    }
    Ok(budgets.len())
}
