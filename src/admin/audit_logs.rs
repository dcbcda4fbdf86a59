//! `/audit-logs`: who changed what.

use axum::Json;
use axum::extract::State;
use entity::audit_log::{Column, Entity, Model};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::AdminState;
use super::auth::Viewer;
use super::extract::Params;
use super::page::{Page, PageParams};
use super::problem::Problem;
use super::sort::ByTime;
use super::time::Instant;
use crate::store;

const KIND: &str = "audit_log";

/// One write.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditLog {
    /// Grows with time.
    id: i64,
    /// When.
    at: Instant,
    /// `x-tollgate-request-id` of the answer to whoever asked for it; null: the command line.
    #[schema(required)]
    request_id: Option<String>,
    /// Name of the admin token at that time.
    actor: String,
    /// Id of the admin token, which no other one ever gets; null: that of the environment, the command line, or a row
    /// from before ids were kept.
    #[schema(required)]
    actor_id: Option<i64>,
    /// `create`, `update`, `delete`, `rotate`, `import`, ...
    action: String,
    /// `user`, `key`, `price`, `admin_token`, ...
    object_type: String,
    /// Id or name of the object.
    object_id: String,
    /// The object before, without secrets; null when it was created.
    #[schema(value_type = Option<Object>, required)]
    before: Option<Box<RawValue>>,
    /// The object after, without secrets; null when it was deleted.
    #[schema(value_type = Option<Object>, required)]
    after: Option<Box<RawValue>>,
}

/// The filters, for the documentation.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code, reason = "documents what list reads")]
pub struct AuditParams {
    /// Name of the admin token; `TOLLGATE_ADMIN_TOKEN`: that of the environment; `command line`: none.
    #[param(min_length = 1, max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    actor: Option<String>,
    /// What was done.
    #[param(min_length = 1, max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    action: Option<String>,
    /// To what kind of object.
    #[param(min_length = 1, max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    object_type: Option<String>,
    /// To which: its id, or its name where it has no id.
    #[param(min_length = 1, max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    object_id: Option<String>,
    /// At or after.
    #[param(inline)]
    from: Option<Instant>,
    /// Before.
    #[param(inline)]
    to: Option<Instant>,
    /// The order: newest first, or with `at` oldest first. A cursor goes on in the order that it was made in.
    #[param(pattern = "^-?at$", default = "-at")]
    sort: Option<String>,
}

/// Lists writes, newest first unless `sort` says otherwise.
#[utoipa::path(get, path = "/audit-logs", operation_id = "listAuditLogs", tag = "administration",
    params(AuditParams, PageParams),
    responses((status = 200, description = "A page of writes.", body = Page<AuditLog>)))]
pub(super) async fn list(
    _: Viewer,
    State(state): State<AdminState>,
    mut params: Params,
) -> Result<Json<Page<AuditLog>>, Problem> {
    let page = ByTime::read(&mut params, KIND, "at");
    let filter = Condition::all()
        .add_option(params.name("actor").map(|name| Column::Actor.eq(name)))
        .add_option(params.name("action").map(|action| Column::Action.eq(action)))
        .add_option(params.name("objectType").map(|kind| Column::ObjectType.eq(kind)))
        .add_option(params.name("objectId").map(|id| Column::ObjectId.eq(id)))
        .add_option(params.instant("from").map(|at| Column::At.gte(at)))
        .add_option(params.instant("to").map(|at| Column::At.lt(at)));
    params.finish()?;
    let rows = store::by_time(Entity::find().filter(filter), (Column::At, Column::Id), page.after(), page.direction);
    page.page(rows.limit(page.fetch()).all(&state.history.all).await?, |row| (row.at, row.id), show).map(Json)
}

fn show(row: Model) -> Result<AuditLog, Problem> {
    let raw =
        |text: Option<String>| text.map(RawValue::from_string).transpose().map_err(|error| Problem::internal(&error));
    Ok(AuditLog {
        id: row.id,
        at: Instant(row.at),
        request_id: row.request_id,
        actor: row.actor,
        actor_id: row.actor_id,
        action: row.action,
        object_type: row.object_type,
        object_id: row.object_id,
        before: raw(row.before)?,
        after: raw(row.after)?,
    })
}
