//! An attempt in a race with another one of the same request: which of the two the request pays for, also where the
//! process ends in that instant.
//!
//! A race is decided, and an attempt is ended by the stop, under one lock of the request: either the stop finds the race
//! decided, or the race finds that the stop has come, and then the first of the two is what the request pays for.

use std::sync::atomic::Ordering;

use super::Tab;
use crate::config::Loser;
use crate::ledger::Outcome;
use crate::provider::failure::Failure;

/// What the list of a request's attempts says of one whose answer the client did not wait for, because another one's came.
pub(super) const LOST_RACE: &str = "lost_race";

impl Tab {
    /// A rival for which nobody pays unless its answer becomes the request's.
    pub(super) fn is_free_yet(&self) -> bool {
        self.bill.undecided() == Some(Loser::Absorb)
    }

    /// Whether the client gets another one's answer.
    pub(super) fn has_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// This attempt's answer is the request's, and not the other one's, for which `loser` pays. Nothing is decided any more
    /// where the process has ended one of the two: it ends the other one too.
    pub(in super::super) fn wins_over(&self, other: &Self, loser: Loser) {
        let decision = self.bill.decide();
        if self.is_interrupted() || other.is_interrupted() {
            drop(decision);
            self.interrupt();
            other.interrupt();
            return;
        }
        let was_free = self.is_free_yet();
        self.bill.choose();
        let _ = other.lost.set(loser);
        drop(decision);
        if was_free && let Err(error) = self.write_opening(self.estimate()) {
            tracing::debug!(%error, "the journal does not know that a rival has won");
        }
    }

    /// The client gets another one's answer. Returns whether this one is to be read on, because it has to be paid for.
    pub(super) fn lose(&self) -> bool {
        self.leave_provider();
        let Some(was_sent) = self.stage.under_way() else { return false };
        // Of a rival that is not decided for, also because the client has left before that, it is clear who pays.
        let Some(loser) = self.lost.get().copied().or_else(|| self.bill.undecided()) else {
            // The stop came before the decision.
            self.interrupt();
            return false;
        };
        let _ = self.lost.set(loser);
        self.list(LOST_RACE);
        if loser == Loser::Charge && was_sent {
            // After a crash, what is known of the winner says nothing about this one.
            if let Err(error) = self.rewrite_opening() {
                tracing::debug!(%error, "the journal does not know that an attempt has lost its race");
            }
            return true;
        }
        // Unless the stop of the process comes before this, and has settled it.
        if self.stage.report() {
            self.bill.cancel();
        }
        false
    }

    /// Losing says nothing about the provider, but that one has to wait for it: unless it is the first and had not begun
    /// to answer when the other, which was asked later, had.
    fn leave_provider(&self) {
        if self.first_byte_ms.get().is_some() {
            drop(self.pass.lock().take());
            return;
        }
        let waited = self.bill.elapsed_ms() - self.started_ms;
        self.priced.candidate.provider.load.has_waited(waited, self.app.budgets.now());
        if self.lost.get().is_some() && self.bill.undecided().is_none() {
            self.blame(Failure::Outrun);
        } else {
            drop(self.pass.lock().take());
        }
    }

    /// The process ends before the attempt does: it is settled with what was seen, the prompt at least if it has gone
    /// out. Returns whether there was something to settle; an attempt that has failed leaves the bill to another one.
    pub(in super::super) fn interrupt(&self) -> bool {
        let _decision = self.bill.decide();
        let Some(sent) = self.stage.interrupt() else { return false };
        self.gave_up.fetch_or(sent, Ordering::AcqRel);
        self.list("interrupted");
        match self.lost.get().copied().or_else(|| self.bill.undecided()) {
            Some(Loser::Absorb) => self.bill.cancel(),
            Some(Loser::Charge) => self.commit(Outcome::LostRace, None),
            None => self.commit(Outcome::Interrupted, None),
        }
        true
    }
}
