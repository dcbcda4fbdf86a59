//! Requests per minute and at once, of keys and users: exact on a node alone, and over all nodes through leases.
//!
//! A node alone needs no lease: what it counts itself ([`limit::Counts`]) is all there is, exact to the second, and
//! nobody has to be asked. With other nodes each limit is a budget whose unit is one request, leased from the same kind
//! of [`Authority`] as money: requests per minute are set aside until it is decided to forward them and are then spent
//! in the second of their admission; requests at once are only ever set aside. A node goes on counting for itself. That
//! refuses at once what its own requests fill already, and it is what decides when the authority is away: each node
//! then admits as if it were alone.
//!
//! Counts are in no ledger. An authority that has forgotten them hears from each node what it holds and what it
//! admitted within the last minute; what a dead node held ends by itself. Three things are therefore not exact: an
//! authority that forgets while a node dies (that node's last minute), a node that is cut off for longer than
//! `dead_after` while its requests run (others may take their places), and requests that were admitted while there was
//! no limit (they are known to their own node only).

mod ask;
mod held;
mod seeds;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Authority, BudgetSettings, Budgets, Clock, Event, Incarnation};
use crate::limit::{self, BudgetId, CountRefusal, CountSubject};

use ask::Wants;
use held::Held;
use seeds::CountSeeds;
pub use seeds::Living;

/// Who counts, and who is asked.
pub struct Counts {
    own: limit::Counts,
    /// None: this node is alone.
    leases: Option<Arc<Budgets>>,
}

/// A request that may go on; it is in flight until this is dropped.
#[derive(Debug)]
#[must_use = "the request is in flight only as long as this lives"]
pub struct CountGuard {
    own: limit::CountGuard,
    held: Option<Held>,
}

impl CountGuard {
    /// It is decided: the request counts for its minute, whatever becomes of it.
    pub fn decide(&mut self) {
        if let Some(held) = &mut self.held {
            held.decide();
        }
    }

    /// The request was refused after all: it counts for nothing, not even for its minute.
    pub fn take_back(self) {
        self.own.take_back();
    }
}

impl Counts {
    /// For a node that is alone.
    #[must_use]
    pub fn alone() -> Self {
        Self { own: limit::Counts::new(), leases: None }
    }

    /// For one of several nodes. `inc` is the identity of this life of the process, `living` knows the others'.
    /// [`Self::run`] has to be running.
    #[must_use]
    pub fn shared(
        inc: Incarnation,
        authority: Arc<dyn Authority>,
        living: Living,
        settings: BudgetSettings,
        clock: Clock,
    ) -> Self {
        let seeds = Arc::new(CountSeeds::new(inc, living, Arc::clone(&clock)));
        Self { own: limit::Counts::new(), leases: Some(Budgets::new(inc, authority, seeds, settings, clock)) }
    }

    /// Counts a request of this key and user at `now` (Unix milliseconds) within all their limits, or changes nothing.
    /// Waits only when an authority has to be asked.
    ///
    /// # Errors
    ///
    /// The limit in the way; the key's before the user's.
    pub async fn admit(&self, subject: &CountSubject, now: i64) -> Result<CountGuard, CountRefusal> {
        let Some((leases, wants)) = self.leases.as_ref().and_then(|leases| Some((leases, Wants::of(subject)?))) else {
            return Ok(CountGuard { own: self.own.admit(subject, now)?, held: None });
        };
        self.own.check(subject, now)?;
        let held = match leases.try_count(&wants, now) {
            Some(held) => held,
            None => Box::pin(leases.count(wants, now)).await?,
        };
        let own = if held.blindly { self.own.admit(subject, now)? } else { self.own.record(subject, now) };
        Ok(CountGuard { own, held: Some(held) })
    }

    /// Reports and gives back in the background, until it is stopped; nothing to do for a node that is alone.
    pub async fn run(&self, stop: CancellationToken) {
        if let Some(leases) = &self.leases {
            Arc::clone(leases).run(stop).await;
        }
    }

    /// Replaces what the configuration says.
    pub fn configure(&self, settings: BudgetSettings) {
        if let Some(leases) = &self.leases {
            leases.configure(settings);
        }
    }

    /// The limits for which `concerned` holds have changed.
    pub fn changed_where(&self, concerned: impl Fn(BudgetId) -> bool) {
        if let Some(leases) = &self.leases {
            leases.changed_where(concerned);
        }
    }

    /// What the authority and other nodes want.
    pub fn hear_of(&self, event: Event) {
        if let Some(leases) = &self.leases {
            leases.hear_of(event);
        }
    }

    #[cfg(test)]
    pub(super) const fn leases(&self) -> Option<&Arc<Budgets>> {
        self.leases.as_ref()
    }
}
