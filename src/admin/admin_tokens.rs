//! `/admin-tokens`: the credentials of administrators.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use entity::admin_tokens;
use sea_orm::{ActiveModelTrait, ActiveValue::Set, DatabaseConnection, EntityTrait};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AdminState;
use super::auth::{Actor, Admin, COMMAND_LINE, ENVIRONMENT_ACTOR, Role};
use super::extract::{Id, IfMatch, Params, Payload};
use super::idempotency::{Answer, IdempotencyKey, with_etag};
use super::names;
use super::page::{Page, PageParams};
use super::problem::{Code, Problem};
use super::sort::{NamedParams, Orders, Sorted};
use super::store::{Names, Once, Write, name_taken};
use super::time::Instant;
use super::validate::{self, Check};
use crate::directory::Secret;

const KIND: &str = "admin_token";
const NAME: &str = "admin token";
/// They are few: nobody needs an index of when they were created.
const ORDERS: Orders<admin_tokens::Entity> = &[
    ("id", admin_tokens::Column::Id),
    ("name", admin_tokens::Column::Name),
    ("createdAt", admin_tokens::Column::CreatedAt),
];
const NAMES: Names<admin_tokens::Entity> =
    Names { kind: KIND, what: NAME, id: admin_tokens::Column::Id, name: admin_tokens::Column::Name };
/// Tokens are created and deleted, never changed.
const VERSION: i64 = 1;

/// A token.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdminToken {
    /// Never reused.
    id: i64,
    /// Unique; the audit log names it.
    name: String,
    role: Role,
    /// The first characters of the secret, to recognise it by.
    prefix: String,
    /// Always 1: tokens are never changed.
    version: i64,
    /// When it was created.
    created_at: Instant,
    /// From then on it is refused; null: never.
    #[schema(required)]
    expires_at: Option<Instant>,
}

/// A token with its secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdminTokenWithSecret {
    #[serde(flatten)]
    token: AdminToken,
    /// Shown this once. It is left out of the answer to a repeated request (see `Idempotency-Replayed`).
    #[schema(required = false, pattern = "^tgadm-[A-Za-z0-9_-]{43}$")]
    secret: String,
}

/// What is written of a token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdminTokenFields {
    #[schema(schema_with = validate::name_schema)]
    name: String,
    role: Role,
    /// From then on it is refused; it must be later than now. Left out: never.
    #[serde(default)]
    expires_at: Option<Instant>,
}

impl From<admin_tokens::Model> for AdminToken {
    fn from(row: admin_tokens::Model) -> Self {
        Self {
            id: row.id,
            name: row.name,
            role: if row.role == Role::Admin.as_str() { Role::Admin } else { Role::Viewer },
            prefix: row.prefix,
            version: VERSION,
            created_at: Instant(row.created_at),
            expires_at: row.expires_at.map(Instant),
        }
    }
}

/// Lists tokens.
#[utoipa::path(get, path = "/admin-tokens", operation_id = "listAdminTokens", tag = "administration",
    params(NamedParams, PageParams),
    responses((status = 200, description = "A page of tokens.", body = Page<AdminToken>)))]
pub(super) async fn list(
    _: Admin,
    State(state): State<AdminState>,
    mut params: Params,
) -> Result<Json<Page<AdminToken>>, Problem> {
    let page = Sorted::read(&mut params, KIND, ORDERS);
    params.finish()?;
    let query = page.select(admin_tokens::Entity::find(), None, state.db.get_database_backend());
    page.page(query.all(&state.db).await?, |row| Ok(row.into())).map(Json)
}

/// Creates a token; the answer shows its secret, once.
#[utoipa::path(post, path = "/admin-tokens", operation_id = "createAdminToken", tag = "administration",
    request_body = AdminTokenFields,
    responses(
        (status = 201, description = "The token with its secret.", body = AdminTokenWithSecret),
        (status = 409, description = "There is another token of this name, which `conflictsWith` names, or the \
            name looks like one that stands for somebody else in the audit log.",
            body = super::problem::ProblemDocument)))]
pub(super) async fn create(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    key: IdempotencyKey,
    body: Payload,
) -> Result<Response, Problem> {
    let fields: AdminTokenFields = body.object()?;
    let now = state.now();
    let (row, secret) = new_token(&fields.name, fields.role, fields.expires_at.map(|Instant(at)| at), now)?;
    let write = match Write::once(&state.db, actor, now, &key, &body.bytes).await? {
        Once::Replay(answer) => return Ok(state.replayed(answer).await),
        Once::Write(write) => write,
    };
    let token = insert(&write, row).await?;
    let without_secret = Answer::created(format!("/api/v1/admin-tokens/{}", token.id), VERSION, &token)?;
    let answer = without_secret.with_body(&AdminTokenWithSecret { token, secret: secret.expose().to_owned() })?;
    write.commit_with(&without_secret).await?;
    state.auth.tokens.forget().await;
    Ok(answer.into_response())
}

/// Creates a token as `POST /admin-tokens` does, for the command line. The secret is told once.
///
/// # Errors
/// The name cannot be used, it would have expired, or the database does not take it.
pub async fn create_admin_token(
    db: &DatabaseConnection,
    name: &str,
    role: Role,
    expires_at: Option<i64>,
    now: i64,
) -> Result<Secret, Problem> {
    let (row, secret) = new_token(name, role, expires_at, now)?;
    let write = Write::begin(db, Actor::command_line(), now).await?;
    insert(&write, row).await?;
    write.commit().await?;
    Ok(secret)
}

async fn insert(write: &Write, row: admin_tokens::ActiveModel) -> Result<AdminToken, Problem> {
    write.alone(admin_tokens::Entity).await?;
    NAMES.is_free(write, &row.name, None).await?;
    let token = AdminToken::from(row.insert(&write.txn).await.map_err(name_taken(NAME))?);
    write.record("create", KIND, token.id, None::<&AdminToken>, Some(&token)).await?;
    Ok(token)
}

fn new_token(
    name: &str,
    role: Role,
    expires_at: Option<i64>,
    now: i64,
) -> Result<(admin_tokens::ActiveModel, Secret), Problem> {
    let mut check = Check::default();
    let name = check.name("name", name);
    if expires_at.is_some_and(|at| at <= now) {
        check.wrong("expiresAt", "out_of_range", "must be later than now".to_owned());
    }
    check.finish()?;
    if [ENVIRONMENT_ACTOR, COMMAND_LINE].iter().any(|taken| names::look_alike(taken, &name)) {
        return Err(Problem::new(
            Code::Conflict,
            "In the audit log this name, or one that looks like it, stands for somebody else.",
        ));
    }
    let secret = Secret::for_admin();
    let row = admin_tokens::ActiveModel {
        name: Set(name),
        role: Set(role.as_str().to_owned()),
        secret_hash: Set(secret.hash().to_string()),
        prefix: Set(secret.prefix().to_owned()),
        created_at: Set(now),
        expires_at: Set(expires_at),
        ..Default::default()
    };
    Ok((row, secret))
}

/// Shows a token.
#[utoipa::path(get, path = "/admin-tokens/{id}", operation_id = "getAdminToken", tag = "administration",
    params(("id" = i64, Path)),
    responses((status = 200, description = "The token.", body = AdminToken)))]
pub(super) async fn get(_: Admin, State(state): State<AdminState>, Id(id): Id) -> Result<Response, Problem> {
    let row = admin_tokens::Entity::find_by_id(id).one(&state.db).await?;
    let row = row.ok_or_else(|| Problem::not_found(NAME))?;
    Ok(with_etag(VERSION, &AdminToken::from(row)))
}

/// Revokes a token.
#[utoipa::path(delete, path = "/admin-tokens/{id}", operation_id = "deleteAdminToken", tag = "administration",
    params(("id" = i64, Path)),
    responses((status = 204, description = "It is refused from now on.")))]
pub(super) async fn delete(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Id(id): Id,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let write = Write::begin(&state.db, actor, state.now()).await?;
    let before = AdminToken::from(write.lock(admin_tokens::Entity::find_by_id(id), NAME).await?);
    if_match.check(VERSION)?;
    admin_tokens::Entity::delete_by_id(id).exec(&write.txn).await?;
    write.record("delete", KIND, id, Some(&before), None::<&AdminToken>).await?;
    write.commit().await?;
    state.auth.tokens.forget().await;
    Ok(StatusCode::NO_CONTENT)
}
