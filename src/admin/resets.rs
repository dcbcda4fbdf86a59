//! `/users/{id}:resetLimits` and `/keys/{id}:resetLimits`: budgets that start anew.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, EntityTrait, IntoActiveModel};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::auth::Admin;
use super::extract::{Id, IfMatch, Payload};
use super::idempotency::{Answer, IdempotencyKey};
use super::keys::Key;
use super::problem::Problem;
use super::store::{Once, Write};
use super::users::User;
use super::{AdminState, keys, memberships, users};
use crate::directory::after_reset;
use crate::limit::{Axis, Window};

/// Which windows start anew.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "documents what Reset::read reads")]
pub struct ResetFields {
    /// `5h`, `daily`, `weekly`, `monthly` or `total`; left out: all.
    #[schema(pattern = "^(5h|daily|weekly|monthly|total)$")]
    window: Option<String>,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// None: all.
    #[serde(default)]
    pub window: Option<Window>,
}

impl Reset {
    /// Reads a body, which may be empty.
    ///
    /// # Errors
    /// There is no such window.
    pub fn read(body: &Payload) -> Result<Self, Problem> {
        if body.bytes.is_empty() { Ok(Self::default()) } else { body.object() }
    }
}

/// Which spend counts, as the audit log shows it before and after a reset.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    /// What was reset: afterwards.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    reset: Option<Reset>,
    version: i64,
    /// How often something was reset.
    era: i64,
    /// From which era on spend counts in each window; null: all of it, in every window.
    since_eras: Option<Box<RawValue>>,
}

impl Counted {
    fn new(reset: Option<Reset>, version: i64, era: i64, since_eras: Option<&str>) -> Result<Self, Problem> {
        let raw = |text: &str| RawValue::from_string(text.to_owned());
        let since_eras = since_eras.map(raw).transpose().map_err(|error| Problem::internal(&error))?;
        Ok(Self { reset, version, era, since_eras })
    }
}

/// Starts all cost budgets of a user anew, or one window of them: also those for model groups. Its keys have budgets of
/// their own, which stay as they are.
#[utoipa::path(post, path = "/users/{id}:resetLimits", operation_id = "resetUserLimits", tag = "users",
    params(("id" = i64, Path)), request_body = ResetFields,
    responses((status = 200, description = "The user.", body = User)))]
pub(super) async fn reset_user(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Id(id): Id,
    if_match: IfMatch,
    key: IdempotencyKey,
    body: Payload,
) -> Result<Response, Problem> {
    let reset = Reset::read(&body)?;
    let write = match Write::once(&state.db, actor, state.now(), &key, &body.bytes).await? {
        Once::Replay(answer) => return Ok(state.replayed(answer).await),
        Once::Write(write) => write,
    };
    let stamp = write.stamp().await?;
    let row = write.lock(entity::users::Entity::find_by_id(id), users::KIND).await?;
    if_match.check(row.version)?;
    let (era, since_eras) = after_reset(row.era, row.since_eras.as_deref(), reset.window);
    let version = row.version + 1;
    let before = Counted::new(None, row.version, row.era, row.since_eras.as_deref())?;
    let after = Counted::new(Some(reset), version, era, Some(&since_eras))?;
    let mut row = row.into_active_model();
    (row.era, row.since_eras, row.stamp) = (Set(era), Set(Some(since_eras)), Set(stamp));
    (row.version, row.updated_at) = (Set(version), Set(write.now));
    let user = User::show(row.update(&write.txn).await?, memberships::of_user(&write.txn, id).await?)?;
    write.record("reset_limits", users::KIND, id, Some(&before), Some(&after)).await?;
    let answer = Answer::done(Some(version), &user)?;
    write.commit_with(&answer).await?;
    state.budgets.was_reset(Axis::User, id, era);
    state.invalidate.user(id).await;
    Ok(answer.into_response())
}

/// Starts all cost budgets of a key anew, or one window of them: also those for model groups.
#[utoipa::path(post, path = "/keys/{id}:resetLimits", operation_id = "resetKeyLimits", tag = "keys",
    params(("id" = i64, Path)), request_body = ResetFields,
    responses((status = 200, description = "The key.", body = Key)))]
pub(super) async fn reset_key(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Id(id): Id,
    if_match: IfMatch,
    key: IdempotencyKey,
    body: Payload,
) -> Result<Response, Problem> {
    let reset = Reset::read(&body)?;
    let write = match Write::once(&state.db, actor, state.now(), &key, &body.bytes).await? {
        Once::Replay(answer) => return Ok(state.replayed(answer).await),
        Once::Write(write) => write,
    };
    let stamp = write.stamp().await?;
    let row = write.lock(entity::keys::Entity::find_by_id(id), keys::KIND).await?;
    if_match.check(row.version)?;
    let (era, since_eras) = after_reset(row.era, row.since_eras.as_deref(), reset.window);
    let (hash, version) = (row.secret_hash.clone(), row.version + 1);
    let before = Counted::new(None, row.version, row.era, row.since_eras.as_deref())?;
    let after = Counted::new(Some(reset), version, era, Some(&since_eras))?;
    let mut row = row.into_active_model();
    (row.era, row.since_eras, row.stamp) = (Set(era), Set(Some(since_eras)), Set(stamp));
    (row.version, row.updated_at) = (Set(version), Set(write.now));
    let key = Key::show(row.update(&write.txn).await?)?;
    write.record("reset_limits", keys::KIND, id, Some(&before), Some(&after)).await?;
    let answer = Answer::done(Some(version), &key)?;
    write.commit_with(&answer).await?;
    state.budgets.was_reset(Axis::Key, id, era);
    state.invalidate.key(id, &hash).await;
    Ok(answer.into_response())
}
