//! `/model-groups/{id}/models/{model}`: which models are in a group.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use entity::model_group_members::{ActiveModel, Column, Entity};
use entity::model_groups;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, Condition, DatabaseTransaction, EntityTrait, IntoActiveModel,
    QueryFilter, QueryOrder,
};

use super::super::AdminState;
use super::super::auth::Admin;
use super::super::extract::{IdAndName, IfMatch};
use super::super::idempotency::with_etag;
use super::super::problem::{self, Code, Other, Problem};
use super::super::store::Write;
use super::super::validate::Check;
use super::fields::{ModelGroup, of_group, takes};
use super::{KIND, NAME};

/// Puts a model into a group; does nothing when it is in it.
#[utoipa::path(put, path = "/model-groups/{id}/models/{model}", operation_id = "addModelGroupModel", tag = "groups",
    params(("id" = i64, Path), ("model" = String, Path)),
    responses(
        (status = 200, description = "The model group.", body = ModelGroup),
        (status = 409, description = "The model is in another group, which `conflictsWith` names \
            (`model_in_other_group`), or the group is a singleton and has a model, which `conflictsWith` names (`conflict`).",
            body = problem::ProblemDocument)))]
pub(in super::super) async fn put_model(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    IdAndName(id, model): IdAndName,
    if_match: IfMatch,
) -> Result<Response, Problem> {
    let model = name(&model)?;
    let write = Write::begin(&state.db, actor, state.now()).await?;
    let stamp = write.stamp().await?;
    let group = write.lock(model_groups::Entity::find_by_id(id), NAME).await?;
    if_match.check(group.version)?;
    let models = of_group(&write.txn, id).await?;
    if models.contains(&model) {
        drop(write);
        // Whoever made it so may not have lived to tell.
        state.invalidate.limits().await;
        return Ok(with_etag(group.version, &ModelGroup::show(group, models)));
    }
    let before = ModelGroup::show(group.clone(), models);
    let mut wanted = before.models.clone();
    wanted.push(model);
    takes(group.singleton, &before.models, &wanted)?;
    are_free(&write.txn, &wanted, Some(id)).await?;
    let models = replace(&write.txn, id, &before.models, wanted).await?;
    let after = ModelGroup::show(written(&write.txn, group, stamp, write.now).await?, models);
    write.record("add_model", KIND, id, Some(&before), Some(&after)).await?;
    write.commit().await?;
    state.invalidate.limits().await;
    Ok(with_etag(after.version, &after))
}

/// Takes a model out of a group.
#[utoipa::path(delete, path = "/model-groups/{id}/models/{model}", operation_id = "removeModelGroupModel",
    tag = "groups", params(("id" = i64, Path), ("model" = String, Path)),
    responses((status = 204, description = "It is not in the group any more.")))]
pub(in super::super) async fn delete_model(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    IdAndName(id, model): IdAndName,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let model = name(&model)?;
    let write = Write::begin(&state.db, actor, state.now()).await?;
    let stamp = write.stamp().await?;
    let group = write.lock(model_groups::Entity::find_by_id(id), NAME).await?;
    if_match.check(group.version)?;
    let before = ModelGroup::show(group.clone(), of_group(&write.txn, id).await?);
    let rest: Vec<String> = before.models.iter().filter(|other| **other != model).cloned().collect();
    if rest.len() == before.models.len() {
        return Err(Problem::not_found("model in this group"));
    }
    let models = replace(&write.txn, id, &before.models, rest).await?;
    let after = ModelGroup::show(written(&write.txn, group, stamp, write.now).await?, models);
    write.record("remove_model", KIND, id, Some(&before), Some(&after)).await?;
    write.commit().await?;
    state.invalidate.limits().await;
    Ok(StatusCode::NO_CONTENT)
}

/// Puts these models, which are in no other group, into a group and no others; returns them in order.
pub(super) async fn replace(
    txn: &DatabaseTransaction,
    group: i64,
    before: &[String],
    mut wanted: Vec<String>,
) -> Result<Vec<String>, Problem> {
    wanted.sort();
    let old: Vec<&String> = before.iter().filter(|model| !wanted.contains(model)).collect();
    if !old.is_empty() {
        let gone = Entity::delete_many().filter(Column::ModelGroupId.eq(group)).filter(Column::Model.is_in(old));
        gone.exec(txn).await?;
    }
    let new = wanted.iter().filter(|model| !before.contains(model));
    let rows: Vec<_> = new.map(|model| ActiveModel { model: Set(model.clone()), model_group_id: Set(group) }).collect();
    if !rows.is_empty() {
        Entity::insert_many(rows).exec_without_returning(txn).await?;
    }
    Ok(wanted)
}

/// None of these models is in a group other than this one. Whoever writes models has taken a stamp, so it stays so
/// until the transaction ends.
///
/// # Errors
/// One is, and in which.
pub(super) async fn are_free(txn: &DatabaseTransaction, models: &[String], group: Option<i64>) -> Result<(), Problem> {
    let elsewhere =
        Condition::all().add(Column::Model.is_in(models)).add_option(group.map(|group| Column::ModelGroupId.ne(group)));
    match Entity::find().filter(elsewhere).order_by_asc(Column::Model).one(txn).await? {
        None => Ok(()),
        Some(taken) => Err(in_other_group(txn, &taken.model, taken.model_group_id).await?),
    }
}

async fn in_other_group(txn: &DatabaseTransaction, model: &str, other: i64) -> Result<Problem, Problem> {
    let other = model_groups::Entity::find_by_id(other).one(txn).await?;
    let Some(model_groups::Model { id, name, .. }) = other else {
        return Err(Problem::internal(&"a model is in a group that does not exist"));
    };
    let detail = format!("The model {model:?} is in the model group {name:?} (id {id}).");
    Ok(Problem::new(Code::ModelInOtherGroup, detail).conflicts_with(Other { kind: KIND, id: Some(id), name }))
}

async fn written(
    txn: &DatabaseTransaction,
    group: model_groups::Model,
    stamp: i64,
    now: i64,
) -> Result<model_groups::Model, Problem> {
    let version = group.version + 1;
    let mut row = group.into_active_model();
    (row.stamp, row.version, row.updated_at) = (Set(stamp), Set(version), Set(now));
    Ok(row.update(txn).await?)
}

fn name(model: &str) -> Result<String, Problem> {
    let mut check = Check::default();
    let name = check.model("model", model);
    check.finish()?;
    Ok(name)
}
