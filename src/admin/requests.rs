//! `/requests/{requestId}`: all that is known of one request.

use axum::Json;
use axum::extract::State;
use entity::{message_request, usage_ledger};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::AdminState;
use super::auth::Viewer;
use super::extract::Name;
use super::problem::Problem;
use super::refusals::Refusal;
use super::usage::UsageRow;
use super::usd;
use crate::ledger::{AttemptReport, query};
use crate::limit::Axis;
use crate::refusals::{self, Excluded};

/// One request.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Request)]
pub struct RequestDetail {
    /// What the client saw in `x-tollgate-request-id`.
    request_id: String,
    /// What all its charged attempts cost.
    #[serde(serialize_with = "usd::nanos")]
    #[schema(value_type = f64)]
    cost_usd: i64,
    /// Its charged attempts, as in `/usage`, in order; none of a request that was refused.
    charges: Vec<Charge>,
    /// Null once the detail has been pruned.
    #[schema(required)]
    detail: Option<Detail>,
    /// Why it was refused; null when it was not.
    #[schema(required)]
    refusal: Option<RefusalDetail>,
}

/// A refusal, and how far the request had come.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusalDetail {
    /// As in `/refusals`.
    #[serde(flatten)]
    row: Refusal,
    /// What the client was told beside the message; null when that is all.
    #[schema(value_type = Option<Object>, required)]
    details: Option<Box<RawValue>>,
    /// Providers that could not be asked: 16 at most.
    #[schema(value_type = Vec<ExcludedProvider>)]
    excluded: Vec<Excluded>,
    /// How many more could not.
    excluded_more: i32,
    /// Who was asked, or passed over when its turn came, before the request was refused, in order: 16 at most.
    #[schema(value_type = Vec<Attempt>)]
    attempts: Vec<AttemptReport>,
}

/// A provider that could not be asked, for the documentation of [`Excluded`].
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "documents Excluded, which knows nothing of HTTP")]
pub struct ExcludedProvider {
    /// Name of the provider.
    provider: String,
    /// The model that it would have been sent.
    served_model: String,
    /// Why, as in `/explain`.
    reason: String,
}

/// A charged attempt.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Charge {
    /// As in `/usage`.
    #[serde(flatten)]
    row: UsageRow,
    /// The price that was applied, kept as long as the charge; null when nothing was charged.
    #[schema(value_type = Option<Object>, required)]
    price: Option<Box<RawValue>>,
    /// The budgets in which it counts, whether they have a cap or not.
    budgets: Vec<ChargedBudget>,
}

/// A budget in which a charge counts.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChargedBudget {
    /// `provider`, `user` or `key`.
    axis: &'static str,
    /// The user or the key; null: the provider.
    #[schema(required)]
    owner_id: Option<i64>,
    /// The model group whose budget it is; null: the mainline budget.
    #[schema(required)]
    model_group_id: Option<i64>,
}

/// A charge that does not count in the mainline budget of its user or key counts in that of its model group.
fn budgets(row: &usage_ledger::Model) -> Vec<ChargedBudget> {
    let of = |axis: Axis, owner_id, is_mainline: bool| ChargedBudget {
        axis: axis.as_str(),
        owner_id,
        model_group_id: row.model_group_id.filter(|_| !is_mainline),
    };
    vec![
        of(Axis::Provider, None, true),
        of(Axis::User, Some(row.user_id), row.counted_in_user_global),
        of(Axis::Key, Some(row.key_id), row.counted_in_key_global),
    ]
}

/// What is kept for a while beside the ledger.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Detail {
    /// Whether the client asked for a stream.
    stream: bool,
    /// Bytes of the request body.
    request_bytes: i64,
    /// Bytes of the answer body that the provider sent.
    response_bytes: i64,
    /// Every attempt, charged or not, in order.
    #[schema(value_type = Vec<Attempt>)]
    attempts: Vec<AttemptReport>,
    /// The price that was applied; null when nothing was charged.
    #[schema(value_type = Option<Object>, required)]
    price: Option<Box<RawValue>>,
}

/// One try at one provider, for the documentation of [`AttemptReport`].
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "documents AttemptReport, which knows nothing of HTTP")]
pub struct Attempt {
    /// Name of the provider.
    provider: String,
    /// The model that was sent.
    served_model: String,
    /// Milliseconds from the arrival of the request to the start of the attempt.
    started_ms: i64,
    /// Milliseconds that the attempt took until it was decided.
    duration_ms: i64,
    /// Status that the provider answered with; null: it did not answer.
    #[schema(required)]
    status: Option<u16>,
    /// Why it ended.
    reason: String,
    /// Whether the request's conversation was served by this provider before, and so was to go there again.
    affinity: bool,
}

/// Shows one request.
#[utoipa::path(get, path = "/requests/{requestId}", operation_id = "getRequest", tag = "usage",
    params(("requestId" = String, Path)),
    responses((status = 200, description = "The request.", body = RequestDetail)))]
pub(super) async fn get(
    _: Viewer,
    State(state): State<AdminState>,
    Name(request_id): Name,
) -> Result<Json<RequestDetail>, Problem> {
    let request_id = Some(&request_id)
        .filter(|text| text.len() == uuid::fmt::Hyphenated::LENGTH)
        .and_then(|text| Uuid::parse_str(text).ok())
        .ok_or_else(|| Problem::invalid("requestId", "invalid", "must be a UUID with hyphens"))?
        .to_string();
    let refusal = refusals::find(&state.history.all, &request_id).await?.map(refused).transpose()?;
    let Some(found) = query::request(&state.history.all, &request_id).await? else {
        let refusal = Some(refusal.ok_or_else(|| Problem::not_found("request"))?);
        return Ok(Json(RequestDetail { request_id, cost_usd: 0, charges: Vec::new(), detail: None, refusal }));
    };
    let cost_usd = found.rows.iter().fold(0_i64, |sum, row| sum.saturating_add(row.cost_nanos));
    let charge = |row: &usage_ledger::Model| {
        let price = found.price(row).map(str::to_owned).map(RawValue::from_string).transpose();
        Ok(Charge { budgets: budgets(row), row: row.clone().into(), price: price.map_err(|error| damaged(&error))? })
    };
    let charges = found.rows.iter().map(charge).collect::<Result<_, Problem>>()?;
    let detail = found.detail.map(show).transpose()?;
    Ok(Json(RequestDetail { request_id, cost_usd, charges, detail, refusal }))
}

fn refused(mut row: entity::refusals::Model) -> Result<RefusalDetail, Problem> {
    Ok(RefusalDetail {
        details: row.details.take().map(RawValue::from_string).transpose().map_err(|error| damaged(&error))?,
        excluded: serde_json::from_str(&row.excluded).map_err(|error| damaged(&error))?,
        excluded_more: row.excluded_more,
        attempts: serde_json::from_str(&row.attempts).map_err(|error| damaged(&error))?,
        row: row.into(),
    })
}

fn show(row: message_request::Model) -> Result<Detail, Problem> {
    Ok(Detail {
        stream: row.stream,
        request_bytes: row.request_bytes,
        response_bytes: row.response_bytes,
        attempts: serde_json::from_str(&row.attempts).map_err(|error| damaged(&error))?,
        price: row.price.map(RawValue::from_string).transpose().map_err(|error| damaged(&error))?,
    })
}

fn damaged(error: &serde_json::Error) -> Problem {
    Problem::internal(error)
}
