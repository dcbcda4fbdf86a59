//! What all requests of a node share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use pingora_limits::inflight::Inflight;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::OpenTabs;
use crate::budget::estimate::Learnt;
use crate::budget::{Budgets, Counts};
use crate::config::Config;
use crate::directory::{Authenticator, Directory, FloodGuard, LimitKeeper};
use crate::ledger::{Ledger, LedgerSeeds, Pulse};
use crate::limit::Snapshot;
use crate::pricing::{AppliedJson, PriceBook};
use crate::provider::{Affinity, Catalogue, ProviderEvents};
use crate::refusals::Refusals;
use crate::telemetry::Metrics;
use crate::upstream::{DrainLimits, Resolver};

/// The parts of a node that requests use.
pub struct App {
    /// The configuration in force, and what was made of it.
    pub live: ArcSwap<Live>,
    /// Prices in force.
    pub prices: Arc<ArcSwap<PriceBook>>,
    /// Prices that were applied, as they are kept.
    pub applied_json: AppliedJson,
    /// Who may call.
    pub directory: Directory,
    /// Model groups, user groups, their limits and boosts.
    pub limits: Arc<LimitKeeper>,
    /// The groups of a gateway that has none, for when limits on model groups are switched off.
    pub no_groups: Arc<Snapshot>,
    /// What this node holds of everybody's budgets.
    pub budgets: Arc<Budgets>,
    /// What budgets start from.
    pub seeds: Arc<LedgerSeeds>,
    /// What requests have used lately.
    pub learnt: Learnt,
    /// Finds out who calls, and slows down those who guess keys.
    pub authenticator: Authenticator,
    /// Holds back an address that sends more than people do.
    pub flood_guard: FloodGuard,
    /// Requests per minute and at once.
    pub counts: Arc<Counts>,
    /// Where finished requests are recorded.
    pub ledger: Arc<Ledger>,
    /// That this node lives, for the others; none when it is alone.
    pub pulse: Option<Arc<Pulse>>,
    /// Where refused requests are kept.
    pub refusals: Refusals,
    /// What operators see.
    pub metrics: Arc<Metrics>,
    /// Where conversations are served.
    pub affinity: Arc<Affinity>,
    /// What went wrong with providers lately.
    pub provider_events: Arc<ProviderEvents>,
    /// Names of providers to addresses.
    pub resolver: Resolver,
    /// Who may read a large body now: as many at once as there are cores.
    pub large_bodies: Semaphore,
    /// Answers that are read on after their clients have left, by key. The sketch below is exact enough.
    pub drain_load: Inflight,
    /// Attempts in progress, drains included.
    pub open_tabs: OpenTabs,
    /// Requests in flight, drains included.
    pub in_flight: InFlightCount,
    /// Where requests run, once there was one.
    pub runtime: OnceLock<Handle>,
    /// Bounds of reading on after clients have left; follows the configuration.
    pub drain: Arc<ArcSwap<DrainLimits>>,
}

/// A configuration and what was made of it; replaced whole.
pub struct Live {
    /// As read.
    pub config: Config,
    /// Its providers.
    pub catalogue: Catalogue,
}

/// Counts requests in flight.
#[derive(Clone, Debug, Default)]
pub struct InFlightCount(Arc<AtomicUsize>);

impl InFlightCount {
    /// One more, until all holders of the guard have dropped it.
    #[must_use]
    pub fn enter(&self) -> Arc<InFlight> {
        self.0.fetch_add(1, Ordering::AcqRel);
        Arc::new(InFlight(Arc::clone(&self.0)))
    }

    /// How many there are.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// One request in flight: for its client, or being read on without it.
#[derive(Debug)]
pub struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
