//! Makes the parts of a node that requests use.

use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora_limits::inflight::Inflight;
use sea_orm::DatabaseConnection;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::budgets::{self, Parts};
use super::{StartError, cores, journal};
use crate::budget::estimate::Learnt;
use crate::clock::now_ms;
use crate::directory::{Authenticator, Directory, FloodGuard, LimitKeeper};
use crate::gateway::{App, InFlightCount, Live, OpenTabs};
use crate::ledger::{Ledger, LedgerOptions};
use crate::pricing::{AppliedJson, PriceBook};
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
        let config = &live.config;
        let directory = Directory::new(db.clone(), now_ms());
        let limits = LimitKeeper::start(db.clone(), now_ms()).await;
        let alone = config.redis.is_none();
        let (inc, journal) = journal::begin(db, config, alone).await?;
        let options = LedgerOptions { journal: Some(journal), ..LedgerOptions::default() };
        let ledger = Arc::new(Ledger::start(db.clone(), inc, options));
        tokio::spawn(journal::keep_recovering(db.clone(), config, stop.clone()));
        let living = Arc::new(move || vec![inc]);
        let Parts { seeds, budgets, counts } = budgets::start(db, inc, living, &ledger, config, stop).await?;
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
            metrics: Arc::default(),
            provider_events: Arc::default(),
            resolver: Resolver::default(),
            provider_load: Inflight::new(),
            large_bodies: Semaphore::new(cores()),
            drain_load: Inflight::new(),
            in_flight: InFlightCount::default(),
            drain: Arc::new(ArcSwap::from_pointee(drain)),
            live: ArcSwap::from_pointee(live),
        }))
    }
}
