//! Model groups, user groups, limits and boosts: read whole from the database, and looked into without locks.
//!
//! A state that cannot be read again goes on being used, and says how old it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use entity::{
    limit_stamps, model_group_limits, model_group_members, model_groups, quota_boost_grants, user_group_members,
    user_groups,
};
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::{boot_ms, now_ms};
use crate::limit::{BoostRow, LimitData, LimitRow, Mode, ModelGroupRow, Snapshot, Subject, UserGroupRow};
use crate::limit::{Window, WindowCap};
use crate::money::Usd;
use crate::store;

const EVERY: Duration = Duration::from_secs(30);

/// After a reading that failed.
const AGAIN: Duration = Duration::from_secs(5);

/// A reading that takes longer counts as failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A state that is known to exist is waited for so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// After it has waited in vain nobody waits for so long (milliseconds).
const BEHIND: i64 = 1_000;

/// Keeps the newest state that could be read.
#[derive(Debug)]
pub struct LimitKeeper {
    db: DatabaseConnection,
    snapshot: ArcSwap<Snapshot>,
    known: AtomicBool,
    /// Unix milliseconds at which the state was true.
    fresh_at: AtomicI64,
    /// Until then (milliseconds since the machine was started) nobody waits for a newer state.
    behind_until: AtomicI64,
    /// Wakes the refresh.
    doubt: Notify,
    /// One reader at a time: an older state must not be stored after a newer one.
    reading: tokio::sync::Mutex<()>,
}

impl LimitKeeper {
    /// Reads the first state. If that fails, there is none until a later reading succeeds: see [`Self::is_known`].
    pub async fn start(db: DatabaseConnection, now: i64) -> Arc<Self> {
        let keeper = Arc::new(Self {
            db,
            snapshot: ArcSwap::default(),
            known: AtomicBool::new(false),
            fresh_at: AtomicI64::new(now),
            behind_until: AtomicI64::new(0),
            doubt: Notify::new(),
            reading: tokio::sync::Mutex::default(),
        });
        if let Err(error) = keeper.read(now).await {
            tracing::error!(%error, "the limits of model groups cannot be read; trying again");
        }
        keeper
    }

    /// The state in force.
    #[must_use]
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Whether any state was ever read. Without one it is not known which models are in which groups.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    /// How old the state is.
    #[must_use]
    pub fn age(&self, now: i64) -> Duration {
        let age = now.saturating_sub(self.fresh_at.load(Ordering::Relaxed));
        Duration::from_millis(u64::try_from(age).unwrap_or(0))
    }

    /// Says that something has changed: the state is read again at once, by [`Self::keep_fresh`].
    pub fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Reads the state now; when this returns, it is in force.
    ///
    /// # Errors
    ///
    /// What the database says. The old state stays in force.
    pub async fn read(&self, now: i64) -> Result<(), DbErr> {
        let reading = self.reading.lock().await;
        self.read_alone(&reading, now).await
    }

    async fn read_alone(&self, _: &tokio::sync::MutexGuard<'_, ()>, now: i64) -> Result<(), DbErr> {
        let data = match tokio::time::timeout(TIMEOUT, read(&self.db, now)).await {
            Ok(data) => data?,
            Err(_) => return Err(DbErr::Custom(format!("no answer within {TIMEOUT:?}"))),
        };
        self.snapshot.store(Arc::new(Snapshot::new(data)));
        self.fresh_at.fetch_max(now, Ordering::Relaxed);
        self.known.store(true, Ordering::Release);
        Ok(())
    }

    /// Somebody has met a row of this stamp: when this returns, the state contains whatever was changed with it, unless
    /// the database does not say so in time.
    pub async fn catch_up(&self, stamp: i64) {
        if self.snapshot().contains(stamp) || boot_ms() < self.behind_until.load(Ordering::Relaxed) {
            return;
        }
        // Whoever was first has read it for all.
        self.read_unless(|known| known.contains(stamp)).await;
        if !self.snapshot().contains(stamp) {
            self.behind_until.store(boot_ms().saturating_add(BEHIND), Ordering::Relaxed);
        }
    }

    /// Something was changed elsewhere: when this returns, it is in force, unless the database does not say so in time.
    pub async fn refresh(&self) {
        self.read_unless(|_| false).await;
    }

    async fn read_unless(&self, enough: impl Fn(&Snapshot) -> bool) {
        let read = async {
            let reading = self.reading.lock().await;
            if enough(&self.snapshot()) { Ok(()) } else { self.read_alone(&reading, now_ms()).await }
        };
        let problem = match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(late) => late.to_string(),
        };
        tracing::warn!(problem, "limits that were changed elsewhere cannot be read; the old ones go on being used");
        self.doubt();
    }

    /// Reads the state again and again until `stop`.
    pub async fn keep_fresh(&self, stop: CancellationToken) {
        let mut wait = if self.is_known() { EVERY } else { AGAIN };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.doubt.notified() => {}
            }
            let now = now_ms();
            wait = match self.read(now).await {
                Ok(()) => EVERY,
                Err(error) => {
                    let age_seconds = self.age(now).as_secs();
                    tracing::warn!(%error, age_seconds, "cannot refresh the limits; the old ones go on being used");
                    AGAIN
                }
            };
        }
    }
}

/// Everything, as of one moment, in as many queries as there are tables.
async fn read(db: &DatabaseConnection, now: i64) -> Result<LimitData, DbErr> {
    use {model_group_members as models, quota_boost_grants as boosts, user_group_members as members};
    let snapshot = store::begin_snapshot(db).await?;
    let stamp = limit_stamps::Entity::find().one(&snapshot).await?;
    let mut models_of: HashMap<i64, Vec<String>> = HashMap::new();
    for row in models::Entity::find().order_by_asc(models::Column::Model).all(&snapshot).await? {
        models_of.entry(row.model_group_id).or_default().push(row.model);
    }
    let mut members_of: HashMap<i64, Vec<i64>> = HashMap::new();
    for row in members::Entity::find().all(&snapshot).await? {
        members_of.entry(row.user_group_id).or_default().push(row.user_id);
    }
    let model_groups = model_groups::Entity::find().order_by_asc(model_groups::Column::Id).all(&snapshot).await?;
    let user_groups = user_groups::Entity::find().order_by_asc(user_groups::Column::Id).all(&snapshot).await?;
    let limits = model_group_limits::Entity::find().all(&snapshot).await?;
    let boosts = boosts::Entity::find().filter(boosts::Column::ExpiresAt.gt(now)).all(&snapshot).await?;
    snapshot.commit().await?;
    let model_group = |row: model_groups::Model| ModelGroupRow {
        models: models_of.remove(&row.id).unwrap_or_default(),
        id: row.id,
        name: row.name,
        stamp: row.stamp,
    };
    let user_group = |row: user_groups::Model| UserGroupRow {
        members: members_of.remove(&row.id).unwrap_or_default(),
        id: row.id,
        name: row.name,
        stamp: row.stamp,
    };
    Ok(LimitData {
        as_of: stamp.map_or(0, |stamp| stamp.value),
        model_groups: model_groups.into_iter().map(model_group).collect(),
        user_groups: user_groups.into_iter().map(user_group).collect(),
        limits: limits.iter().filter_map(limit).collect(),
        boosts: boosts.iter().filter_map(boost).collect(),
    })
}

/// None for a row without a subject, which the database does not take.
fn limit(row: &model_group_limits::Model) -> Option<LimitRow> {
    let subject = match (row.user_id, row.user_group_id, row.key_id) {
        (Some(user), _, _) => Subject::User(user),
        (_, Some(group), _) => Subject::UserGroup(group),
        (_, _, Some(key)) => Subject::Key(key),
        (None, None, None) => return None,
    };
    Some(LimitRow { subject, model_group_id: row.model_group_id, caps: limit_caps(row), stamp: row.stamp })
}

/// The caps of a limit, in the order of [`Window::ALL`].
#[must_use]
pub fn limit_caps(row: &model_group_limits::Model) -> Vec<WindowCap> {
    let midnight = Mode::Calendar { at: 0 };
    let five_hours = match row.five_hours_reset.as_deref() {
        Some("fixed") => Mode::FromFirstCharge,
        _ => Mode::Rolling,
    };
    let daily = match row.daily_reset.as_deref() {
        Some("rolling") => Mode::Rolling,
        _ => Mode::Calendar { at: row.daily_at.and_then(|at| u16::try_from(at).ok()).unwrap_or(0) },
    };
    let caps = [
        (Window::Total, row.total_nanos, Mode::Forever),
        (Window::FiveHours, row.five_hours_nanos, five_hours),
        (Window::Daily, row.daily_nanos, daily),
        (Window::Weekly, row.weekly_nanos, midnight),
        (Window::Monthly, row.monthly_nanos, midnight),
    ];
    let cap = |(window, nanos, mode): (_, Option<i64>, _)| {
        nanos.map(|nanos| WindowCap { window, usd: Usd::from_nanos(nanos), mode })
    };
    caps.into_iter().filter_map(cap).collect()
}

/// None for a window that the database does not take.
fn boost(row: &quota_boost_grants::Model) -> Option<BoostRow> {
    Some(BoostRow {
        id: row.id,
        user_id: row.user_id,
        model_group_id: row.model_group_id,
        window: Window::parse(&row.window)?,
        usd: Usd::from_nanos(row.nanos),
        starts_at: row.starts_at,
        expires_at: row.expires_at,
        stamp: row.stamp,
    })
}
