//! What goes along when a user, a key or a group is deleted: each has a row of its own in the audit log, so that it is
//! found there by its own id, and however many there are.

use entity::{keys, model_group_limits as limits, quota_boost_grants as boosts};
use sea_orm::sea_query::IntoCondition;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};

use super::keys::{KIND as KEY, Key};
use super::model_limits::{KIND as LIMIT, ModelLimit};
use super::problem::Problem;
use super::quota_boosts::{KIND as BOOST, QuotaBoost};
use super::store::Write;

const ACTION: &str = "delete";

/// Records what goes along with a user; returns the ids of its keys with the hashes of their secrets.
///
/// # Errors
/// What the database says.
pub async fn with_user(write: &Write, user: i64) -> Result<Vec<(i64, String)>, Problem> {
    let of_user = keys::Column::UserId.eq(user);
    // Locked: a secret that is being replaced is known under its new hash only afterwards.
    let owned = keys::Entity::find().filter(of_user.clone()).order_by_asc(keys::Column::Id).lock_exclusive();
    let owned = owned.all(&write.txn).await?;
    let ids = keys::Entity::find().select_only().column(keys::Column::Id).filter(of_user).into_query();
    let whose = Condition::any().add(limits::Column::UserId.eq(user)).add(limits::Column::KeyId.in_subquery(ids));
    record_limits(write, whose).await?;
    record_boosts(write, boosts::Column::UserId.eq(user)).await?;
    let hashes = owned.iter().map(|key| (key.id, key.secret_hash.clone())).collect();
    let rows = owned.into_iter().map(|key| write.row(ACTION, KEY, key.id, Some(&Key::show(key)?), None::<&Key>));
    write.record_all(rows.collect::<Result<_, Problem>>()?).await?;
    Ok(hashes)
}

/// Records what goes along with a key.
///
/// # Errors
/// What the database says.
pub async fn with_key(write: &Write, key: i64) -> Result<(), Problem> {
    record_limits(write, limits::Column::KeyId.eq(key)).await
}

/// Records what goes along with a user group, besides its memberships.
///
/// # Errors
/// What the database says.
pub async fn with_user_group(write: &Write, group: i64) -> Result<(), Problem> {
    record_limits(write, limits::Column::UserGroupId.eq(group)).await
}

/// Records what goes along with a model group, besides its models.
///
/// # Errors
/// What the database says.
pub async fn with_model_group(write: &Write, group: i64) -> Result<(), Problem> {
    record_limits(write, limits::Column::ModelGroupId.eq(group)).await?;
    record_boosts(write, boosts::Column::ModelGroupId.eq(group)).await
}

async fn record_limits(write: &Write, whose: impl IntoCondition) -> Result<(), Problem> {
    let limits = limits::Entity::find().filter(whose).order_by_asc(limits::Column::Id).all(&write.txn).await?;
    let row = |limit: limits::Model| {
        write.row(ACTION, LIMIT, limit.id, Some(&ModelLimit::show(&limit)?), None::<&ModelLimit>)
    };
    write.record_all(limits.into_iter().map(row).collect::<Result<_, _>>()?).await
}

async fn record_boosts(write: &Write, whose: impl IntoCondition) -> Result<(), Problem> {
    let boosts = boosts::Entity::find().filter(whose).order_by_asc(boosts::Column::Id).all(&write.txn).await?;
    let row =
        |boost: boosts::Model| write.row(ACTION, BOOST, boost.id, Some(&QuotaBoost::from(boost)), None::<&QuotaBoost>);
    write.record_all(boosts.into_iter().map(row).collect::<Result<_, _>>()?).await
}
