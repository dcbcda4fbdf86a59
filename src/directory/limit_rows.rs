//! Reads model groups, user groups, limits and boosts: all of them, or of the limits only what has changed.

use std::collections::{HashMap, HashSet};

use entity::{
    limit_stamps, model_group_limits, model_group_members, model_groups, quota_boost_grants, user_group_members,
    user_groups,
};
use sea_orm::{
    ColumnTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use crate::limit::{BoostRow, LimitData, LimitKey, LimitRow, Mode, ModelGroupRow, Subject, UserGroupRow};
use crate::limit::{Window, WindowCap};
use crate::money::Usd;
use crate::store;

/// Which limits a state contains.
#[derive(Debug, Default)]
pub(super) struct Contained {
    as_of: i64,
    by_id: HashMap<i64, LimitKey>,
}

/// What has changed since a state.
pub(super) struct Changed {
    /// Of the limits only those that were set or changed.
    pub(super) data: LimitData,
    /// Those that were deleted.
    pub(super) gone: Vec<LimitKey>,
    set: Vec<(i64, LimitKey)>,
    gone_ids: Vec<i64>,
}

impl Contained {
    pub(super) fn apply(&mut self, changed: &Changed) {
        self.as_of = changed.data.as_of;
        for id in &changed.gone_ids {
            self.by_id.remove(id);
        }
        self.by_id.extend(changed.set.iter().copied());
    }
}

/// Everything, as of one moment, in as many queries as there are tables.
pub(super) async fn whole(db: &DatabaseConnection, now: i64) -> Result<(LimitData, Contained), DbErr> {
    let snapshot = store::begin_snapshot(db).await?;
    let as_of = last_stamp(&snapshot).await?;
    let limits = model_group_limits::Entity::find().all(&snapshot).await?;
    let (by_id, limits) = limits.iter().filter_map(limit).map(|(id, row)| ((id, key(&row)), row)).unzip();
    let data = LimitData { limits, ..the_rest(&snapshot, as_of, now).await? };
    snapshot.commit().await?;
    Ok((data, Contained { as_of, by_id }))
}

/// What has changed, as of one moment. None: that cannot be said, because somebody else than this program has changed the
/// table, or it was restored from an older copy.
///
/// Stamps rise in the order in which they are committed, so that a row of now was contained or has a later stamp. As many rows
/// as these two are together means that none of them is gone.
pub(super) async fn since(db: &DatabaseConnection, known: &Contained, now: i64) -> Result<Option<Changed>, DbErr> {
    use model_group_limits::{Column, Entity};
    let snapshot = store::begin_snapshot(db).await?;
    let as_of = last_stamp(&snapshot).await?;
    if as_of < known.as_of {
        return Ok(None);
    }
    let later = Entity::find().filter(Column::Stamp.gt(known.as_of)).all(&snapshot).await?;
    let (set, limits): (Vec<_>, Vec<_>) =
        later.iter().filter_map(limit).map(|(id, row)| ((id, key(&row)), row)).unzip();
    let new = set.iter().filter(|(id, _)| !known.by_id.contains_key(id)).count();
    let there = usize::try_from(Entity::find().count(&snapshot).await?).unwrap_or(0);
    let mut gone_ids = Vec::new();
    if there != known.by_id.len() + new {
        let ids: Vec<i64> = Entity::find().select_only().column(Column::Id).into_tuple().all(&snapshot).await?;
        let ids: HashSet<i64> = ids.into_iter().collect();
        gone_ids.extend(known.by_id.keys().filter(|id| !ids.contains(id)));
        if ids.len() != known.by_id.len() + new - gone_ids.len() {
            return Ok(None);
        }
    }
    let gone = gone_ids.iter().filter_map(|id| known.by_id.get(id)).copied().collect();
    let data = LimitData { limits, ..the_rest(&snapshot, as_of, now).await? };
    snapshot.commit().await?;
    Ok(Some(Changed { data, gone, set, gone_ids }))
}

async fn last_stamp(snapshot: &DatabaseTransaction) -> Result<i64, DbErr> {
    Ok(limit_stamps::Entity::find().one(snapshot).await?.map_or(0, |stamp| stamp.value))
}

/// Everything but limits.
async fn the_rest(snapshot: &DatabaseTransaction, as_of: i64, now: i64) -> Result<LimitData, DbErr> {
    use {model_group_members as models, quota_boost_grants as boosts, user_group_members as members};
    let mut models_of: HashMap<i64, Vec<String>> = HashMap::new();
    for row in models::Entity::find().order_by_asc(models::Column::Model).all(snapshot).await? {
        models_of.entry(row.model_group_id).or_default().push(row.model);
    }
    let mut members_of: HashMap<i64, Vec<i64>> = HashMap::new();
    let ids = members::Entity::find().select_only().columns([members::Column::UserGroupId, members::Column::UserId]);
    for (group, user) in ids.into_tuple().all(snapshot).await? {
        members_of.entry(group).or_default().push(user);
    }
    let model_groups = model_groups::Entity::find().order_by_asc(model_groups::Column::Id).all(snapshot).await?;
    let user_groups = user_groups::Entity::find().order_by_asc(user_groups::Column::Id).all(snapshot).await?;
    let boosts = boosts::Entity::find().filter(boosts::Column::ExpiresAt.gt(now)).all(snapshot).await?;
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
        as_of,
        model_groups: model_groups.into_iter().map(model_group).collect(),
        user_groups: user_groups.into_iter().map(user_group).collect(),
        limits: Vec::new(),
        boosts: boosts.iter().filter_map(boost).collect(),
    })
}

fn key(row: &LimitRow) -> LimitKey {
    (row.subject, row.model_group_id)
}

/// None for a row without a subject, which the database does not take.
fn limit(row: &model_group_limits::Model) -> Option<(i64, LimitRow)> {
    let subject = match (row.user_id, row.user_group_id, row.key_id) {
        (Some(user), _, _) => Subject::User(user),
        (_, Some(group), _) => Subject::UserGroup(group),
        (_, _, Some(key)) => Subject::Key(key),
        (None, None, None) => return None,
    };
    let (model_group_id, caps, stamp) = (row.model_group_id, limit_caps(row), row.stamp);
    Some((row.id, LimitRow { subject, model_group_id, caps, stamp }))
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
