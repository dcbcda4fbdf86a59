//! `/users`: who pays.

mod fields;
mod reset;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use entity::{keys, users};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter,
    QuerySelect,
};
use serde::Serialize;
use serde_json::Value;

use super::AdminState;
use super::audit::{self, Entry};
use super::auth::{Admin, Viewer};
use super::extract::{Id, IfMatch, Params, Payload, merge_patch, object};
use super::idempotency::{Answer, Claim, IdempotencyKey, etag};
use super::memberships;
use super::page::{Page, PageParams, PageRequest};
use super::problem::Problem;
use super::stamps::{self, Touched};
use super::store::{begin, name_taken};
pub use fields::{User, UserFields};
pub(super) use reset::*;

const KIND: &str = "user";

/// Lists users, in the order of their ids.
#[utoipa::path(get, path = "/users", operation_id = "listUsers", tag = "users", params(PageParams),
    responses((status = 200, description = "A page of users.", body = Page<User>)))]
pub(super) async fn list(
    _: Viewer,
    State(state): State<AdminState>,
    mut params: Params,
) -> Result<Json<Page<User>>, Problem> {
    let page = PageRequest::<i64>::read(&mut params, KIND);
    params.finish()?;
    let query = page.by_id(users::Entity::find(), users::Column::Id);
    let rows = query.all(&state.db).await?;
    let groups = memberships::of_users(&state.db, rows.iter().map(|row| row.id)).await?;
    let show = |row: users::Model| {
        let groups = groups.get(&row.id).cloned().unwrap_or_default();
        User::show(row, groups)
    };
    page.page(KIND, rows, |row| row.id, show).map(Json)
}

/// Creates a user.
#[utoipa::path(post, path = "/users", operation_id = "createUser", tag = "users", request_body = UserFields,
    responses(
        (status = 201, description = "The user.", body = User),
        (status = 409, description = "There is another user of this name.", body = super::problem::ProblemDocument)))]
pub(super) async fn create(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    key: IdempotencyKey,
    body: Payload,
) -> Result<Response, Problem> {
    let now = state.now();
    let mut row =
        users::ActiveModel { version: Set(1), created_at: Set(now), updated_at: Set(now), ..Default::default() };
    let groups = body.object::<UserFields>()?.apply(&mut row)?;
    let txn = begin(&state.db).await?;
    let claim = match key.claim(&txn, &actor, &body.bytes, now).await? {
        Claim::Replay(answer) => return Ok(answer),
        claim => claim,
    };
    row.stamp = Set(stamps::next(&txn).await?);
    let row = row.insert(&txn).await.map_err(name_taken(KIND))?;
    memberships::replace(&txn, row.id, &[], &groups).await?;
    let user = User::show(row, groups.into_iter().collect())?;
    let entry = Entry { action: "create", object_type: KIND, object_id: &user.id.to_string() };
    audit::record(&txn, &actor, now, entry, None::<&User>, Some(&user)).await?;
    let answer = Answer::created(format!("/api/v1/users/{}", user.id), user.version, &user)?;
    answer.remember(&txn, claim).await?;
    txn.commit().await?;
    if user.user_group_ids.is_empty() {
        state.invalidate.user(user.id).await;
    } else {
        Touched::user(user.id).tell(&*state.invalidate).await;
    }
    Ok(answer.into_response())
}

/// Shows a user.
#[utoipa::path(get, path = "/users/{id}", operation_id = "getUser", tag = "users", params(("id" = i64, Path)),
    responses((status = 200, description = "The user.", body = User)))]
pub(super) async fn get(_: Viewer, State(state): State<AdminState>, Id(id): Id) -> Result<Response, Problem> {
    let row = users::Entity::find_by_id(id).one(&state.db).await?.ok_or_else(|| Problem::not_found(KIND))?;
    let groups = memberships::of_user(&state.db, id).await?;
    Ok(with_etag(row.version, &User::show(row, groups)?))
}

/// Changes a user.
#[utoipa::path(patch, path = "/users/{id}", operation_id = "updateUser", tag = "users", params(("id" = i64, Path)),
    request_body = UserFields,
    responses(
        (status = 200, description = "The user.", body = User),
        (status = 409, description = "There is another user of this name.", body = super::problem::ProblemDocument)))]
pub(super) async fn update(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Id(id): Id,
    if_match: IfMatch,
    body: Payload,
) -> Result<Response, Problem> {
    let patch = body.patch()?;
    let now = state.now();
    let txn = begin(&state.db).await?;
    let stamp = stamps::next(&txn).await?;
    let row = locked(&txn, id).await?;
    if_match.check(row.version)?;
    let before = User::show(row.clone(), memberships::of_user(&txn, id).await?)?;
    let mut fields = json(&UserFields::of(&before, &row)?)?;
    merge_patch(&mut fields, patch);
    let mut row = row.into_active_model();
    let groups = object::<UserFields>(fields)?.apply(&mut row)?;
    memberships::replace(&txn, id, &before.user_group_ids, &groups).await?;
    row.stamp = Set(stamp);
    row.version = Set(before.version + 1);
    row.updated_at = Set(now);
    let row = row.update(&txn).await.map_err(name_taken(KIND))?;
    let after = User::show(row, groups.into_iter().collect())?;
    let entry = Entry { action: "update", object_type: KIND, object_id: &id.to_string() };
    audit::record(&txn, &actor, now, entry, Some(&before), Some(&after)).await?;
    txn.commit().await?;
    if before.user_group_ids == after.user_group_ids {
        state.invalidate.user(id).await;
    } else {
        Touched::user(id).tell(&*state.invalidate).await;
    }
    Ok(with_etag(after.version, &after))
}

/// Deletes a user with its keys, memberships, limits and boosts. What it spent stays in the ledger.
#[utoipa::path(delete, path = "/users/{id}", operation_id = "deleteUser", tag = "users", params(("id" = i64, Path)),
    responses((status = 204, description = "It is gone.")))]
pub(super) async fn delete(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Id(id): Id,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let now = state.now();
    let txn = begin(&state.db).await?;
    stamps::next(&txn).await?;
    let row = locked(&txn, id).await?;
    if_match.check(row.version)?;
    let before = User::show(row, memberships::of_user(&txn, id).await?)?;
    let owned: Vec<(i64, String)> = keys::Entity::find()
        .select_only()
        .column(keys::Column::Id)
        .column(keys::Column::SecretHash)
        .filter(keys::Column::UserId.eq(id))
        .into_tuple()
        .all(&txn)
        .await?;
    keys::Entity::delete_many().filter(keys::Column::UserId.eq(id)).exec(&txn).await?;
    users::Entity::delete_by_id(id).exec(&txn).await?;
    let entry = Entry { action: "delete", object_type: KIND, object_id: &id.to_string() };
    audit::record(&txn, &actor, now, entry, Some(&before), None::<&User>).await?;
    txn.commit().await?;
    Touched::user(id).tell(&*state.invalidate).await;
    for (key, hash) in owned {
        state.invalidate.key(key, &hash).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The user, and nobody else may change or delete it until the transaction ends.
pub(super) async fn locked(txn: &DatabaseTransaction, id: i64) -> Result<users::Model, Problem> {
    users::Entity::find_by_id(id).lock_exclusive().one(txn).await?.ok_or_else(|| Problem::not_found(KIND))
}

/// An object with its version as `ETag`.
pub(super) fn with_etag<T: Serialize>(version: i64, body: &T) -> Response {
    let mut response = Json(body).into_response();
    response.headers_mut().insert(header::ETAG, etag(version));
    response
}

/// An object as a value that a patch can change.
pub(super) fn json<T: Serialize>(object: &T) -> Result<Value, Problem> {
    serde_json::to_value(object).map_err(|error| Problem::internal(&error))
}
