//! Which users are in which user groups.

use std::collections::{BTreeSet, HashMap};

use entity::user_group_members::{ActiveModel, Column, Entity};
use entity::user_groups;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter};
use sea_orm::{QueryOrder, QuerySelect};

use super::problem::{InvalidParam, Problem};

/// The groups of each of these users, in the order of their ids; in one query.
///
/// # Errors
/// What the database says.
pub async fn of_users(
    db: &impl ConnectionTrait,
    users: impl IntoIterator<Item = i64>,
) -> Result<HashMap<i64, Vec<i64>>, Problem> {
    let rows = Entity::find().filter(Column::UserId.is_in(users)).order_by_asc(Column::UserGroupId).all(db).await?;
    let mut groups: HashMap<i64, Vec<i64>> = HashMap::new();
    for row in rows {
        groups.entry(row.user_id).or_default().push(row.user_group_id);
    }
    Ok(groups)
}

/// The groups of a user, in the order of their ids.
///
/// # Errors
/// What the database says.
pub async fn of_user(db: &impl ConnectionTrait, user: i64) -> Result<Vec<i64>, Problem> {
    Ok(of_users(db, [user]).await?.remove(&user).unwrap_or_default())
}

/// The members of a group, in the order of their ids.
///
/// # Errors
/// What the database says.
pub async fn of_group(db: &impl ConnectionTrait, group: i64) -> Result<Vec<i64>, Problem> {
    let ids = Entity::find().select_only().column(Column::UserId).filter(Column::UserGroupId.eq(group));
    Ok(ids.order_by_asc(Column::UserId).into_tuple().all(db).await?)
}

/// Puts a user into these groups and no others. The groups that it joins or leaves are at their next version.
///
/// # Errors
/// One of the groups does not exist.
pub async fn replace(
    txn: &DatabaseTransaction,
    user: i64,
    before: &[i64],
    wanted: &BTreeSet<i64>,
    now: i64,
) -> Result<(), Problem> {
    let new: Vec<i64> = wanted.iter().copied().filter(|id| !before.contains(id)).collect();
    let old: Vec<i64> = before.iter().copied().filter(|id| !wanted.contains(id)).collect();
    written(txn, old.iter().chain(&new).copied(), now).await?;
    if !old.is_empty() {
        let gone = Entity::delete_many().filter(Column::UserId.eq(user)).filter(Column::UserGroupId.is_in(old));
        gone.exec(txn).await?;
    }
    if new.is_empty() {
        return Ok(());
    }
    let known: Vec<i64> = user_groups::Entity::find()
        .select_only()
        .column(user_groups::Column::Id)
        .filter(user_groups::Column::Id.is_in(new.iter().copied()))
        .into_tuple()
        .all(txn)
        .await?;
    let unknown: Vec<_> = new
        .iter()
        .filter(|id| !known.contains(id))
        .map(|id| InvalidParam::new("userGroupIds", "invalid", format!("there is no user group {id}")))
        .collect();
    if !unknown.is_empty() {
        return Err(Problem::validation(unknown));
    }
    let rows = new.into_iter().map(|group| ActiveModel { user_group_id: Set(group), user_id: Set(user) });
    Entity::insert_many(rows).exec_without_returning(txn).await?;
    Ok(())
}

/// Brings groups whose members change to their next version: they show how many they are. Their stamps stay, as what has
/// changed is the member's.
///
/// # Errors
/// What the database says.
pub async fn written(
    txn: &DatabaseTransaction,
    groups: impl IntoIterator<Item = i64>,
    now: i64,
) -> Result<(), Problem> {
    use user_groups::Column;
    let groups: Vec<i64> = groups.into_iter().collect();
    if groups.is_empty() {
        return Ok(());
    }
    let update = user_groups::Entity::update_many()
        .col_expr(Column::Version, Expr::col(Column::Version).add(1_i64))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(Column::Id.is_in(groups));
    update.exec(txn).await?;
    Ok(())
}
