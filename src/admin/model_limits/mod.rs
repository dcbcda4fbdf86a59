//! `/model-limits`: the most that a user, each member of a user group, or a key may spend on the models of a group.

mod fields;
mod put;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use entity::model_group_limits::{Column, Entity};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, ColumnTrait, Condition, EntityTrait, IntoActiveModel, QueryFilter};
use utoipa::IntoParams;

use super::AdminState;
use super::auth::{Admin, Viewer};
use super::extract::{Id, IfMatch, Params, Payload, patched};
use super::idempotency::with_etag;
use super::page::{Page, PageParams};
use super::problem::Problem;
use super::sort::{IdSortParams, Orders, Sorted};
use super::stamps::Touched;
use super::store::Write;

pub use fields::{ModelLimit, ModelLimitCapsFields, ModelLimitFields, SubjectType};
pub(super) use put::*;

pub(super) const KIND: &str = "model_limit";
const NAME: &str = "model limit";
const ORDERS: Orders<Entity> = &[("id", Column::Id)];

const SUBJECT_TYPES: [(&str, SubjectType); 3] =
    [("user", SubjectType::User), ("user_group", SubjectType::UserGroup), ("key", SubjectType::Key)];

/// The filters, for the documentation.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code, reason = "documents what list reads")]
pub struct ModelLimitParams {
    /// Whose limits.
    #[param(inline)]
    subject_type: Option<SubjectType>,
    /// Id of the user, user group or key.
    #[param(minimum = 1)]
    subject_id: Option<i64>,
    /// For which models.
    #[param(minimum = 1)]
    model_group_id: Option<i64>,
}

/// Lists limits.
#[utoipa::path(get, path = "/model-limits", operation_id = "listModelLimits", tag = "budgets",
    params(ModelLimitParams, IdSortParams, PageParams),
    responses((status = 200, description = "A page of limits.", body = Page<ModelLimit>)))]
pub(super) async fn list(
    _: Viewer,
    State(state): State<AdminState>,
    mut params: Params,
) -> Result<Json<Page<ModelLimit>>, Problem> {
    let page = Sorted::read(&mut params, KIND, ORDERS);
    let kind = params.choice("subjectType", &SUBJECT_TYPES);
    let subject = params.id("subjectId");
    let of_kind = match (kind, subject) {
        (Some(kind), Some(id)) => Some(Condition::all().add(kind.column().eq(id))),
        (Some(kind), None) => Some(Condition::all().add(kind.column().is_not_null())),
        (None, Some(id)) => {
            let any = SUBJECT_TYPES.iter().map(|(_, kind)| kind.column().eq(id));
            Some(any.fold(Condition::any(), Condition::add))
        }
        (None, None) => None,
    };
    let model_group = params.id("modelGroupId").map(|id| (Column::ModelGroupId, id));
    params.finish()?;
    let of_kind = Condition::all().add_option(of_kind);
    let query = page.select(Entity::find().filter(of_kind), model_group, state.db.get_database_backend());
    page.page(query.all(&state.db).await?, |row| ModelLimit::show(&row)).map(Json)
}

/// Shows a limit.
#[utoipa::path(get, path = "/model-limits/{id}", operation_id = "getModelLimit", tag = "budgets",
    params(("id" = i64, Path)), responses((status = 200, description = "The limit.", body = ModelLimit)))]
pub(super) async fn get(_: Viewer, State(state): State<AdminState>, Id(id): Id) -> Result<Response, Problem> {
    let row = Entity::find_by_id(id).one(&state.db).await?.ok_or_else(|| Problem::not_found(NAME))?;
    Ok(with_etag(row.version, &ModelLimit::show(&row)?))
}

/// Changes the caps of a limit. Its last cap is not taken away but deleted with it.
#[utoipa::path(patch, path = "/model-limits/{id}", operation_id = "updateModelLimit", tag = "budgets",
    params(("id" = i64, Path)), request_body = ModelLimitCapsFields,
    responses((status = 200, description = "The limit.", body = ModelLimit)))]
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
    let row = write.lock(Entity::find_by_id(id), NAME).await?;
    if_match.check(row.version)?;
    let before = ModelLimit::show(&row)?;
    let caps = patched(&ModelLimitCapsFields::of(&row)?, patch)?.read()?;
    let version = row.version + 1;
    let mut row = row.into_active_model();
    fields::write(&caps, &mut row);
    (row.stamp, row.version, row.updated_at) = (Set(stamp), Set(version), Set(write.now));
    let after = ModelLimit::show(&row.update(&write.txn).await?)?;
    write.record("update", KIND, id, Some(&before), Some(&after)).await?;
    write.commit().await?;
    state.invalidate.limits().await;
    Ok(with_etag(version, &after))
}

/// Deletes a limit.
#[utoipa::path(delete, path = "/model-limits/{id}", operation_id = "deleteModelLimit", tag = "budgets",
    params(("id" = i64, Path)), responses((status = 204, description = "It is gone.")))]
pub(super) async fn delete(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Id(id): Id,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let write = Write::begin(&state.db, actor, state.now()).await?;
    let stamp = write.stamp().await?;
    let row = write.lock(Entity::find_by_id(id), NAME).await?;
    if_match.check(row.version)?;
    let touched = Touched::owner(&write.txn, fields::subject(&row)?, stamp).await?;
    let before = ModelLimit::show(&row)?;
    Entity::delete_by_id(id).exec(&write.txn).await?;
    write.record("delete", KIND, id, Some(&before), None::<&ModelLimit>).await?;
    write.commit().await?;
    touched.tell(&*state.invalidate).await;
    Ok(StatusCode::NO_CONTENT)
}
