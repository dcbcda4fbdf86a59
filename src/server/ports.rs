//! The node's parts as the REST API and the metrics see them, and the work that goes on beside requests.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use entity::idempotency_keys;
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::{BudgetDesk, Lifecycle, PriceKeeper, ServeOptions, admin_listener, budgets, circuits};
use crate::admin::{
    self, AdminState, Auth, CircuitChange, CircuitStatus, History, Invalidate, ProviderError, ProviderStatus,
    ProviderView,
};
use crate::budget::ExchangeResult;
use crate::clock::now_ms;
use crate::directory::{Announcer, Change};
use crate::gateway::App;
use crate::provider::RecentError;
use crate::telemetry::{self, Metrics};
use crate::{config, ledger, refusals};

/// How long a message about a change may be lost before it is noticed all the same.
const REFRESH: Duration = Duration::from_secs(30);

/// How often old details are deleted.
const PRUNE: Duration = Duration::from_secs(3_600);

/// How often the sums that usage summaries are read from are brought up to date, as far as that is due.
const ROLL_UP: Duration = Duration::from_secs(10);

/// Of more changed users and keys than these the other nodes are told that everything may have changed.
const NAMED_ONE_BY_ONE: usize = 64;

const DAY_MS: i64 = 24 * 3_600 * 1_000;

pub(super) fn serve_admin(
    options: &ServeOptions,
    app: &Arc<App>,
    (db, history): (&DatabaseConnection, History),
    prices: &Arc<PriceKeeper>,
    announcer: Option<Announcer>,
    life: &Lifecycle,
    listener: TcpListener,
) {
    let (ready, book, settings, zone) = (life.clone(), prices.handle(), Arc::clone(app), Arc::clone(app));
    let recorder = Arc::clone(&app.ledger);
    let budgets = Arc::new(BudgetDesk::new(app, announcer.clone()));
    let node = Arc::new(Node { app: Arc::clone(app), prices: Arc::clone(prices), announcer });
    let state = AdminState {
        db: db.clone(),
        history,
        invalidate: Arc::clone(&node) as _,
        providers: node,
        budgets,
        prices: Arc::new(move || book.load_full()),
        settings: Arc::new(move || settings.live.load().config.masked()),
        ready: Arc::new(move || ready.is_ready() && !recorder.is_broken()),
        clock: Arc::new(now_ms),
        body_timeout: app.live.load().config.server.timeouts.body,
        time_zone: Arc::new(move || zone.live.load().config.budgets.time_zone.clone()),
        auth: Arc::new(Auth::new(options.admin_token.as_deref())),
    };
    tokio::spawn(admin_listener::serve(listener, admin::router(state), life.stop.clone()));
}

pub(super) fn serve_metrics(app: &Arc<App>, life: &Lifecycle, listener: TcpListener) {
    let refreshed = Arc::clone(app);
    let refresh = move |metrics: &Metrics| read_gauges(&refreshed, metrics);
    let serving = telemetry::serve_metrics(listener, Arc::clone(&app.metrics), refresh, life.stop.clone());
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the metrics listener failed");
        }
    });
}

fn read_gauges(app: &App, metrics: &Metrics) {
    metrics.in_flight.set(i64::try_from(app.in_flight.get()).unwrap_or(i64::MAX));
    let of = |runtime: &Handle| runtime.metrics().num_alive_tasks();
    let tasks = of(&Handle::current()) + app.runtime.get().map_or(0, of);
    metrics.tasks.set(i64::try_from(tasks).unwrap_or(i64::MAX));
    let ledger = app.ledger.stats();
    metrics.ledger_pending.set(i64::try_from(ledger.pending()).unwrap_or(i64::MAX));
    metrics.ledger_lag.set(ledger.lag(now_ms()).as_secs_f64());
    metrics.journal_bytes.set(i64::try_from(app.ledger.journal_bytes()).unwrap_or(i64::MAX));
    for (result, total) in [("written", ledger.written()), ("failed", ledger.failed())] {
        let counter = metrics.ledger_records.with_label_values(&[result]);
        counter.inc_by(total.saturating_sub(counter.get()));
    }
    let dropped = &metrics.refusals_dropped;
    dropped.inc_by(app.refusals.dropped().saturating_sub(dropped.get()));
    let leases = app.budgets.stats();
    for result in ExchangeResult::ALL {
        let counter = metrics.lease_exchanges.with_label_values(&[result.as_str()]);
        counter.inc_by(leases.exchanges(result).saturating_sub(counter.get()));
    }
    metrics.lease_outstanding.set(leases.outstanding().to_f64_for_display());
    metrics.budget_drift.set(leases.drift().to_f64_for_display());
    let violations = &metrics.unenforced_violations;
    violations.inc_by(leases.unenforced_violations().saturating_sub(violations.get()));
    circuits::read_gauges(app, metrics);
    let now = now_ms();
    metrics.snapshot_age.set(app.directory.snapshot_age(now).max(app.limits.age(now)).as_secs_f64());
}

/// Prices that another node set, sums of what was spent, and details and refusals that are old.
pub(super) fn refresh_periodically(
    app: &Arc<App>,
    prices: &Arc<PriceKeeper>,
    db: &DatabaseConnection,
    life: &Lifecycle,
) {
    let (keeper, stop) = (Arc::clone(prices), life.stop.clone());
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        loop {
            tokio::time::sleep(REFRESH).await;
            keeper.refresh().await;
        }
    }));
    let (sums, stop) = (db.clone(), life.stop.clone());
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        loop {
            tokio::time::sleep(ROLL_UP).await;
            if let Err(error) = ledger::quarters::roll_up(&sums, now_ms()).await {
                tracing::warn!(%error, "usage is not summed up per quarter of an hour; trying again, until then summaries take longer");
            }
        }
    }));
    let (app, db, stop) = (Arc::clone(app), db.clone(), life.stop.clone());
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        loop {
            let live = app.live.load_full();
            if let Err(error) = prune(&db, now_ms(), &live.config.ledger).await {
                tracing::warn!(%error, "old request details and refusals were not deleted; trying again later");
            }
            tokio::time::sleep(PRUNE).await;
        }
    }));
}

/// Deletes details of requests and refusals after their days, and remembered answers after one. The ledger stays.
async fn prune(db: &DatabaseConnection, now: i64, days: &config::Ledger) -> Result<(), DbErr> {
    let before = |days: u32| now - i64::from(days) * DAY_MS;
    // Each whatever becomes of the others.
    let details = ledger::prune_details(db, before(days.request_detail_days)).await;
    let refusals = refusals::prune(db, before(days.refusal_days), refusals::MOST_ROWS).await;
    let answers = idempotency_keys::Column::CreatedAt.lt(now - DAY_MS);
    let answers = idempotency_keys::Entity::delete_many().filter(answers).exec(db).await;
    details.and(refusals).and(answers.map(drop))
}

/// This node, as the REST API sees it.
struct Node {
    app: Arc<App>,
    prices: Arc<PriceKeeper>,
    announcer: Option<Announcer>,
}

impl Node {
    fn tell_others(&self, change: Change) {
        if let Some(announcer) = &self.announcer {
            announcer.announce(change);
        }
    }

    async fn read_prices(&self) {
        if let Err(error) = self.prices.read_database().await {
            tracing::error!(%error, "a new price is stored but not in force yet; the next refresh takes it over");
        }
    }

    async fn read_limits(&self) {
        if let Err(error) = self.app.limits.read(now_ms()).await {
            tracing::error!(%error, "new limits are stored but not in force yet; the next refresh takes them over");
        }
    }
}

#[async_trait]
impl Invalidate for Node {
    async fn user(&self, id: i64) {
        self.app.directory.invalidate_user(id);
        self.tell_others(Change::User(id));
    }

    async fn key(&self, id: i64, hash: &str) {
        let change = Change::Key { id, hash: hash.to_owned() };
        self.app.directory.apply(&change);
        self.tell_others(change);
    }

    async fn owners(&self, users: &[i64], keys: &[(i64, String)]) {
        let users = users.iter().map(|id| Change::User(*id));
        let changes: Vec<_> =
            users.chain(keys.iter().map(|(id, hash)| Change::Key { id: *id, hash: hash.clone() })).collect();
        for change in &changes {
            self.app.directory.apply(change);
        }
        if changes.len() > NAMED_ONE_BY_ONE {
            self.tell_others(Change::All);
        } else {
            changes.into_iter().for_each(|change| self.tell_others(change));
        }
    }

    async fn prices(&self) {
        self.read_prices().await;
        self.tell_others(Change::Prices);
    }

    async fn limits(&self) {
        self.read_limits().await;
        self.tell_others(Change::Limits);
    }

    async fn everything(&self) {
        self.read_prices().await;
        self.read_limits().await;
        self.app.directory.apply(&Change::All);
        budgets::changed(&self.app, &Change::All);
        self.tell_others(Change::All);
    }
}

impl ProviderView for Node {
    fn list(&self) -> Vec<ProviderStatus> {
        let live = self.app.live.load();
        let circuit = |name: &str| live.catalogue.find(name).map(|provider| circuits::status(&self.app, provider));
        let status = |(provider, circuit): (&crate::config::Provider, CircuitStatus)| ProviderStatus {
            name: provider.name.clone(),
            dialects: provider.dialects.clone(),
            models: provider.models.as_ref().map(|globs| globs.iter().map(|glob| glob.as_str().to_owned()).collect()),
            priority: provider.priority.into(),
            weight: provider.weight,
            groups: provider.groups.clone(),
            enabled: provider.enabled,
            base_url: provider.base_url.origin().ascii_serialization(),
            circuit,
            recent_errors: self.app.provider_events.of(&provider.name).into_iter().map(shown).collect(),
        };
        let providers = live.config.providers.iter();
        providers.filter_map(|provider| Some((provider, circuit(&provider.name)?))).map(status).collect()
    }

    fn change_circuit(&self, name: &str, change: CircuitChange) -> bool {
        let live = self.app.live.load();
        let Some(provider) = live.catalogue.find(name) else { return false };
        self.tell_others(circuits::ask(&self.app, provider, change));
        true
    }
}

fn shown(error: RecentError) -> ProviderError {
    ProviderError { at: admin::Instant(error.at), status: error.status, reason: error.reason }
}
