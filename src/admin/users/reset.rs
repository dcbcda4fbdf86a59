//! `/users/{id}:resetLimits`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, IntoActiveModel};

use super::super::AdminState;
use super::super::audit::{self, Entry};
use super::super::auth::Admin;
use super::super::extract::{Id, IfMatch, Payload};
use super::super::idempotency::{Answer, Claim, IdempotencyKey};
use super::super::problem::Problem;
use super::super::resets::{Reset, ResetFields};
use super::super::store::begin;
use super::super::{memberships, stamps};
use super::{KIND, User, locked};
use crate::directory::after_reset;

/// Starts all cost budgets of a user anew, or one window of them: also those for model groups. Its keys have budgets of
/// their own, which stay as they are.
#[utoipa::path(post, path = "/users/{id}:resetLimits", operation_id = "resetUserLimits", tag = "users",
    params(("id" = i64, Path)), request_body = ResetFields,
    responses((status = 200, description = "The user.", body = User)))]
pub(in super::super) async fn reset_limits(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Id(id): Id,
    if_match: IfMatch,
    key: IdempotencyKey,
    body: Payload,
) -> Result<Response, Problem> {
    let reset = Reset::read(&body)?;
    let now = state.now();
    let txn = begin(&state.db).await?;
    let claim = match key.claim(&txn, &actor, &body.bytes, now).await? {
        Claim::Replay(answer) => return Ok(answer),
        claim => claim,
    };
    let stamp = stamps::next(&txn).await?;
    let row = locked(&txn, id).await?;
    if_match.check(row.version)?;
    let (era, since_eras) = after_reset(row.era, row.since_eras.as_deref(), reset.window);
    let version = row.version + 1;
    let mut row = row.into_active_model();
    (row.era, row.since_eras, row.stamp) = (Set(era), Set(Some(since_eras)), Set(stamp));
    (row.version, row.updated_at) = (Set(version), Set(now));
    let user = User::show(row.update(&txn).await?, memberships::of_user(&txn, id).await?)?;
    let entry = Entry { action: "reset_limits", object_type: KIND, object_id: &id.to_string() };
    audit::record(&txn, &actor, now, entry, None::<&()>, Some(&reset)).await?;
    let answer = Answer::done(Some(version), &user)?;
    answer.remember(&txn, claim).await?;
    txn.commit().await?;
    state.invalidate.user(id).await;
    Ok(answer.into_response())
}
