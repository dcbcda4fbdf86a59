//! `/me`: what a key's owner may see of himself.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::AdminState;
use super::auth::KeyOwner;
use super::extract::Params;
use super::keys::Key;
use super::limits::Limits;
use super::page::{Page, PageParams};
use super::problem::Problem;
use super::time::Instant;
use super::usage::{self, FilterParams, UsageRow, UsageSortParams, read_filter};
use super::users::User;
use crate::ledger::query::Filter;

/// The key that was presented, and its user.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    user: MyUser,
    key: Key,
}

/// A user as it sees itself: the administrator's note is not for its eyes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MyUser {
    /// Never reused.
    id: i64,
    /// Unique.
    name: String,
    /// From when on its keys are refused.
    #[schema(required)]
    expires_at: Option<Instant>,
    /// Requests per minute over all its keys; null: not limited.
    #[schema(required)]
    rpm: Option<i32>,
    /// Requests in flight at once over all its keys; null: not limited.
    #[schema(required)]
    max_concurrent_requests: Option<i32>,
    /// The most that may be spent on everything that no model group claims.
    limits: Limits,
    /// Globs on the requested model; empty: all.
    allowed_models: Vec<String>,
    /// Names of provider groups; empty: all.
    provider_groups: Vec<String>,
    /// Counts the writes.
    version: i64,
}

/// Shows the key that is presented, and its user.
#[utoipa::path(get, path = "/me", operation_id = "getMe", tag = "me", security(("userKey" = [])),
    responses((status = 200, description = "The key and its user.", body = Me)))]
pub(super) async fn get(owner: KeyOwner) -> Result<Json<Me>, Problem> {
    let user = User::show(owner.user, Vec::new())?;
    let user = MyUser {
        id: user.id,
        name: user.name,
        expires_at: user.expires_at,
        rpm: user.rpm,
        max_concurrent_requests: user.max_concurrent_requests,
        limits: user.limits,
        allowed_models: user.allowed_models,
        provider_groups: user.provider_groups,
        version: user.version,
    };
    Ok(Json(Me { user, key: Key::show(owner.key)? }))
}

/// Lists what the user of this key has spent, with any of its keys, newest first unless `sort` says otherwise.
#[utoipa::path(get, path = "/me/usage", operation_id = "listMyUsage", tag = "me", security(("userKey" = [])),
    params(FilterParams, UsageSortParams, PageParams),
    responses((status = 200, description = "Charged attempts.", content(
        (Page<UsageRow> = "application/json"), (String = "text/csv"), (String = "application/x-ndjson")))))]
pub(super) async fn list_usage(
    owner: KeyOwner,
    State(state): State<AdminState>,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, Problem> {
    let filter = Filter { user_id: Some(owner.user.id), ..read_filter(&mut params) };
    usage::answer(&state.history.own, &headers, filter, params).await
}
