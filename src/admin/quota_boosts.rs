//! `/quota-boosts`: more than the cap, for a while.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use entity::quota_boost_grants::{ActiveModel, Column, Entity, Model};
use entity::{model_groups, users};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, Condition, DatabaseTransaction, EntityTrait, QueryFilter,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::AdminState;
use super::auth::{Admin, Viewer};
use super::extract::{Id, IfMatch, Params, Payload};
use super::idempotency::{Answer, IdempotencyKey, with_etag};
use super::page::{Page, PageParams};
use super::problem::{InvalidParam, Problem};
use super::sort::{Orders, Sorted};
use super::stamps::Touched;
use super::store::{Once, Write};
use super::time::Instant;
use super::validate::{self, Check};
use super::{limits, usd};
use crate::limit::{Subject, Window};

pub(super) const KIND: &str = "quota_boost";
const NAME: &str = "quota boost";
const ORDERS: Orders<Entity> = &[("id", Column::Id), ("expiresAt", Column::ExpiresAt)];

/// A boost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuotaBoost {
    /// Never reused.
    id: i64,
    /// To whom.
    user_id: i64,
    /// For which models.
    model_group_id: i64,
    /// Which cap it raises: `5h`, `daily`, `weekly`, `monthly` or `total`. Where there is no cap it changes nothing.
    window: String,
    /// By how much.
    #[serde(serialize_with = "usd::nanos")]
    #[schema(value_type = f64)]
    usd: i64,
    /// From when on.
    starts_at: Instant,
    /// Until when, to the instant.
    expires_at: Instant,
    /// Free text for the administrator.
    #[schema(required)]
    reason: Option<String>,
    /// Always 1: boosts are granted and revoked, never changed.
    version: i64,
    /// When it was granted.
    created_at: Instant,
}

/// What is written of a boost.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QuotaBoostFields {
    /// To whom.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    user_id: i64,
    /// For which models.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    model_group_id: i64,
    /// Which cap it raises.
    #[schema(value_type = String, pattern = "^(5h|daily|weekly|monthly|total)$")]
    window: Window,
    #[schema(schema_with = limits::usd_schema)]
    usd: Value,
    /// From when on, also in the past; left out: from now on.
    #[serde(default)]
    starts_at: Option<Instant>,
    /// Until when.
    expires_at: Instant,
    #[serde(default)]
    #[schema(schema_with = validate::note_schema)]
    reason: Option<String>,
}

/// The filters, for the documentation.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code, reason = "documents what list reads")]
pub struct QuotaBoostParams {
    /// To whom.
    #[param(minimum = 1)]
    user_id: Option<i64>,
    /// For which models.
    #[param(minimum = 1)]
    model_group_id: Option<i64>,
    /// Whether it is in force now.
    active: Option<bool>,
    /// The order, descending with a `-`; left out: by `id`.
    #[param(pattern = "^-?(id|expiresAt)$")]
    sort: Option<String>,
}

impl QuotaBoostFields {
    fn read(self, now: i64) -> Result<ActiveModel, Problem> {
        let mut check = Check::default();
        let usd = check.amount("usd", &self.usd).unwrap_or_default();
        let (starts_at, expires_at) = (self.starts_at.map_or(now, |at| at.0), self.expires_at.0);
        if expires_at <= now {
            check.wrong("expiresAt", "out_of_range", "must be later than now".to_owned());
        } else if expires_at <= starts_at {
            check.wrong("expiresAt", "out_of_range", "must be later than startsAt".to_owned());
        }
        let reason = check.note("reason", self.reason);
        check.finish()?;
        Ok(ActiveModel {
            user_id: Set(self.user_id),
            model_group_id: Set(self.model_group_id),
            window: Set(self.window.as_str().to_owned()),
            nanos: Set(usd.nanos()),
            starts_at: Set(starts_at),
            expires_at: Set(expires_at),
            reason: Set(reason),
            version: Set(1),
            created_at: Set(now),
            ..Default::default()
        })
    }
}

impl From<Model> for QuotaBoost {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            model_group_id: row.model_group_id,
            window: row.window,
            usd: row.nanos,
            starts_at: Instant(row.starts_at),
            expires_at: Instant(row.expires_at),
            reason: row.reason,
            version: row.version,
            created_at: Instant(row.created_at),
        }
    }
}

/// Lists boosts; those that have expired too.
#[utoipa::path(get, path = "/quota-boosts", operation_id = "listQuotaBoosts", tag = "budgets",
    params(QuotaBoostParams, PageParams),
    responses((status = 200, description = "A page of boosts.", body = Page<QuotaBoost>)))]
pub(super) async fn list(
    _: Viewer,
    State(state): State<AdminState>,
    mut params: Params,
) -> Result<Json<Page<QuotaBoost>>, Problem> {
    let now = state.now();
    let page = Sorted::read(&mut params, KIND, ORDERS);
    let in_force = Condition::all().add(Column::StartsAt.lte(now)).add(Column::ExpiresAt.gt(now));
    let active = params.choice("active", &[("true", true), ("false", false)]);
    let user = params.id("userId").map(|id| (Column::UserId, id));
    let model_group = params.id("modelGroupId").map(|id| (Column::ModelGroupId, id));
    let filter = Condition::all()
        .add_option(model_group.filter(|_| user.is_some()).map(|(column, id)| column.eq(id)))
        .add_option(active.map(|active| if active { in_force } else { in_force.not() }));
    params.finish()?;
    let query = page.select(Entity::find().filter(filter), user.or(model_group), state.db.get_database_backend());
    page.page(query.all(&state.db).await?, |row| Ok(row.into())).map(Json)
}

/// Grants a boost.
#[utoipa::path(post, path = "/quota-boosts", operation_id = "createQuotaBoost", tag = "budgets",
    request_body = QuotaBoostFields,
    responses((status = 201, description = "The boost.", body = QuotaBoost)))]
pub(super) async fn create(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    key: IdempotencyKey,
    body: Payload,
) -> Result<Response, Problem> {
    let fields: QuotaBoostFields = body.object()?;
    let (user, model_group) = (fields.user_id, fields.model_group_id);
    // Before the times are looked at: what was granted in time is granted, however late it is asked for again.
    let write = match Write::once(&state.db, actor, state.now(), &key, &body.bytes).await? {
        Once::Replay(answer) => return Ok(state.replayed(answer).await),
        Once::Write(write) => write,
    };
    let mut row = fields.read(write.now)?;
    row.stamp = Set(write.stamp().await?);
    both_exist(&write.txn, user, model_group).await?;
    let boost = QuotaBoost::from(row.insert(&write.txn).await?);
    write.record("create", KIND, boost.id, None::<&QuotaBoost>, Some(&boost)).await?;
    let answer = Answer::created(format!("/api/v1/quota-boosts/{}", boost.id), boost.version, &boost)?;
    write.commit_with(&answer).await?;
    state.invalidate.limits().await;
    Ok(answer.into_response())
}

/// Shows a boost.
#[utoipa::path(get, path = "/quota-boosts/{id}", operation_id = "getQuotaBoost", tag = "budgets",
    params(("id" = i64, Path)), responses((status = 200, description = "The boost.", body = QuotaBoost)))]
pub(super) async fn get(_: Viewer, State(state): State<AdminState>, Id(id): Id) -> Result<Response, Problem> {
    let row = Entity::find_by_id(id).one(&state.db).await?.ok_or_else(|| Problem::not_found(NAME))?;
    Ok(with_etag(row.version, &QuotaBoost::from(row)))
}

/// Revokes a boost, at once.
#[utoipa::path(delete, path = "/quota-boosts/{id}", operation_id = "deleteQuotaBoost", tag = "budgets",
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
    let touched = Touched::owner(&write.txn, Subject::User(row.user_id), stamp).await?;
    Entity::delete_by_id(id).exec(&write.txn).await?;
    let before = QuotaBoost::from(row);
    write.record("delete", KIND, id, Some(&before), None::<&QuotaBoost>).await?;
    write.commit().await?;
    touched.tell(&*state.invalidate).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn both_exist(txn: &DatabaseTransaction, user: i64, model_group: i64) -> Result<(), Problem> {
    let mut wrong = Vec::new();
    if users::Entity::find_by_id(user).one(txn).await?.is_none() {
        wrong.push(InvalidParam::new("userId", "invalid", "there is no such user"));
    }
    if model_groups::Entity::find_by_id(model_group).one(txn).await?.is_none() {
        wrong.push(InvalidParam::new("modelGroupId", "invalid", "there is no such model group"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(Problem::validation(wrong)) }
}
