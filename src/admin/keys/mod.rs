//! `/users/{id}/keys` and `/keys/{id}`: the secrets that clients send.

mod fields;
mod reset;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use entity::keys;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter,
    QuerySelect,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::AdminState;
use super::audit::{self, Entry};
use super::auth::{Admin, Viewer};
use super::extract::{Id, IfMatch, Params, Payload, merge_patch, object};
use super::idempotency::{Answer, Claim, IdempotencyKey};
use super::page::{Page, PageParams, PageRequest};
use super::problem::Problem;
use super::stamps::{self, Touched};
use super::store::begin;
use super::users::{json, locked as locked_user, with_etag};
use crate::directory::Secret;
pub use fields::{Key, KeyFields};
pub(super) use reset::*;

const KIND: &str = "key";

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

/// Lists the keys of a user, in the order of their ids.
#[utoipa::path(get, path = "/users/{id}/keys", operation_id = "listKeys", tag = "keys",
    params(("id" = i64, Path), PageParams),
    responses((status = 200, description = "A page of keys.", body = Page<Key>)))]
pub(super) async fn list(
    _: Viewer,
    State(state): State<AdminState>,
    Id(user_id): Id,
    mut params: Params,
) -> Result<Json<Page<Key>>, Problem> {
    let page = PageRequest::<i64>::read(&mut params, KIND);
    params.finish()?;
    if entity::users::Entity::find_by_id(user_id).one(&state.db).await?.is_none() {
        return Err(Problem::not_found("user"));
    }
    let of_user = keys::Entity::find().filter(keys::Column::UserId.eq(user_id));
    let query = page.by_id(of_user, keys::Column::Id);
    page.page(KIND, query.all(&state.db).await?, |row| row.id, Key::show).map(Json)
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
    let txn = begin(&state.db).await?;
    let claim = match key.claim(&txn, &actor, &body.bytes, now).await? {
        Claim::Replay(answer) => return Ok(answer),
        claim => claim,
    };
    // Locked, so that the key cannot be left behind by a deletion of its user at the same time.
    locked_user(&txn, user_id).await?;
    let key = Key::show(row.insert(&txn).await?)?;
    let entry = Entry { action: "create", object_type: KIND, object_id: &key.id.to_string() };
    audit::record(&txn, &actor, now, entry, None::<&Key>, Some(&key)).await?;
    let (id, location) = (key.id, format!("/api/v1/keys/{}", key.id));
    let without_secret = Answer::created(location, key.version, &key)?;
    let answer = without_secret.with_body(&KeyWithSecret { key, secret: secret.expose().to_owned() })?;
    without_secret.remember(&txn, claim).await?;
    txn.commit().await?;
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
    let now = state.now();
    let txn = begin(&state.db).await?;
    let stamp = stamps::next(&txn).await?;
    let row = locked(&txn, id).await?;
    if_match.check(row.version)?;
    let hash = row.secret_hash.clone();
    let before = Key::show(row.clone())?;
    let mut fields = json(&KeyFields::of(&before, &row)?)?;
    merge_patch(&mut fields, patch);
    let mut row = row.into_active_model();
    object::<KeyFields>(fields)?.apply(&mut row)?;
    row.stamp = Set(stamp);
    row.version = Set(before.version + 1);
    row.updated_at = Set(now);
    let after = Key::show(row.update(&txn).await?)?;
    let entry = Entry { action: "update", object_type: KIND, object_id: &id.to_string() };
    audit::record(&txn, &actor, now, entry, Some(&before), Some(&after)).await?;
    txn.commit().await?;
    state.invalidate.key(id, &hash).await;
    Ok(with_etag(after.version, &after))
}

/// Deletes a key with its limits. What it spent stays in the ledger.
#[utoipa::path(delete, path = "/keys/{id}", operation_id = "deleteKey", tag = "keys", params(("id" = i64, Path)),
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
    let hash = row.secret_hash.clone();
    let before = Key::show(row)?;
    keys::Entity::delete_by_id(id).exec(&txn).await?;
    let entry = Entry { action: "delete", object_type: KIND, object_id: &id.to_string() };
    audit::record(&txn, &actor, now, entry, Some(&before), None::<&Key>).await?;
    txn.commit().await?;
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
    let txn = begin(&state.db).await?;
    let claim = match key.claim(&txn, &actor, &body.bytes, now).await? {
        Claim::Replay(answer) => return Ok(answer),
        claim => claim,
    };
    let row = locked(&txn, id).await?;
    if_match.check(row.version)?;
    let old_hash = row.secret_hash.clone();
    let before = Key::show(row.clone())?;
    let mut row = row.into_active_model();
    row.secret_hash = Set(hash.clone());
    row.prefix = Set(secret.prefix().to_owned());
    row.version = Set(before.version + 1);
    row.updated_at = Set(now);
    let after = Key::show(row.update(&txn).await?)?;
    let entry = Entry { action: "rotate", object_type: KIND, object_id: &id.to_string() };
    audit::record(&txn, &actor, now, entry, Some(&before), Some(&after)).await?;
    let without_secret = Answer::done(Some(after.version), &after)?;
    let answer = without_secret.with_body(&KeyWithSecret { key: after, secret: secret.expose().to_owned() })?;
    without_secret.remember(&txn, claim).await?;
    txn.commit().await?;
    state.invalidate.key(id, &old_hash).await;
    state.invalidate.key(id, &hash).await;
    Ok(answer.into_response())
}

pub(super) async fn locked(txn: &DatabaseTransaction, id: i64) -> Result<keys::Model, Problem> {
    keys::Entity::find_by_id(id).lock_exclusive().one(txn).await?.ok_or_else(|| Problem::not_found(KIND))
}
