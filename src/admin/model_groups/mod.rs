//! `/model-groups`: named sets of models, with budgets of their own. A model is in one of them at most.

mod fields;
mod models;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use entity::model_groups;
use sea_orm::{ActiveModelTrait, ActiveValue::Set, EntityTrait, IntoActiveModel};

use super::auth::{Admin, Viewer};
use super::extract::{Id, IfMatch, Params, Payload, patched};
use super::idempotency::{Answer, IdempotencyKey, with_etag};
use super::page::{Page, PageParams};
use super::problem::Problem;
use super::sort::{NamedParams, Orders, Sorted};
use super::stamps::Touched;
use super::store::{Names, Once, Write, name_taken};
use super::{AdminState, gone, problem};

use fields::of_groups;
pub use fields::{ModelGroup, ModelGroupFields};
pub(super) use models::*;

const KIND: &str = "model_group";
const NAME: &str = "model group";
const NAMES: Names<model_groups::Entity> =
    Names { kind: KIND, what: NAME, id: model_groups::Column::Id, name: model_groups::Column::Name };
const ORDERS: Orders<model_groups::Entity> = &[
    ("id", model_groups::Column::Id),
    ("name", model_groups::Column::Name),
    ("createdAt", model_groups::Column::CreatedAt),
];

/// Lists model groups.
#[utoipa::path(get, path = "/model-groups", operation_id = "listModelGroups", tag = "groups",
    params(NamedParams, PageParams),
    responses((status = 200, description = "A page of model groups.", body = Page<ModelGroup>)))]
pub(super) async fn list(
    _: Viewer,
    State(state): State<AdminState>,
    mut params: Params,
) -> Result<Json<Page<ModelGroup>>, Problem> {
    let page = Sorted::read(&mut params, KIND, ORDERS);
    params.finish()?;
    let query = page.select(model_groups::Entity::find(), None, state.db.get_database_backend());
    let rows = query.all(&state.db).await?;
    let models = of_groups(&state.db, rows.iter().map(|row| row.id)).await?;
    let show = |row: model_groups::Model| {
        let models = models.get(&row.id).cloned().unwrap_or_default();
        Ok(ModelGroup::show(row, models))
    };
    page.page(rows, show).map(Json)
}

/// Creates a model group.
#[utoipa::path(post, path = "/model-groups", operation_id = "createModelGroup", tag = "groups",
    request_body = ModelGroupFields,
    responses(
        (status = 201, description = "The model group.", body = ModelGroup),
        (status = 409, description = "There is another one of this name (`conflict`); one of the models is in another \
            group (`model_in_other_group`); or it is a singleton, and there is more than one model (`conflict`). \
            `conflictsWith` names the other group, or the one model.", body = problem::ProblemDocument)))]
pub(super) async fn create(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    key: IdempotencyKey,
    body: Payload,
) -> Result<Response, Problem> {
    let now = state.now();
    let mut row =
        model_groups::ActiveModel { version: Set(1), created_at: Set(now), updated_at: Set(now), ..Default::default() };
    let models = body.object::<ModelGroupFields>()?.apply(&mut row)?;
    fields::takes(row.singleton == Set(true), &[], &models)?;
    let write = match Write::once(&state.db, actor, now, &key, &body.bytes).await? {
        Once::Replay(answer) => return Ok(state.replayed(answer).await),
        Once::Write(write) => write,
    };
    row.stamp = Set(write.stamp().await?);
    // Before the name, which of a singleton is the model's: what stands in the way is the other group.
    models::are_free(&write.txn, &models, None).await?;
    NAMES.is_free(&write, &row.name, None).await?;
    let row = row.insert(&write.txn).await.map_err(name_taken(NAME))?;
    let models = models::replace(&write.txn, row.id, &[], models).await?;
    let group = ModelGroup::show(row, models);
    write.record("create", KIND, group.id, None::<&ModelGroup>, Some(&group)).await?;
    let answer = Answer::created(format!("/api/v1/model-groups/{}", group.id), group.version, &group)?;
    write.commit_with(&answer).await?;
    state.invalidate.limits().await;
    Ok(answer.into_response())
}

/// Shows a model group.
#[utoipa::path(get, path = "/model-groups/{id}", operation_id = "getModelGroup", tag = "groups",
    params(("id" = i64, Path)), responses((status = 200, description = "The model group.", body = ModelGroup)))]
pub(super) async fn get(_: Viewer, State(state): State<AdminState>, Id(id): Id) -> Result<Response, Problem> {
    let row = model_groups::Entity::find_by_id(id).one(&state.db).await?.ok_or_else(|| Problem::not_found(NAME))?;
    let group = ModelGroup::show(row, fields::of_group(&state.db, id).await?);
    Ok(with_etag(group.version, &group))
}

/// Changes a model group.
#[utoipa::path(patch, path = "/model-groups/{id}", operation_id = "updateModelGroup", tag = "groups",
    params(("id" = i64, Path)), request_body = ModelGroupFields,
    responses(
        (status = 200, description = "The model group.", body = ModelGroup),
        (status = 409, description = "As when it is created.", body = problem::ProblemDocument)))]
pub(super) async fn update(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Id(id): Id,
    if_match: IfMatch,
    body: Payload,
) -> Result<Response, Problem> {
    let patch = body.patch()?;
    let write = Write::begin(&state.db, actor, state.now()).await?;
    let stamp = write.stamp().await?;
    let row = write.lock(model_groups::Entity::find_by_id(id), NAME).await?;
    if_match.check(row.version)?;
    let before = ModelGroup::show(row.clone(), fields::of_group(&write.txn, id).await?);
    let mut row = row.into_active_model();
    let models = patched(&ModelGroupFields::of(&before), patch)?.apply(&mut row)?;
    fields::takes(row.singleton == Set(true), &before.models, &models)?;
    models::are_free(&write.txn, &models, Some(id)).await?;
    NAMES.is_free(&write, &row.name, Some(id)).await?;
    let models = models::replace(&write.txn, id, &before.models, models).await?;
    (row.stamp, row.version, row.updated_at) = (Set(stamp), Set(before.version + 1), Set(write.now));
    let after = ModelGroup::show(row.update(&write.txn).await.map_err(name_taken(NAME))?, models);
    write.record("update", KIND, id, Some(&before), Some(&after)).await?;
    write.commit().await?;
    state.invalidate.limits().await;
    Ok(with_etag(after.version, &after))
}

/// Deletes a model group with the limits and boosts for it; the audit log has a row of each. What was spent stays in the ledger, under its id.
#[utoipa::path(delete, path = "/model-groups/{id}", operation_id = "deleteModelGroup", tag = "groups",
    params(("id" = i64, Path)), responses((status = 204, description = "It is gone.")))]
pub(super) async fn delete(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Id(id): Id,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let write = Write::begin(&state.db, actor, state.now()).await?;
    let stamp = write.stamp().await?;
    let row = write.lock(model_groups::Entity::find_by_id(id), NAME).await?;
    if_match.check(row.version)?;
    let before = ModelGroup::show(row, fields::of_group(&write.txn, id).await?);
    gone::with_model_group(&write, id).await?;
    let touched = Touched::subjects(&write.txn, id, stamp).await?;
    model_groups::Entity::delete_by_id(id).exec(&write.txn).await?;
    write.record("delete", KIND, id, Some(&before), None::<&ModelGroup>).await?;
    write.commit().await?;
    touched.tell(&*state.invalidate).await;
    Ok(StatusCode::NO_CONTENT)
}
