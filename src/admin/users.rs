//! `/users`: who pays.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use entity::{keys, users};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter,
    QueryOrder, QuerySelect,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::AdminState;
use super::audit::{self, Entry};
use super::auth::{Admin, Viewer};
use super::extract::{Id, IfMatch, Params, Payload, merge_patch, object};
use super::idempotency::{Answer, Claim, IdempotencyKey, etag};
use super::page::{Page, PageParams, PageRequest};
use super::problem::Problem;
use super::store::{begin, name_taken};
use super::time::Instant;
use super::validate::{self, Check};

const KIND: &str = "user";

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Never reused.
    pub id: i64,
    /// Unique.
    pub name: String,
    /// Free text for the administrator.
    #[schema(required)]
    pub note: Option<String>,
    /// Whether its keys are accepted.
    pub enabled: bool,
    /// From when on its keys are refused.
    #[schema(required)]
    pub expires_at: Option<Instant>,
    /// Requests per minute over all its keys; null: not limited.
    #[schema(required)]
    pub rpm: Option<i32>,
    /// Requests in flight at once over all its keys; null: not limited.
    #[schema(required)]
    pub max_concurrent_requests: Option<i32>,
    /// Globs on the requested model; empty: all.
    pub allowed_models: Vec<String>,
    /// Names of provider groups; empty: all.
    pub provider_groups: Vec<String>,
    /// Counts the writes.
    pub version: i64,
    /// When it was created.
    pub created_at: Instant,
    /// When it was last written.
    pub updated_at: Instant,
}

/// What may be written of a user.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserFields {
    #[schema(schema_with = validate::name_schema)]
    name: String,
    #[serde(default)]
    #[schema(schema_with = validate::note_schema)]
    note: Option<String>,
    /// Whether its keys are accepted.
    #[serde(default = "validate::yes")]
    #[schema(default = true)]
    enabled: bool,
    /// From when on its keys are refused; in the past: at once.
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

impl UserFields {
    fn of(user: &User) -> Self {
        Self {
            name: user.name.clone(),
            note: user.note.clone(),
            enabled: user.enabled,
            expires_at: user.expires_at,
            rpm: user.rpm.map(i64::from),
            max_concurrent_requests: user.max_concurrent_requests.map(i64::from),
            allowed_models: Some(user.allowed_models.clone()),
            provider_groups: Some(user.provider_groups.clone()),
        }
    }

    /// Checks the fields and writes them into a row.
    fn apply(self, row: &mut users::ActiveModel) -> Result<(), Problem> {
        let mut check = Check::default();
        row.name = Set(check.name("name", &self.name));
        row.note = Set(check.note("note", self.note));
        row.enabled = Set(self.enabled);
        row.expires_at = Set(self.expires_at.map(|Instant(at)| at));
        row.rpm = Set(check.count("rpm", self.rpm));
        row.max_concurrent_requests = Set(check.count("maxConcurrentRequests", self.max_concurrent_requests));
        row.allowed_models = Set(check.globs("allowedModels", self.allowed_models));
        row.provider_groups = Set(check.groups("providerGroups", self.provider_groups));
        check.finish()
    }
}

impl User {
    /// A row as the API shows it.
    ///
    /// # Errors
    /// The row is damaged.
    pub fn show(row: users::Model) -> Result<Self, Problem> {
        Ok(Self {
            id: row.id,
            name: row.name,
            note: row.note,
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
    let mut query = users::Entity::find().order_by_asc(users::Column::Id).limit(page.fetch());
    if let Some(after) = page.after {
        query = query.filter(users::Column::Id.gt(after));
    }
    page.page(KIND, query.all(&state.db).await?, |row| row.id, User::show).map(Json)
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
    body.object::<UserFields>()?.apply(&mut row)?;
    let txn = begin(&state.db).await?;
    let claim = match key.claim(&txn, &actor, &body.bytes, now).await? {
        Claim::Replay(answer) => return Ok(answer),
        claim => claim,
    };
    let user = User::show(row.insert(&txn).await.map_err(name_taken(KIND))?)?;
    let entry = Entry { action: "create", object_type: KIND, object_id: &user.id.to_string() };
    audit::record(&txn, &actor, now, entry, None::<&User>, Some(&user)).await?;
    let answer = Answer::created(format!("/api/v1/users/{}", user.id), user.version, &user)?;
    answer.remember(&txn, claim).await?;
    txn.commit().await?;
    state.invalidate.user(user.id).await;
    Ok(answer.into_response())
}

/// Shows a user.
#[utoipa::path(get, path = "/users/{id}", operation_id = "getUser", tag = "users", params(("id" = i64, Path)),
    responses((status = 200, description = "The user.", body = User)))]
pub(super) async fn get(_: Viewer, State(state): State<AdminState>, Id(id): Id) -> Result<Response, Problem> {
    let row = users::Entity::find_by_id(id).one(&state.db).await?.ok_or_else(|| Problem::not_found(KIND))?;
    Ok(with_etag(row.version, &User::show(row)?))
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
    let row = locked(&txn, id).await?;
    if_match.check(row.version)?;
    let before = User::show(row.clone())?;
    let mut fields = json(&UserFields::of(&before))?;
    merge_patch(&mut fields, patch);
    let mut row = row.into_active_model();
    object::<UserFields>(fields)?.apply(&mut row)?;
    row.version = Set(before.version + 1);
    row.updated_at = Set(now);
    let after = User::show(row.update(&txn).await.map_err(name_taken(KIND))?)?;
    let entry = Entry { action: "update", object_type: KIND, object_id: &id.to_string() };
    audit::record(&txn, &actor, now, entry, Some(&before), Some(&after)).await?;
    txn.commit().await?;
    state.invalidate.user(id).await;
    Ok(with_etag(after.version, &after))
}

/// Deletes a user and its keys. What they spent stays in the ledger.
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
    let row = locked(&txn, id).await?;
    if_match.check(row.version)?;
    let before = User::show(row)?;
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
    state.invalidate.user(id).await;
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
