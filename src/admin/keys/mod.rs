//! `/users/{id}/keys` and `/keys/{id}`: the secrets that clients send.

mod fields;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use entity::{keys, users};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, EntityTrait, IntoActiveModel};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::auth::{Admin, Viewer};
use super::extract::{Id, IfMatch, Params, Payload, patched};
use super::idempotency::{Answer, IdempotencyKey, with_etag};
use super::page::{Page, PageParams};
use super::problem::Problem;
use super::sort::{NamedParams, Orders, Sorted};
use super::stamps::Touched;
use super::store::{Once, Write};
use super::{AdminState, gone};
use crate::directory::Secret;
pub use fields::{Key, KeyFields};

pub(super) const KIND: &str = "key";
const ORDERS: Orders<keys::Entity> =
    &[("id", keys::Column::Id), ("name", keys::Column::Name), ("createdAt", keys::Column::CreatedAt)];

/// A key with its secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyWithSecret {
    #[serde(flatten)]
    key: Key,
    /// Shown this once. It is left out of the answer to a repeated request (see `Idempotency-Replayed`).
    #[schema(required = false, pattern = "^tg-[A-Za-z0-9_-]{43}$")]
    secret: String,
}

/// The filter, for the documentation.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code, reason = "documents what list_all reads")]
pub struct KeyParams {
    /// Whose keys.
    #[param(minimum = 1)]
    user_id: Option<i64>,
}

/// Lists keys of all users, or as `/users/{id}/keys` does of one.
#[utoipa::path(get, path = "/keys", operation_id = "listAllKeys", tag = "keys",
    params(KeyParams, NamedParams, PageParams),
    responses((status = 200, description = "A page of keys.", body = Page<Key>)))]
pub(super) async fn list_all(
    _: Viewer,
    State(state): State<AdminState>,
    mut params: Params,
) -> Result<Json<Page<Key>>, Problem> {
    let of_user = params.id("userId").map(|id| (keys::Column::UserId, id));
    let page = Sorted::read(&mut params, KIND, ORDERS);
    params.finish()?;
    let query = page.select(keys::Entity::find(), of_user, state.db.get_database_backend());
    page.page(query.all(&state.db).await?, Key::show).map(Json)
}

/// Lists the keys of a user.
#[utoipa::path(get, path = "/users/{id}/keys", operation_id = "listKeys", tag = "keys",
    params(("id" = i64, Path), NamedParams, PageParams),
    responses((status = 200, description = "A page of keys.", body = Page<Key>)))]
pub(super) async fn list(
    _: Viewer,
    State(state): State<AdminState>,
    Id(user_id): Id,
    mut params: Params,
) -> Result<Json<Page<Key>>, Problem> {
    let page = Sorted::read(&mut params, KIND, ORDERS);
    params.finish()?;
    if users::Entity::find_by_id(user_id).one(&state.db).await?.is_none() {
        return Err(Problem::not_found("user"));
    }
    let of_user = Some((keys::Column::UserId, user_id));
    let query = page.select(keys::Entity::find(), of_user, state.db.get_database_backend());
    page.page(query.all(&state.db).await?, Key::show).map(Json)
}

/// Creates a key of a user; the answer shows its secret, once.
#[utoipa::path(post, path = "/users/{id}/keys", operation_id = "createKey", tag = "keys", params(("id" = i64, Path)),
    request_body = KeyFields,
    responses((status = 201, description = "The key with its secret.", body = KeyWithSecret)))]
pub(super) async fn create(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Id(user_id): Id,
    key: IdempotencyKey,
    body: Payload,
) -> Result<Response, Problem> {
    let now = state.now();
    let secret = Secret::for_key();
    let hash = secret.hash().to_string();
    let mut row = keys::ActiveModel {
        user_id: Set(user_id),
        secret_hash: Set(hash.clone()),
        prefix: Set(secret.prefix().to_owned()),
        version: Set(1),
        created_at: Set(now),
        updated_at: Set(now),
        ..Default::default()
    };
    body.object::<KeyFields>()?.apply(&mut row)?;
    let write = match Write::once(&state.db, actor, now, &key, &body.bytes).await? {
        Once::Replay(answer) => return Ok(state.replayed(answer).await),
        Once::Write(write) => write,
    };
    // Locked, so that the key cannot be left behind by a deletion of its user at the same time.
    write.lock(users::Entity::find_by_id(user_id), "user").await?;
    let key = Key::show(row.insert(&write.txn).await?)?;
    write.record("create", KIND, key.id, None::<&Key>, Some(&key)).await?;
    let (id, location) = (key.id, format!("/api/v1/keys/{}", key.id));
    let without_secret = Answer::created(location, key.version, &key)?;
    let answer = without_secret.with_body(&KeyWithSecret { key, secret: secret.expose().to_owned() })?;
    write.commit_with(&without_secret).await?;
    state.invalidate.key(id, &hash).await;
    Ok(answer.into_response())
}

/// Shows a key.
#[utoipa::path(get, path = "/keys/{id}", operation_id = "getKey", tag = "keys", params(("id" = i64, Path)),
    responses((status = 200, description = "The key.", body = Key)))]
pub(super) async fn get(_: Viewer, State(state): State<AdminState>, Id(id): Id) -> Result<Response, Problem> {
    let row = keys::Entity::find_by_id(id).one(&state.db).await?.ok_or_else(|| Problem::not_found(KIND))?;
    Ok(with_etag(row.version, &Key::show(row)?))
}

/// Changes a key.
#[utoipa::path(patch, path = "/keys/{id}", operation_id = "updateKey", tag = "keys", params(("id" = i64, Path)),
    request_body = KeyFields,
    responses((status = 200, description = "The key.", body = Key)))]
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
    let row = write.lock(keys::Entity::find_by_id(id), KIND).await?;
    if_match.check(row.version)?;
    let hash = row.secret_hash.clone();
    let before = Key::show(row.clone())?;
    let fields = patched(&KeyFields::of(&before, &row)?, patch)?;
    let mut row = row.into_active_model();
    fields.apply(&mut row)?;
    row.stamp = Set(stamp);
    row.version = Set(before.version + 1);
    row.updated_at = Set(write.now);
    let after = Key::show(row.update(&write.txn).await?)?;
    write.record("update", KIND, id, Some(&before), Some(&after)).await?;
    write.commit().await?;
    state.invalidate.key(id, &hash).await;
    Ok(with_etag(after.version, &after))
}

/// Deletes a key with its limits; the audit log has a row of each. What it spent stays in the ledger.
#[utoipa::path(delete, path = "/keys/{id}", operation_id = "deleteKey", tag = "keys", params(("id" = i64, Path)),
    responses((status = 204, description = "It is gone.")))]
pub(super) async fn delete(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Id(id): Id,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let write = Write::begin(&state.db, actor, state.now()).await?;
    write.stamp().await?;
    let row = write.lock(keys::Entity::find_by_id(id), KIND).await?;
    if_match.check(row.version)?;
    let hash = row.secret_hash.clone();
    let before = Key::show(row)?;
    gone::with_key(&write, id).await?;
    keys::Entity::delete_by_id(id).exec(&write.txn).await?;
    write.record("delete", KIND, id, Some(&before), None::<&Key>).await?;
    write.commit().await?;
    Touched::key(id, hash).tell(&*state.invalidate).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a key a new secret; the old one is refused at once. The answer shows the new one, once.
#[utoipa::path(post, path = "/keys/{id}:rotate", operation_id = "rotateKey", tag = "keys", params(("id" = i64, Path)),
    responses((status = 200, description = "The key with its new secret.", body = KeyWithSecret)))]
pub(super) async fn rotate(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Id(id): Id,
    if_match: IfMatch,
    key: IdempotencyKey,
    body: Payload,
) -> Result<Response, Problem> {
    body.nothing()?;
    let now = state.now();
    let secret = Secret::for_key();
    let hash = secret.hash().to_string();
    let write = match Write::once(&state.db, actor, now, &key, &body.bytes).await? {
        Once::Replay(answer) => return Ok(state.replayed(answer).await),
        Once::Write(write) => write,
    };
    let row = write.lock(keys::Entity::find_by_id(id), KIND).await?;
    if_match.check(row.version)?;
    let old_hash = row.secret_hash.clone();
    let before = Key::show(row.clone())?;
    let mut row = row.into_active_model();
    row.secret_hash = Set(hash.clone());
    row.prefix = Set(secret.prefix().to_owned());
    row.version = Set(before.version + 1);
    row.updated_at = Set(now);
    let after = Key::show(row.update(&write.txn).await?)?;
    write.record("rotate", KIND, id, Some(&before), Some(&after)).await?;
    let without_secret = Answer::done(Some(after.version), &after)?;
    let answer = without_secret.with_body(&KeyWithSecret { key: after, secret: secret.expose().to_owned() })?;
    write.commit_with(&without_secret).await?;
    state.invalidate.key(id, &old_hash).await;
    state.invalidate.key(id, &hash).await;
    Ok(answer.into_response())
}
