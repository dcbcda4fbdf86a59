//! Who pays what: the bill of a request, which one of its attempts settles.
//!
//! A bill is settled once, by whoever learns first how the request ended: the stage that passes on the last byte, the
//! engine's drain after the client has left, the stage that closes the request, or the stop of the process. Settling is
//! synchronous and in memory, so that it can happen before the last byte is passed on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use super::thread::Thread;
use crate::budget::{Reservation, Settled};
use crate::config::Loser;
use crate::dialect::{Dialect, Endpoint, ServiceTier};
use crate::ledger::{AttemptReport, LedgerSlot};
use crate::limit::CountSubject;
use crate::money::Usd;

/// What the record of an attempt says that was ended while its budgets were being asked: it has cost nothing.
pub(super) const NOT_RESERVED: Settled =
    Settled { key_era: 0, user_era: 0, counted_in_key_global: true, counted_in_user_global: true };

/// Answers of a key whose concurrent requests are limited that are read on at once after their client has left, if its
/// limit is not higher. Who leaves more often has the rest cut off and estimated, or leaving would be a way around the
/// limit.
const DRAINS_OF_LIMITED_KEY: u32 = 8;

/// What of a request is recorded whatever provider serves it.
pub struct Bill {
    pub(super) request_id: Uuid,
    pub(super) arrived: Instant,
    pub(super) created_at: i64,
    pub(super) user_id: i64,
    pub(super) key_id: i64,
    pub(super) endpoint: Endpoint,
    pub(super) dialect: Dialect,
    pub(super) requested_model: String,
    pub(super) stream: bool,
    pub(super) request_bytes: u64,
    /// Which conversation it belongs to, when that is followed.
    pub(super) thread: Option<Thread>,
    /// The tier that the client asked for. When the provider does not name the one it gave, only a dearer one counts:
    /// a discount needs the provider's word.
    pub(super) asked_tier: Option<ServiceTier>,
    /// How many answers of its key may be read on at once.
    pub(super) most_drains: isize,
    /// Room for the record, taken by whoever settles. Free requests have none.
    pub(super) slot: Mutex<Option<LedgerSlot>>,
    /// What is set aside in budgets; taken while it is moved to those of another attempt.
    pub(super) reservation: Mutex<Option<Reservation>>,
    /// Attempts that have ended, in order; of a rival's bill, none.
    pub(super) attempts: Mutex<Vec<AttemptReport>>,
    /// Held by whoever decides a race between two of the request's attempts, or ends them; of a rival's bill, unused.
    pub(super) deciding: Mutex<()>,
    /// It is a rival's.
    pub(super) beside: Option<Beside>,
}

/// What the bill of a rival knows of the request that it is made for: what it uses is set aside and recorded beside what
/// the first attempt uses, and one of the two becomes the request's.
pub(super) struct Beside {
    /// The request's bill before the race.
    main: Arc<Bill>,
    /// Who pays if it loses.
    loser: Loser,
    /// It is the request's bill now.
    chosen: AtomicBool,
}

/// How many answers of a key may be read on at once, by the limits on its concurrent requests.
pub(super) fn most_drains(subject: &CountSubject) -> isize {
    let limit = subject.key.max_concurrent.into_iter().chain(subject.user.max_concurrent).min();
    limit.map_or(isize::MAX, |limit| isize::try_from(limit.max(DRAINS_OF_LIMITED_KEY)).unwrap_or(isize::MAX))
}

impl Bill {
    /// Nothing will be charged: what is set aside is given back, and the place in the ledger.
    pub(super) fn cancel(&self) {
        drop(self.slot.lock().take());
        drop(self.reservation.lock().take());
    }

    /// Charges the budgets; what the record has to say about them. `lsn` is the record's place in the journal.
    pub(super) fn charge_budgets(&self, lsn: u64, settled_at: i64, cost: Usd) -> Settled {
        let reservation = self.reservation.lock().take();
        reservation.map_or(NOT_RESERVED, |reservation| reservation.settle(lsn, settled_at, cost))
    }

    /// The bill of a rival in the same request, with a place in the ledger of its own.
    pub(super) fn beside(self: &Arc<Self>, slot: Option<LedgerSlot>, loser: Loser) -> Self {
        let main = self.beside.as_ref().map_or(self, |beside| &beside.main);
        Self {
            request_id: self.request_id,
            arrived: self.arrived,
            created_at: self.created_at,
            user_id: self.user_id,
            key_id: self.key_id,
            endpoint: self.endpoint,
            dialect: self.dialect,
            requested_model: self.requested_model.clone(),
            stream: self.stream,
            request_bytes: self.request_bytes,
            thread: self.thread.clone(),
            asked_tier: self.asked_tier,
            most_drains: self.most_drains,
            slot: Mutex::new(slot),
            reservation: Mutex::new(None),
            attempts: Mutex::default(),
            deciding: Mutex::default(),
            beside: Some(Beside { main: Arc::clone(main), loser, chosen: AtomicBool::new(false) }),
        }
    }

    /// The request's first bill, where what all its bills share is.
    fn main(&self) -> &Self {
        self.beside.as_ref().map_or(self, |beside| &beside.main)
    }

    /// The attempts of the request.
    pub(super) fn story(&self) -> &Mutex<Vec<AttemptReport>> {
        &self.main().attempts
    }

    /// See [`Bill::deciding`].
    pub(super) fn decide(&self) -> MutexGuard<'_, ()> {
        self.main().deciding.lock()
    }

    /// Of a rival of which nobody knows yet whether its answer will be the request's: who pays if it will not.
    pub(super) fn undecided(&self) -> Option<Loser> {
        self.beside.as_ref().filter(|beside| !beside.chosen.load(Ordering::Acquire)).map(|beside| beside.loser)
    }

    /// A rival's is the request's bill from now on.
    pub(super) fn choose(&self) {
        if let Some(beside) = &self.beside {
            beside.chosen.store(true, Ordering::Release);
        }
    }

    /// Whether the conversation was at this provider before.
    pub(super) fn was_at(&self, provider: &str) -> bool {
        self.thread.as_ref().is_some_and(|thread| thread.before.as_deref() == Some(provider))
    }

    /// Milliseconds since the request arrived.
    pub(super) fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.arrived.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}
