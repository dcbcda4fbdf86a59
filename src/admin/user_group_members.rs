//! `/user-groups/{id}/members/{userId}`: who is in a user group.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use entity::user_group_members::{ActiveModel, Entity};
use entity::{user_groups, users};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, DatabaseTransaction, EntityTrait, IntoActiveModel};
use serde::Serialize;

use super::AdminState;
use super::auth::Admin;
use super::extract::{IdAndId, IfMatch};
use super::idempotency::with_etag;
use super::problem::Problem;
use super::stamps::Touched;
use super::store::Write;
use super::user_groups::{KIND, NAME, UserGroup, count};

/// A member, as the audit log shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    user_id: i64,
}

/// Puts a user into a group; does nothing when it is in it.
#[utoipa::path(put, path = "/user-groups/{id}/members/{userId}", operation_id = "addUserGroupMember", tag = "groups",
    params(("id" = i64, Path), ("userId" = i64, Path)),
    responses((status = 200, description = "The user group.", body = UserGroup)))]
pub(super) async fn put(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    IdAndId(id, user_id): IdAndId,
    if_match: IfMatch,
) -> Result<Response, Problem> {
    let write = Write::begin(&state.db, actor, state.now()).await?;
    let stamp = write.stamp().await?;
    let group = write.lock(user_groups::Entity::find_by_id(id), NAME).await?;
    if_match.check(group.version)?;
    if users::Entity::find_by_id(user_id).one(&write.txn).await?.is_none() {
        return Err(Problem::not_found("user"));
    }
    if Entity::find_by_id((id, user_id)).one(&write.txn).await?.is_some() {
        let group = UserGroup::show(group, count(&write.txn, id).await?);
        drop(write);
        // Whoever made it so may not have lived to tell.
        Touched::user(user_id).tell(&*state.invalidate).await;
        return Ok(with_etag(group.version, &group));
    }
    let touched = Touched::member(&write.txn, user_id, stamp, write.now).await?;
    Entity::insert(ActiveModel { user_group_id: Set(id), user_id: Set(user_id) })
        .exec_without_returning(&write.txn)
        .await?;
    let group = written(&write.txn, group, write.now).await?;
    write.record("add_member", KIND, id, None::<&Member>, Some(&Member { user_id })).await?;
    write.commit().await?;
    touched.tell(&*state.invalidate).await;
    Ok(with_etag(group.version, &group))
}

/// Takes a user out of a group.
#[utoipa::path(delete, path = "/user-groups/{id}/members/{userId}", operation_id = "removeUserGroupMember",
    tag = "groups", params(("id" = i64, Path), ("userId" = i64, Path)),
    responses((status = 204, description = "It is not in the group any more.")))]
pub(super) async fn delete(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    IdAndId(id, user_id): IdAndId,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let write = Write::begin(&state.db, actor, state.now()).await?;
    let stamp = write.stamp().await?;
    let group = write.lock(user_groups::Entity::find_by_id(id), NAME).await?;
    if_match.check(group.version)?;
    if Entity::delete_by_id((id, user_id)).exec(&write.txn).await?.rows_affected == 0 {
        return Err(Problem::not_found("member of this user group"));
    }
    let touched = Touched::member(&write.txn, user_id, stamp, write.now).await?;
    written(&write.txn, group, write.now).await?;
    write.record("remove_member", KIND, id, Some(&Member { user_id }), None::<&Member>).await?;
    write.commit().await?;
    touched.tell(&*state.invalidate).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The group at its next version. Its stamp stays: what has changed is its member's.
async fn written(txn: &DatabaseTransaction, group: user_groups::Model, now: i64) -> Result<UserGroup, Problem> {
    let (id, version) = (group.id, group.version + 1);
    let mut row = group.into_active_model();
    (row.version, row.updated_at) = (Set(version), Set(now));
    Ok(UserGroup::show(row.update(txn).await?, count(txn, id).await?))
}
