//! `/refusals`: what the gateway refused to known keys, as pages of JSON or whole as CSV or JSON lines.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use entity::refusals::Model;
use futures::TryStreamExt;
use serde::Serialize;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::AdminState;
use super::auth::Viewer;
use super::csv;
use super::extract::Params;
use super::page::{Page, PageParams};
use super::problem::Problem;
use super::sort::ByTime;
use super::time::Instant;
use super::usage::Format;
use super::usd;
use crate::dialect::ErrorCode;
use crate::limit::{Axis, Window};
use crate::refusals::{self, Filter, Position};

const KIND: &str = "refusals";

/// Whose limits refuse. What a provider may spend is no affair of a client's.
const AXES: [Axis; 2] = [Axis::Key, Axis::User];

/// What refuses: budgets, requests per minute, requests at once.
const WINDOWS: [Window; 7] =
    [Window::Total, Window::FiveHours, Window::Daily, Window::Weekly, Window::Monthly, Window::Minute, Window::AtOnce];

/// A request that was refused. Of those of one key with the same code, axis, scope and window the first five of a minute on
/// a node are listed; `repeated` of the last of them counts the others.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// What the client saw in `x-tollgate-request-id`.
    pub request_id: String,
    /// When the request arrived.
    pub created_at: Instant,
    /// Whose key it was.
    pub user_id: i64,
    /// Which.
    pub key_id: i64,
    /// The model that the client named; null: it was refused before its body was read.
    #[schema(required)]
    pub model: Option<String>,
    /// Wire format; null: it asked for a list of models.
    #[schema(required)]
    pub dialect: Option<String>,
    /// HTTP status of the answer.
    pub status: i32,
    /// Why: `budget_exceeded`, `rate_limit_exceeded`, `model_not_allowed`, ...
    pub code: String,
    /// The same as a sentence.
    pub message: String,
    /// Whose limit it was: `key` or `user`; null: it was no limit.
    #[schema(required)]
    pub axis: Option<String>,
    /// Of a budget, `mainline` or the model group's name.
    #[schema(required)]
    pub scope: Option<String>,
    /// The window of the limit; `rpm` and `concurrency` are limits on requests.
    #[schema(required)]
    pub window: Option<String>,
    /// The cap of the budget then.
    #[serde(serialize_with = "usd::nanos_or_null")]
    #[schema(value_type = Option<f64>, required)]
    pub limit_usd: Option<i64>,
    /// What had been charged to it.
    #[serde(serialize_with = "usd::nanos_or_null")]
    #[schema(value_type = Option<f64>, required)]
    pub used_usd: Option<i64>,
    /// What other requests had set aside.
    #[serde(serialize_with = "usd::nanos_or_null")]
    #[schema(value_type = Option<f64>, required)]
    pub reserved_usd: Option<i64>,
    /// What this one needed.
    #[serde(serialize_with = "usd::nanos_or_null")]
    #[schema(value_type = Option<f64>, required)]
    pub requested_usd: Option<i64>,
    /// How many more of its kind came in the same minute and are not listed.
    pub repeated: i64,
}

impl From<Model> for Refusal {
    fn from(row: Model) -> Self {
        Self {
            request_id: row.request_id,
            created_at: Instant(row.created_at),
            user_id: row.user_id,
            key_id: row.key_id,
            model: row.model,
            dialect: row.dialect,
            status: row.status,
            code: row.code,
            message: row.message,
            axis: row.axis,
            scope: row.scope,
            window: row.window,
            limit_usd: row.limit_nanos,
            used_usd: row.used_nanos,
            reserved_usd: row.reserved_nanos,
            requested_usd: row.requested_nanos,
            repeated: row.repeated,
        }
    }
}

/// The filters, for the documentation; [`list`] reads them.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, non_snake_case, reason = "documents what list reads")]
pub struct RefusalParams {
    /// Whose key it was.
    #[param(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    userId: Option<i64>,
    /// Which key.
    #[param(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    keyId: Option<i64>,
    /// For which model, as the client named it.
    #[param(min_length = 1, max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    model: Option<String>,
    /// Why.
    #[param(inline)]
    code: Option<CodeParam>,
    /// Whose limit it was.
    #[param(inline)]
    axis: Option<AxisParam>,
    /// `mainline`, or the name of a model group.
    #[param(min_length = 1, max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    scope: Option<String>,
    /// Which window.
    #[param(inline)]
    window: Option<WindowParam>,
    /// Arrived at or after.
    #[param(inline)]
    from: Option<Instant>,
    /// Arrived before.
    #[param(inline)]
    to: Option<Instant>,
    /// The order: newest first, or with `createdAt` oldest first. A cursor goes on in the order that it was made in.
    #[param(pattern = "^-?createdAt$", default = "-createdAt")]
    sort: Option<String>,
}

/// One of a few words, for the documentation.
macro_rules! one_of {
    ($name:ident, $doc:literal, $words:expr) => {
        #[doc = $doc]
        pub struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some($words)).into()
            }
        }

        impl ToSchema for $name {}
    };
}

one_of!(CodeParam, "Why.", ErrorCode::ALL.map(ErrorCode::as_str));
one_of!(AxisParam, "Whose limit.", AXES.map(Axis::as_str));
one_of!(WindowParam, "Which window.", WINDOWS.map(Window::as_str));

/// Lists what was refused to known keys, newest first unless `sort` says otherwise. As CSV or JSON lines it is the whole list,
/// unless `limit` says less.
#[utoipa::path(get, path = "/refusals", operation_id = "listRefusals", tag = "usage",
    params(RefusalParams, PageParams),
    responses((status = 200, description = "Refused requests.", content(
        (Page<Refusal> = "application/json"), (String = "text/csv"), (String = "application/x-ndjson")))))]
pub(super) async fn list(
    _: Viewer,
    State(state): State<AdminState>,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, Problem> {
    let filter = Filter {
        user_id: params.id("userId"),
        key_id: params.id("keyId"),
        model: params.name("model"),
        code: params.choice("code", &ErrorCode::ALL.map(|code| (code.as_str(), code.as_str()))),
        axis: params.choice("axis", &AXES.map(|axis| (axis.as_str(), axis.as_str()))),
        scope: params.name("scope"),
        window: params.choice("window", &WINDOWS.map(|window| (window.as_str(), window.as_str()))),
        from: params.instant("from"),
        to: params.instant("to"),
    };
    let page = ByTime::read(&mut params, KIND, "createdAt");
    params.finish()?;
    let after = page.after().map(|(created_at, id)| Position { created_at, id });
    let format = Format::asked_for(&headers);
    if format == Format::Json {
        let rows = refusals::page(&state.history.all, &filter, after, page.direction, page.fetch()).await?;
        let page = page.page(rows, |row| (row.created_at, row.id), |row| Ok(Refusal::from(row)))?;
        return Ok(Json(page).into_response());
    }
    let rows = refusals::stream(state.history.all.clone(), filter, after, page.direction, page.limit());
    let rows = rows.map_ok(|rows| rows.into_iter().map(Refusal::from).collect());
    Ok(format.whole(csv::REFUSALS_HEAD, csv::refusal, rows))
}
