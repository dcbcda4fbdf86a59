//! `/user-groups`: named sets of users. A limit on one is a limit of each of its members.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use entity::{user_group_members as members, user_groups};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter,
    QuerySelect,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::{Admin, Viewer};
use super::extract::{Id, IfMatch, Params, Payload, patched};
use super::idempotency::{Answer, IdempotencyKey, with_etag};
use super::page::{Page, PageParams};
use super::problem::Problem;
use super::sort::{NamedParams, Orders, Sorted};
use super::stamps::Touched;
use super::store::{Names, Once, Write, name_taken};
use super::time::Instant;
use super::validate::{self, Check};
use super::{AdminState, gone, memberships, problem};

pub(super) const KIND: &str = "user_group";
pub(super) const NAME: &str = "user group";
const NAMES: Names<user_groups::Entity> =
    Names { kind: KIND, what: NAME, id: user_groups::Column::Id, name: user_groups::Column::Name };
const ORDERS: Orders<user_groups::Entity> = &[
    ("id", user_groups::Column::Id),
    ("name", user_groups::Column::Name),
    ("createdAt", user_groups::Column::CreatedAt),
];

/// A user group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserGroup {
    /// Never reused.
    id: i64,
    /// Unique.
    name: String,
    /// Free text for the administrator.
    #[schema(required)]
    description: Option<String>,
    /// How many users are in it.
    member_count: i64,
    /// Counts the writes.
    pub(super) version: i64,
    /// When it was created.
    created_at: Instant,
    /// When it was last written.
    updated_at: Instant,
}

/// What may be written of a user group.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserGroupFields {
    #[schema(schema_with = validate::name_schema)]
    name: String,
    #[serde(default)]
    #[schema(schema_with = validate::note_schema)]
    description: Option<String>,
}

impl UserGroupFields {
    fn apply(self, row: &mut user_groups::ActiveModel) -> Result<(), Problem> {
        let mut check = Check::default();
        row.name = Set(check.name("name", &self.name));
        row.description = Set(check.note("description", self.description));
        check.finish()
    }
}

impl UserGroup {
    pub(super) fn show(row: user_groups::Model, member_count: i64) -> Self {
        Self {
            id: row.id,
            name: row.name,
            description: row.description,
            member_count,
            version: row.version,
            created_at: Instant(row.created_at),
            updated_at: Instant(row.updated_at),
        }
    }
}

/// Lists user groups.
#[utoipa::path(get, path = "/user-groups", operation_id = "listUserGroups", tag = "groups",
    params(NamedParams, PageParams),
    responses((status = 200, description = "A page of user groups.", body = Page<UserGroup>)))]
pub(super) async fn list(
    _: Viewer,
    State(state): State<AdminState>,
    mut params: Params,
) -> Result<Json<Page<UserGroup>>, Problem> {
    let page = Sorted::read(&mut params, KIND, ORDERS);
    params.finish()?;
    let query = page.select(user_groups::Entity::find(), None, state.db.get_database_backend());
    let rows = query.all(&state.db).await?;
    let counts = counts(&state.db, rows.iter().map(|row| row.id)).await?;
    let show = |row: user_groups::Model| {
        let count = counts.get(&row.id).copied().unwrap_or(0);
        Ok(UserGroup::show(row, count))
    };
    page.page(rows, show).map(Json)
}

/// Creates a user group.
#[utoipa::path(post, path = "/user-groups", operation_id = "createUserGroup", tag = "groups",
    request_body = UserGroupFields,
    responses(
        (status = 201, description = "The user group.", body = UserGroup),
        (status = 409, description = "There is another one of this name, which `conflictsWith` names.", body = problem::ProblemDocument)))]
pub(super) async fn create(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    key: IdempotencyKey,
    body: Payload,
) -> Result<Response, Problem> {
    let now = state.now();
    let mut row =
        user_groups::ActiveModel { version: Set(1), created_at: Set(now), updated_at: Set(now), ..Default::default() };
    body.object::<UserGroupFields>()?.apply(&mut row)?;
    let write = match Write::once(&state.db, actor, now, &key, &body.bytes).await? {
        Once::Replay(answer) => return Ok(state.replayed(answer).await),
        Once::Write(write) => write,
    };
    row.stamp = Set(write.stamp().await?);
    NAMES.is_free(&write, &row.name, None).await?;
    let group = UserGroup::show(row.insert(&write.txn).await.map_err(name_taken(NAME))?, 0);
    write.record("create", KIND, group.id, None::<&UserGroup>, Some(&group)).await?;
    let answer = Answer::created(format!("/api/v1/user-groups/{}", group.id), group.version, &group)?;
    write.commit_with(&answer).await?;
    state.invalidate.limits().await;
    Ok(answer.into_response())
}

/// Shows a user group.
#[utoipa::path(get, path = "/user-groups/{id}", operation_id = "getUserGroup", tag = "groups",
    params(("id" = i64, Path)), responses((status = 200, description = "The user group.", body = UserGroup)))]
pub(super) async fn get(_: Viewer, State(state): State<AdminState>, Id(id): Id) -> Result<Response, Problem> {
    let row = user_groups::Entity::find_by_id(id).one(&state.db).await?.ok_or_else(|| Problem::not_found(NAME))?;
    let group = UserGroup::show(row, count(&state.db, id).await?);
    Ok(with_etag(group.version, &group))
}

/// Changes a user group.
#[utoipa::path(patch, path = "/user-groups/{id}", operation_id = "updateUserGroup", tag = "groups",
    params(("id" = i64, Path)), request_body = UserGroupFields,
    responses(
        (status = 200, description = "The user group.", body = UserGroup),
        (status = 409, description = "There is another one of this name, which `conflictsWith` names.", body = problem::ProblemDocument)))]
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
    let row = write.lock(user_groups::Entity::find_by_id(id), NAME).await?;
    if_match.check(row.version)?;
    let fields = patched(&UserGroupFields { name: row.name.clone(), description: row.description.clone() }, patch)?;
    let members = count(&write.txn, id).await?;
    let before = UserGroup::show(row.clone(), members);
    let mut row = row.into_active_model();
    fields.apply(&mut row)?;
    NAMES.is_free(&write, &row.name, Some(id)).await?;
    (row.stamp, row.version, row.updated_at) = (Set(stamp), Set(before.version + 1), Set(write.now));
    let after = UserGroup::show(row.update(&write.txn).await.map_err(name_taken(NAME))?, members);
    write.record("update", KIND, id, Some(&before), Some(&after)).await?;
    write.commit().await?;
    state.invalidate.limits().await;
    Ok(with_etag(after.version, &after))
}

/// A group with its members, as the audit log shows it once it is gone.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeletedGroup {
    #[serde(flatten)]
    group: UserGroup,
    member_ids: Vec<i64>,
}

/// Deletes a user group with its memberships and limits. Its members stay; the audit log names them, and has a row of
/// each limit.
#[utoipa::path(delete, path = "/user-groups/{id}", operation_id = "deleteUserGroup", tag = "groups",
    params(("id" = i64, Path)), responses((status = 204, description = "It is gone.")))]
pub(super) async fn delete(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Id(id): Id,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let write = Write::begin(&state.db, actor, state.now()).await?;
    let stamp = write.stamp().await?;
    let row = write.lock(user_groups::Entity::find_by_id(id), NAME).await?;
    if_match.check(row.version)?;
    let member_ids = memberships::of_group(&write.txn, id).await?;
    let before =
        DeletedGroup { group: UserGroup::show(row, i64::try_from(member_ids.len()).unwrap_or(i64::MAX)), member_ids };
    gone::with_user_group(&write, id).await?;
    let touched = Touched::members(&write.txn, id, stamp, write.now).await?;
    user_groups::Entity::delete_by_id(id).exec(&write.txn).await?;
    write.record("delete", KIND, id, Some(&before), None::<&UserGroup>).await?;
    write.commit().await?;
    touched.tell(&*state.invalidate).await;
    Ok(StatusCode::NO_CONTENT)
}

/// How many users are in a group.
pub(super) async fn count(db: &impl ConnectionTrait, group: i64) -> Result<i64, Problem> {
    Ok(counts(db, [group]).await?.remove(&group).unwrap_or(0))
}

/// How many users are in each of these groups, in one query.
async fn counts(
    db: &impl ConnectionTrait,
    groups: impl IntoIterator<Item = i64>,
) -> Result<HashMap<i64, i64>, Problem> {
    let rows: Vec<(i64, i64)> = members::Entity::find()
        .select_only()
        .column(members::Column::UserGroupId)
        .column_as(members::Column::UserId.count(), "members")
        .filter(members::Column::UserGroupId.is_in(groups))
        .group_by(members::Column::UserGroupId)
        .into_tuple()
        .all(db)
        .await?;
    Ok(rows.into_iter().collect())
}
