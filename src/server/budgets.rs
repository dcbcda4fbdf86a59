//! Budgets of a node: who knows what is spent, and what the configuration says.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::budget::{
    Asker, Authority, BudgetSettings, Budgets, Clock, Counts, Event, Events, Incarnation, MemoryAuthority,
    RedisAuthority, RedisError, Seeds,
};
use crate::clock::{SharedClock, boot_ms};
use crate::config::{self, Config};
use crate::directory::Change;
use crate::gateway::App;
use crate::ledger::{Ledger, LedgerSeeds, Pulse};
use crate::limit::{Axis, BudgetId, Scope};

/// How often it is counted how many nodes there are, as far as this one was told. One that has just begun is told at its
/// first heartbeat, and must not take itself for the only one any longer.
const COUNT_NODES: Duration = Duration::from_millis(500);

/// One life among others, or alone.
pub(super) struct Life {
    pub(super) inc: Incarnation,
    /// What budgets go by.
    pub(super) clock: Clock,
    /// None: there are no other nodes.
    pub(super) shared: Option<Shared>,
}

/// What a node has that is not alone.
pub(super) struct Shared {
    pub(super) clock: Arc<SharedClock>,
    pub(super) pulse: Arc<Pulse>,
}

/// The parts of a node that are about budgets.
pub(super) struct Parts {
    pub(super) seeds: Arc<LedgerSeeds>,
    pub(super) budgets: Arc<Budgets>,
    pub(super) counts: Arc<Counts>,
    pub(super) authority: Arc<dyn Authority>,
}

/// Starts with nothing known: each budget is read from the ledger when it is first used.
///
/// # Errors
///
/// A Redis that cannot be used. One that is away can: until it is there, this node goes by what it knows.
pub(super) async fn start(
    db: &DatabaseConnection,
    life: Life,
    ledger: &Arc<Ledger>,
    config: &Config,
    stop: CancellationToken,
) -> Result<Parts, StartError> {
    let Life { inc, clock, shared } = life;
    let seeds = Arc::new(LedgerSeeds::new(db.clone(), Arc::clone(ledger)));
    seeds.set_providers(config.providers.iter().map(|provider| provider.name.as_str()));
    let settings = BudgetSettings::from(&config.budgets);
    let redis = match (&config.redis, shared) {
        (Some(redis), Some(Shared { clock, pulse })) => Some((connect(redis, inc, clock, &pulse).await?, pulse)),
        _ => None,
    };
    let authority: Arc<dyn Authority> = match &redis {
        Some(((authority, _), _)) => Arc::clone(authority) as _,
        // Nobody but this process holds anything: what an earlier one held has ended with it.
        None => Arc::new(MemoryAuthority::new(Arc::clone(&clock), 0)),
    };
    let counts = Arc::new(match &redis {
        Some((_, pulse)) => {
            Counts::shared(inc, Arc::clone(&authority), pulse.living(), settings.clone(), Arc::clone(&clock))
        }
        None => Counts::alone(),
    });
    let budgets = Budgets::new(inc, Arc::clone(&authority), Arc::clone(&seeds) as Arc<dyn Seeds>, settings, clock);
    tokio::spawn(Arc::clone(&budgets).run(stop.clone()));
    let (counting, stopped) = (Arc::clone(&counts), stop.clone());
    tokio::spawn(async move { counting.run(stopped).await });
    tokio::spawn(Arc::clone(&budgets).reconcile(stop.clone()));
    if let Some(((authority, events), pulse)) = redis {
        let lease_life = config.budgets.lease.life.min(config.budgets.effective_model_group_lease().life);
        tokio::spawn(authority.run(lease_life / 3, stop.clone()));
        tokio::spawn(count_nodes(Arc::clone(&budgets), pulse, stop.clone()));
        tokio::spawn(hear(events, Arc::clone(&budgets), Arc::clone(&counts), stop));
    }
    Ok(Parts { seeds, budgets, counts, authority })
}

async fn connect(
    redis: &config::Redis,
    inc: Incarnation,
    clock: Arc<SharedClock>,
    pulse: &Arc<Pulse>,
) -> Result<(Arc<RedisAuthority>, Events), StartError> {
    let wrong = |error: RedisError| StartError::Environment(format!("redis.url: {error}"));
    let heard = Box::new(move |now: i64, took: Duration| {
        let received = boot_ms();
        clock.learn(now, received - i64::try_from(took.as_millis()).unwrap_or_default(), received);
    });
    let (living, pulse) = (pulse.living(), Arc::clone(pulse));
    let asker = Asker { inc, living, dead_after: Box::new(move || pulse.silence().dead_after), heard };
    let (authority, events) = RedisAuthority::new(redis.url.expose(), redis.timeout, asker).map_err(wrong)?;
    match authority.check().await {
        Ok(()) => {}
        Err(error @ RedisError::Evicts(_)) => return Err(wrong(error)),
        Err(error) => tracing::warn!(%error, "Redis is away; until it is there, this node goes by what it knows"),
    }
    Ok((authority, events))
}

/// Of what is free when the authority is away, each node may use its part.
async fn count_nodes(budgets: Arc<Budgets>, pulse: Arc<Pulse>, stop: CancellationToken) {
    let living = pulse.living();
    while !stop.is_cancelled() {
        budgets.set_nodes(living().len());
        // Stopped or not, it is looked at again.
        let _ = tokio::time::timeout(COUNT_NODES, stop.cancelled()).await;
    }
}

async fn hear(mut events: Events, budgets: Arc<Budgets>, counts: Arc<Counts>, stop: CancellationToken) {
    let hearing = async {
        while let Some(event) = events.recv().await {
            let of_count = match event {
                Event::Recalled(budget) | Event::Joins(budget) => Some(matches!(budget.scope, Scope::Count(_))),
                Event::Flushed(_) | Event::Returned => None,
            };
            if of_count != Some(true) {
                budgets.hear_of(event);
            }
            if of_count != Some(false) {
                counts.hear_of(event);
            }
        }
    };
    stop.run_until_cancelled(hearing).await;
}

/// Takes over what a new configuration says.
pub(super) fn configure(app: &App, config: &Config) {
    app.seeds.set_providers(config.providers.iter().map(|provider| provider.name.as_str()));
    app.budgets.configure(BudgetSettings::from(&config.budgets));
    app.counts.configure(BudgetSettings::from(&config.budgets));
}

/// Something was changed, here or on another node: whatever this node holds of the budgets concerned goes by the new
/// caps from now on.
pub(super) fn changed(app: &App, change: &Change) {
    let owner = |axis: Axis, owner: i64| move |budget: BudgetId| budget.axis == axis && budget.owner == owner;
    let changed_where = |concerned: &dyn Fn(BudgetId) -> bool| {
        app.budgets.changed_where(concerned);
        app.counts.changed_where(concerned);
    };
    match *change {
        Change::User(id) => changed_where(&owner(Axis::User, id)),
        Change::Key { id, .. } => changed_where(&owner(Axis::Key, id)),
        Change::Reset { axis, owner: id, era } => {
            app.budgets.owner_was_reset(axis, id, era);
            changed_where(&owner(axis, id));
        }
        Change::Limits => changed_where(&|budget| matches!(budget.scope, Scope::ModelGroup(_))),
        Change::All => changed_where(&|_| true),
        Change::Prices | Change::ResetCircuit { .. } | Change::OpenCircuit { .. } => {}
    }
}
