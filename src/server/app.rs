//! Makes the parts of a node that requests use.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use pingora_limits::inflight::Inflight;
use sea_orm::DatabaseConnection;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::budgets::{self, Life, Parts, Shared};
use super::{StartError, cores, journal, lives};
use crate::budget::Clock;
use crate::budget::estimate::Learnt;
use crate::clock::{SharedClock, now_ms};
use crate::config::Config;
use crate::directory::{Authenticator, Directory, FloodGuard, LimitKeeper};
use crate::gateway::{App, InFlightCount, Live, OpenTabs};
use crate::ledger::{Ledger, LedgerOptions, Pulse};
use crate::pricing::{AppliedJson, PriceBook};
use crate::provider::Affinity;
use crate::refusals::Refusals;
use crate::telemetry::Metrics;
use crate::upstream::{DrainLimits, Resolver};

/// Answers that are read on at once after their clients have left.
const MAX_DRAINS: usize = 4_096;

/// Pairs of model and key whose use is remembered, for what requests set aside: some 4 MB.
const LEARNT_PAIRS: usize = 8_192;

impl App {
    /// Begins a life of the node on a database that is at its schema, after earlier ones have been recovered; what goes on
    /// beside requests ends with `stop`.
    ///
    /// # Errors
    /// What the database says, or the folder of the journal.
    pub async fn start(
        db: &DatabaseConnection,
        live: Live,
        prices: Arc<ArcSwap<PriceBook>>,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, StartError> {
        Self::start_with(db, live, prices, true, stop).await
    }

    /// The same; its records are in the journal if they are to be.
    pub(super) async fn start_with(
        db: &DatabaseConnection,
        live: Live,
        prices: Arc<ArcSwap<PriceBook>>,
        in_journal: bool,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, StartError> {
        let config = &live.config;
        let directory = Directory::new(db.clone(), now_ms());
        let limits = LimitKeeper::start(db.clone(), now_ms()).await;
        let alone = config.redis.is_none();
        let (inc, started_at, journal) = journal::begin(db, config, alone).await?;
        let options = LedgerOptions { journal: in_journal.then_some(journal), ..LedgerOptions::default() };
        let ledger = Arc::new(Ledger::start(db.clone(), inc, options));
        let found = Arc::new(Notify::new());
        tokio::spawn(journal::keep_recovering(db.clone(), config, Arc::clone(&found), stop.clone()));
        // With other nodes the authority's clock is everybody's. A node alone needs no heart: nobody listens.
        let (clock, shared): (Clock, _) = if config.redis.is_some() {
            let shared_clock = SharedClock::start();
            let told = Arc::clone(&shared_clock);
            let clock: Clock = Arc::new(move || told.now());
            let pulse = Pulse::new(db.clone(), inc, started_at, lives::silence(config), Arc::clone(&clock));
            (clock, Some(Shared { clock: shared_clock, pulse }))
        } else {
            (Arc::new(now_ms), None)
        };
        let pulse = shared.as_ref().map(|shared| Arc::clone(&shared.pulse));
        let affinity = follow_conversations(config, &clock, &stop);
        let life = Life { inc, clock: Arc::clone(&clock), shared };
        let parts = budgets::start(db, life, &ledger, config, stop.clone()).await?;
        let metrics = Arc::<Metrics>::default();
        if let Some(pulse) = &pulse {
            lives::start(db, &parts, &ledger, &metrics, pulse, clock, found, stop);
        }
        let Parts { seeds, budgets, counts, .. } = parts;
        let drain = DrainLimits { time: config.on_client_abort.drain, slots: Arc::new(Semaphore::new(MAX_DRAINS)) };
        Ok(Arc::new(Self {
            prices,
            authenticator: Authenticator::new(directory.clone()),
            directory,
            limits,
            no_groups: Arc::default(),
            budgets,
            seeds,
            learnt: Learnt::new(LEARNT_PAIRS),
            flood_guard: FloodGuard::new(),
            applied_json: AppliedJson::default(),
            open_tabs: OpenTabs::default(),
            counts,
            ledger,
            refusals: Refusals::start(db.clone()),
            metrics,
            pulse,
            affinity,
            provider_events: Arc::default(),
            resolver: Resolver::default(),
            large_bodies: Semaphore::new(cores()),
            drain_load: Inflight::new(),
            in_flight: InFlightCount::default(),
            runtime: OnceLock::new(),
            drain: Arc::new(ArcSwap::from_pointee(drain)),
            live: ArcSwap::from_pointee(live),
        }))
    }
}

/// Conversations stay where they were, with other nodes too where there are any.
fn follow_conversations(config: &Config, clock: &Clock, stop: &CancellationToken) -> Arc<Affinity> {
    let Some(redis) = &config.redis else { return Affinity::alone() };
    let (affinity, sharing) = Affinity::shared(redis.url.expose(), redis.timeout);
    let clock = Arc::clone(clock);
    Affinity::share(sharing, move || clock(), stop.clone());
    affinity
}
