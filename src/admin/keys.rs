//! `/users/{id}/keys` and `/keys/{id}`: the secrets that clients send.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use entity::keys;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter,
    QueryOrder, QuerySelect,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AdminState;
use super::audit::{self, Entry};
use super::auth::{Admin, Viewer};
use super::extract::{Id, IfMatch, Params, Payload, merge_patch, object};
use super::idempotency::{Answer, Claim, IdempotencyKey};
use super::page::{Page, PageParams, PageRequest};
use super::problem::Problem;
use super::store::begin;
use super::time::Instant;
use super::users::{json, locked as locked_user, with_etag};
use super::validate::{self, Check};
use crate::directory::Secret;

const KIND: &str = "key";

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// Never reused.
    pub id: i64,
    /// Whose it is.
    pub user_id: i64,
    /// Display name.
    pub name: String,
    /// The first characters of the secret, to recognise it by.
    pub prefix: String,
    /// Whether it is accepted.
    pub enabled: bool,
    /// From when on it is refused.
    #[schema(required)]
    pub expires_at: Option<Instant>,
    /// Requests per minute; null: not limited.
    #[schema(required)]
    pub rpm: Option<i32>,
    /// Requests in flight at once; null: not limited.
    #[schema(required)]
    pub max_concurrent_requests: Option<i32>,
    /// Globs on the requested model; empty: all. The user must allow the model too.
    pub allowed_models: Vec<String>,
    /// Names of provider groups; empty: all. Those of the user are intersected.
    pub provider_groups: Vec<String>,
    /// Counts the writes.
    pub version: i64,
    /// When it was created.
    pub created_at: Instant,
    /// When it was last written.
    pub updated_at: Instant,
}

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

/// What may be written of a key.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyFields {
    #[schema(schema_with = validate::name_schema)]
    name: String,
    /// Whether it is accepted.
    #[serde(default = "validate::yes")]
    enabled: bool,
    /// From when on it is refused; in the past: at once.
    #[serde(default)]
    expires_at: Option<Instant>,
    #[serde(default, deserialize_with = "validate::integer")]
    #[schema(schema_with = validate::count_schema)]
    rpm: Option<i64>,
    #[serde(default, deserialize_with = "validate::integer")]
    #[schema(schema_with = validate::count_schema)]
    max_concurrent_requests: Option<i64>,
    #[serde(default)]
    #[schema(schema_with = validate::globs_schema)]
    allowed_models: Option<Vec<String>>,
    #[serde(default)]
    #[schema(schema_with = validate::groups_schema)]
    provider_groups: Option<Vec<String>>,
}

impl KeyFields {
    fn of(key: &Key) -> Self {
        Self {
            name: key.name.clone(),
            enabled: key.enabled,
            expires_at: key.expires_at,
            rpm: key.rpm.map(i64::from),
            max_concurrent_requests: key.max_concurrent_requests.map(i64::from),
            allowed_models: Some(key.allowed_models.clone()),
            provider_groups: Some(key.provider_groups.clone()),
        }
    }

    /// Checks the fields and writes them into a row.
    fn apply(self, row: &mut keys::ActiveModel) -> Result<(), Problem> {
        let mut check = Check::default();
        row.name = Set(check.name("name", &self.name));
        row.enabled = Set(self.enabled);
        row.expires_at = Set(self.expires_at.map(|Instant(at)| at));
        row.rpm = Set(check.count("rpm", self.rpm));
        row.max_concurrent_requests = Set(check.count("maxConcurrentRequests", self.max_concurrent_requests));
        row.allowed_models = Set(check.globs("allowedModels", self.allowed_models));
        row.provider_groups = Set(check.groups("providerGroups", self.provider_groups));
        check.finish()
    }
}

impl Key {
    /// A row as the API shows it.
    ///
    /// # Errors
    /// The row is damaged.
    pub fn show(row: keys::Model) -> Result<Self, Problem> {
        Ok(Self {
            id: row.id,
            user_id: row.user_id,
            name: row.name,
            prefix: row.prefix,
            enabled: row.enabled,
            expires_at: row.expires_at.map(Instant),
            rpm: row.rpm,
            max_concurrent_requests: row.max_concurrent_requests,
            allowed_models: validate::shown(row.allowed_models.as_deref())?,
            provider_groups: validate::shown(row.provider_groups.as_deref())?,
            version: row.version,
            created_at: Instant(row.created_at),
            updated_at: Instant(row.updated_at),
        })
    }
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
    let mut query = keys::Entity::find()
        .filter(keys::Column::UserId.eq(user_id))
        .order_by_asc(keys::Column::Id)
        .limit(page.fetch());
    if let Some(after) = page.after {
        query = query.filter(keys::Column::Id.gt(after));
    }
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
    let row = locked(&txn, id).await?;
    if_match.check(row.version)?;
    let hash = row.secret_hash.clone();
    let before = Key::show(row.clone())?;
    let mut fields = json(&KeyFields::of(&before))?;
    merge_patch(&mut fields, patch);
    let mut row = row.into_active_model();
    object::<KeyFields>(fields)?.apply(&mut row)?;
    row.version = Set(before.version + 1);
    row.updated_at = Set(now);
    let after = Key::show(row.update(&txn).await?)?;
    let entry = Entry { action: "update", object_type: KIND, object_id: &id.to_string() };
    audit::record(&txn, &actor, now, entry, Some(&before), Some(&after)).await?;
    txn.commit().await?;
    state.invalidate.key(id, &hash).await;
    Ok(with_etag(after.version, &after))
}

/// Deletes a key. What it spent stays in the ledger.
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
    let row = locked(&txn, id).await?;
    if_match.check(row.version)?;
    let hash = row.secret_hash.clone();
    let before = Key::show(row)?;
    keys::Entity::delete_by_id(id).exec(&txn).await?;
    let entry = Entry { action: "delete", object_type: KIND, object_id: &id.to_string() };
    audit::record(&txn, &actor, now, entry, Some(&before), None::<&Key>).await?;
    txn.commit().await?;
    state.invalidate.key(id, &hash).await;
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

async fn locked(txn: &DatabaseTransaction, id: i64) -> Result<keys::Model, Problem> {
    keys::Entity::find_by_id(id).lock_exclusive().one(txn).await?.ok_or_else(|| Problem::not_found(KIND))
}
