//! `/users`: who pays.

mod fields;
mod of_group;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use entity::{keys, users};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};
use utoipa::IntoParams;

use super::AdminState;
use super::auth::{Admin, Viewer};
use super::extract::{Id, IfMatch, Params, Payload, patched};
use super::idempotency::{Answer, IdempotencyKey, with_etag};
use super::page::{Page, PageParams};
use super::problem::Problem;
use super::sort::{NamedParams, Orders, Sorted};
use super::stamps::Touched;
use super::store::{Names, Once, Write, name_taken};
use super::{gone, memberships};
pub use fields::{User, UserFields};

pub(super) const KIND: &str = "user";
const NAMES: Names<users::Entity> = Names { kind: KIND, what: KIND, id: users::Column::Id, name: users::Column::Name };
const ORDERS: Orders<users::Entity> =
    &[("id", users::Column::Id), ("name", users::Column::Name), ("createdAt", users::Column::CreatedAt)];

/// The filter, for the documentation.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code, reason = "documents what list reads")]
pub struct UserParams {
    /// The members of which user group.
    #[param(minimum = 1)]
    user_group_id: Option<i64>,
}

/// Lists users.
#[utoipa::path(get, path = "/users", operation_id = "listUsers", tag = "users",
    params(UserParams, NamedParams, PageParams),
    responses((status = 200, description = "A page of users.", body = Page<User>)))]
pub(super) async fn list(
    _: Viewer,
    State(state): State<AdminState>,
    mut params: Params,
) -> Result<Json<Page<User>>, Problem> {
    let group = params.id("userGroupId");
    let page = Sorted::read(&mut params, KIND, ORDERS);
    params.finish()?;
    let query = match group {
        Some(group) => of_group::select(&page, group, &state.db).await?,
        None => page.select(users::Entity::find(), None, state.db.get_database_backend()),
    };
    let rows = query.all(&state.db).await?;
    let groups = memberships::of_users(&state.db, rows.iter().map(|row| row.id)).await?;
    let show = |row: users::Model| {
        let groups = groups.get(&row.id).cloned().unwrap_or_default();
        User::show(row, groups)
    };
    page.page(rows, show).map(Json)
}

/// Creates a user.
#[utoipa::path(post, path = "/users", operation_id = "createUser", tag = "users", request_body = UserFields,
    responses(
        (status = 201, description = "The user.", body = User),
        (status = 409, description = "There is another user of this name, which `conflictsWith` names.", body = super::problem::ProblemDocument)))]
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
    let write = match Write::once(&state.db, actor, now, &key, &body.bytes).await? {
        Once::Replay(answer) => return Ok(state.replayed(answer).await),
        Once::Write(write) => write,
    };
    row.stamp = Set(write.stamp().await?);
    NAMES.is_free(&write, &row.name, None).await?;
    let row = row.insert(&write.txn).await.map_err(name_taken(KIND))?;
    memberships::replace(&write.txn, row.id, &[], &groups, now).await?;
    let user = User::show(row, groups.into_iter().collect())?;
    write.record("create", KIND, user.id, None::<&User>, Some(&user)).await?;
    let answer = Answer::created(format!("/api/v1/users/{}", user.id), user.version, &user)?;
    write.commit_with(&answer).await?;
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
        (status = 409, description = "There is another user of this name, which `conflictsWith` names.", body = super::problem::ProblemDocument)))]
pub(super) async fn update(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Id(id): Id,
    if_match: IfMatch,
    body: Payload,
) -> Result<Response, Problem> {
    let patch = body.patch()?;
    let write = Write::begin(&state.db, actor, state.now()).await?;
    let stamp = write.stamp().await?;
    let row = write.lock(users::Entity::find_by_id(id), KIND).await?;
    if_match.check(row.version)?;
    let before = User::show(row.clone(), memberships::of_user(&write.txn, id).await?)?;
    let fields = patched(&UserFields::of(&before, &row)?, patch)?;
    let mut row = row.into_active_model();
    let groups = fields.apply(&mut row)?;
    NAMES.is_free(&write, &row.name, Some(id)).await?;
    memberships::replace(&write.txn, id, &before.user_group_ids, &groups, write.now).await?;
    row.stamp = Set(stamp);
    row.version = Set(before.version + 1);
    row.updated_at = Set(write.now);
    let row = row.update(&write.txn).await.map_err(name_taken(KIND))?;
    let after = User::show(row, groups.into_iter().collect())?;
    write.record("update", KIND, id, Some(&before), Some(&after)).await?;
    write.commit().await?;
    if before.user_group_ids == after.user_group_ids {
        state.invalidate.user(id).await;
    } else {
        Touched::user(id).tell(&*state.invalidate).await;
    }
    Ok(with_etag(after.version, &after))
}

/// Deletes a user with its keys, memberships, limits and boosts; the audit log has a row of each key, limit and boost.
/// What it spent stays in the ledger.
#[utoipa::path(delete, path = "/users/{id}", operation_id = "deleteUser", tag = "users", params(("id" = i64, Path)),
    responses((status = 204, description = "It is gone.")))]
pub(super) async fn delete(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Id(id): Id,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let write = Write::begin(&state.db, actor, state.now()).await?;
    write.stamp().await?;
    let row = write.lock(users::Entity::find_by_id(id), KIND).await?;
    if_match.check(row.version)?;
    let before = User::show(row, memberships::of_user(&write.txn, id).await?)?;
    let owned = gone::with_user(&write, id).await?;
    memberships::written(&write.txn, before.user_group_ids.iter().copied(), write.now).await?;
    keys::Entity::delete_many().filter(keys::Column::UserId.eq(id)).exec(&write.txn).await?;
    users::Entity::delete_by_id(id).exec(&write.txn).await?;
    write.record("delete", KIND, id, Some(&before), None::<&User>).await?;
    write.commit().await?;
    Touched::user(id).tell(&*state.invalidate).await;
    for (key, hash) in owned {
        state.invalidate.key(key, &hash).await;
    }
    Ok(StatusCode::NO_CONTENT)
}
