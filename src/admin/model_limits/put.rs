//! `PUT /model-limits`: one limit per subject and model group.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use entity::model_group_limits::{ActiveModel, Column, Entity};
use entity::{keys, model_groups, user_groups, users};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter,
    QuerySelect,
};

use super::super::AdminState;
use super::super::auth::Admin;
use super::super::extract::{IfMatch, Payload};
use super::super::idempotency::{Answer, with_etag};
use super::super::problem::{InvalidParam, Problem};
use super::super::store::Write;
use super::fields::{self, Wanted};
use super::{KIND, ModelLimit, ModelLimitFields, SubjectType};

/// The version of a limit that does not exist yet.
const NEVER_WRITTEN: i64 = 0;

/// Sets the caps of a subject for a model group: creates the limit, or replaces its caps. `If-Match: *` only replaces.
#[utoipa::path(put, path = "/model-limits", operation_id = "putModelLimit", tag = "budgets",
    request_body = ModelLimitFields,
    responses(
        (status = 200, description = "The caps were replaced.", body = ModelLimit),
        (status = 201, description = "The limit was created.", body = ModelLimit)))]
pub(in super::super) async fn put(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    if_match: IfMatch,
    body: Payload,
) -> Result<Response, Problem> {
    let wanted = body.object::<ModelLimitFields>()?.read()?;
    let write = Write::begin(&state.db, actor, state.now()).await?;
    let stamp = write.stamp().await?;
    let existing = Entity::find()
        .filter(wanted.kind.column().eq(wanted.subject_id))
        .filter(Column::ModelGroupId.eq(wanted.model_group_id))
        .lock_exclusive()
        .one(&write.txn)
        .await?;
    let version = existing.as_ref().map_or(NEVER_WRITTEN, |row| row.version);
    if_match.check_put(version, existing.is_some())?;
    let (before, mut row) = match existing {
        Some(row) => (Some(ModelLimit::show(&row)?), row.into_active_model()),
        None => (None, new_row(&write.txn, &wanted, write.now).await?),
    };
    fields::write(&wanted.caps, &mut row);
    (row.stamp, row.version, row.updated_at) = (Set(stamp), Set(version + 1), Set(write.now));
    let row = if before.is_some() { row.update(&write.txn).await? } else { row.insert(&write.txn).await? };
    let after = ModelLimit::show(&row)?;
    let action = if before.is_some() { "update" } else { "create" };
    write.record(action, KIND, after.id, before.as_ref(), Some(&after)).await?;
    write.commit().await?;
    state.invalidate.limits().await;
    if before.is_some() {
        return Ok(with_etag(after.version, &after));
    }
    let location = format!("/api/v1/model-limits/{}", after.id);
    Ok(Answer::created(location, after.version, &after)?.into_response())
}

/// A row of these that exist. They cannot be deleted before the transaction ends: whoever does takes a stamp first.
async fn new_row(txn: &DatabaseTransaction, wanted: &Wanted, now: i64) -> Result<ActiveModel, Problem> {
    let id = wanted.subject_id;
    let mut row =
        ActiveModel { model_group_id: Set(wanted.model_group_id), created_at: Set(now), ..Default::default() };
    let (name, is_known) = match wanted.kind {
        SubjectType::User => {
            row.user_id = Set(Some(id));
            ("user", users::Entity::find_by_id(id).one(txn).await?.is_some())
        }
        SubjectType::UserGroup => {
            row.user_group_id = Set(Some(id));
            ("user group", user_groups::Entity::find_by_id(id).one(txn).await?.is_some())
        }
        SubjectType::Key => {
            row.key_id = Set(Some(id));
            ("key", keys::Entity::find_by_id(id).one(txn).await?.is_some())
        }
    };
    let mut wrong = Vec::new();
    if !is_known {
        wrong.push(InvalidParam::new("subjectId", "invalid", format!("there is no such {name}")));
    }
    if model_groups::Entity::find_by_id(wanted.model_group_id).one(txn).await?.is_none() {
        wrong.push(InvalidParam::new("modelGroupId", "invalid", "there is no such model group"));
    }
    if wrong.is_empty() { Ok(row) } else { Err(Problem::validation(wrong)) }
}
