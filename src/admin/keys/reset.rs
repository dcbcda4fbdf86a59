//! `/keys/{id}:resetLimits`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, IntoActiveModel};

use super::super::audit::{self, Entry};
use super::super::auth::Admin;
use super::super::extract::{Id, IfMatch, Payload};
use super::super::idempotency::{Answer, Claim, IdempotencyKey};
use super::super::problem::Problem;
use super::super::resets::{Reset, ResetFields};
use super::super::store::begin;
use super::super::{AdminState, stamps};
use super::{KIND, Key, locked};
use crate::directory::after_reset;

/// Starts all cost budgets of a key anew, or one window of them: also those for model groups.
#[utoipa::path(post, path = "/keys/{id}:resetLimits", operation_id = "resetKeyLimits", tag = "keys",
    params(("id" = i64, Path)), request_body = ResetFields,
    responses((status = 200, description = "The key.", body = Key)))]
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
    let (hash, version) = (row.secret_hash.clone(), row.version + 1);
    let mut row = row.into_active_model();
    (row.era, row.since_eras, row.stamp) = (Set(era), Set(Some(since_eras)), Set(stamp));
    (row.version, row.updated_at) = (Set(version), Set(now));
    let key = Key::show(row.update(&txn).await?)?;
    let entry = Entry { action: "reset_limits", object_type: KIND, object_id: &id.to_string() };
    audit::record(&txn, &actor, now, entry, None::<&()>, Some(&reset)).await?;
    let answer = Answer::done(Some(version), &key)?;
    answer.remember(&txn, claim).await?;
    txn.commit().await?;
    state.invalidate.key(id, &hash).await;
    Ok(answer.into_response())
}
