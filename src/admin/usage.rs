//! `/usage`: the rows of the ledger, as pages of JSON or whole as CSV or JSON lines.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use entity::usage_ledger::Model;
use futures::{Stream, TryStreamExt};
use sea_orm::{DatabaseConnection, DbErr};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::AdminState;
use super::auth::Viewer;
use super::csv;
use super::extract::Params;
use super::page::{Page, PageParams};
use super::problem::Problem;
use super::sort::ByTime;
use super::time::Instant;
use super::usd;
use crate::ledger::Outcome;
use crate::ledger::query::{self, Filter, Position};

const KIND: &str = "usage";
const OUTCOMES: [(&str, Outcome); 6] = [
    (Outcome::Completed.as_str(), Outcome::Completed),
    (Outcome::ClientAborted.as_str(), Outcome::ClientAborted),
    (Outcome::UpstreamFailed.as_str(), Outcome::UpstreamFailed),
    (Outcome::Interrupted.as_str(), Outcome::Interrupted),
    (Outcome::LostRace.as_str(), Outcome::LostRace),
    (Outcome::Corrected.as_str(), Outcome::Corrected),
];

/// One charged attempt.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageRow {
    /// What the client saw in `x-tollgate-request-id`.
    pub request_id: String,
    /// 1 for the first; a thousand more for each correction of it.
    pub attempt: i32,
    /// When the request arrived.
    pub created_at: Instant,
    /// When the cost was fixed; the spend belongs to this instant.
    pub settled_at: Instant,
    /// Who paid.
    pub user_id: i64,
    /// With which key.
    pub key_id: i64,
    /// Name of the provider.
    pub provider: String,
    /// Wire format.
    pub dialect: String,
    /// The model that the client named.
    pub requested_model: String,
    /// The model that was sent upstream.
    pub served_model: String,
    /// The model group of the served model.
    #[schema(required)]
    pub model_group_id: Option<i64>,
    /// `completed`, `client_aborted`, `upstream_failed` or `interrupted`; `lost_race`: another provider, which was asked at
    /// the same time, had answered before; `corrected`: the difference that a corrected price makes for an attempt.
    pub outcome: String,
    /// Whether the usage was estimated because the provider did not say it.
    pub estimated: bool,
    /// HTTP status of the answer.
    pub status: i32,
    /// Milliseconds from arrival to settlement.
    pub duration_ms: i64,
    /// Milliseconds from arrival to the first byte from upstream.
    #[schema(required)]
    pub first_byte_ms: Option<i64>,
    /// What was used. Every token is in one field.
    pub tokens: Tokens,
    /// What it cost.
    #[serde(serialize_with = "usd::nanos")]
    #[schema(value_type = f64)]
    pub cost_usd: i64,
    /// Whether the cost counts in the mainline budget of the user.
    pub counted_in_user_global: bool,
    /// Whether the cost counts in the mainline budget of the key.
    pub counted_in_key_global: bool,
}

/// Tokens by kind.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// Text input outside the cache.
    pub input: i64,
    /// Text output without reasoning.
    pub output: i64,
    /// Read from the cache.
    pub cache_read: i64,
    /// Written to a 5-minute cache.
    #[serde(rename = "cacheWrite5m")]
    pub cache_write_5m: i64,
    /// Written to a 1-hour cache.
    #[serde(rename = "cacheWrite1h")]
    pub cache_write_1h: i64,
    /// Reasoning.
    pub reasoning: i64,
    /// Audio input.
    pub input_audio: i64,
    /// Audio output.
    pub output_audio: i64,
    /// Image input.
    pub input_image: i64,
    /// Image output.
    pub output_image: i64,
}

impl From<Model> for UsageRow {
    fn from(row: Model) -> Self {
        Self {
            request_id: row.request_id,
            attempt: row.attempt,
            created_at: Instant(row.created_at),
            settled_at: Instant(row.settled_at),
            user_id: row.user_id,
            key_id: row.key_id,
            provider: row.provider,
            dialect: row.dialect,
            requested_model: row.requested_model,
            served_model: row.served_model,
            model_group_id: row.model_group_id,
            outcome: row.outcome,
            estimated: row.estimated,
            status: row.status,
            duration_ms: row.duration_ms,
            first_byte_ms: row.first_byte_ms,
            tokens: Tokens {
                input: row.input_tokens,
                output: row.output_tokens,
                cache_read: row.cache_read_tokens,
                cache_write_5m: row.cache_write_5m_tokens,
                cache_write_1h: row.cache_write_1h_tokens,
                reasoning: row.reasoning_tokens,
                input_audio: row.input_audio_tokens,
                output_audio: row.output_audio_tokens,
                input_image: row.input_image_tokens,
                output_image: row.output_image_tokens,
            },
            cost_usd: row.cost_nanos,
            counted_in_user_global: row.counted_in_user_global,
            counted_in_key_global: row.counted_in_key_global,
        }
    }
}

/// The filters but `userId`, for the documentation; [`read_filter`] reads them.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, non_snake_case, reason = "documents what read_filter reads")]
pub struct FilterParams {
    /// With which key.
    #[param(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    keyId: Option<i64>,
    /// To which provider.
    #[param(min_length = 1, max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    provider: Option<String>,
    /// For which model, as it was sent upstream.
    #[param(min_length = 1, max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    model: Option<String>,
    /// In which model group.
    #[param(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    modelGroupId: Option<i64>,
    /// How it ended.
    #[param(inline)]
    outcome: Option<OutcomeParam>,
    /// Settled at or after.
    #[param(inline)]
    from: Option<Instant>,
    /// Settled before.
    #[param(inline)]
    to: Option<Instant>,
}

/// The filter on the user, for the documentation.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, non_snake_case, reason = "documents what the handlers read")]
pub struct UserParam {
    /// Who paid.
    #[param(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    userId: Option<i64>,
}

/// How an attempt ended.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "documents OUTCOMES")]
pub enum OutcomeParam {
    /// As it should.
    Completed,
    /// The client left.
    ClientAborted,
    /// The provider failed.
    UpstreamFailed,
    /// The gateway stopped in the middle.
    Interrupted,
    /// Another provider's answer, asked at the same time, came first.
    LostRace,
    /// The difference that a corrected price makes.
    Corrected,
}

/// The order, for the documentation.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "documents what answer reads")]
pub struct UsageSortParams {
    /// The order: newest first, or with `settledAt` oldest first. A cursor goes on in the order that it was made in.
    #[param(pattern = "^-?settledAt$", default = "-settledAt")]
    sort: Option<String>,
}

/// Reads the filters but `userId`.
pub(super) fn read_filter(params: &mut Params) -> Filter {
    Filter {
        key_id: params.id("keyId"),
        provider: params.name("provider"),
        model: params.name("model"),
        model_group_id: params.id("modelGroupId"),
        outcome: params.choice("outcome", &OUTCOMES),
        from: params.instant("from"),
        to: params.instant("to"),
        ..Filter::default()
    }
}

/// Lists what was spent, newest first unless `sort` says otherwise. As CSV or JSON lines it is the whole list, unless `limit` says less.
#[utoipa::path(get, path = "/usage", operation_id = "listUsage", tag = "usage",
    params(UserParam, FilterParams, UsageSortParams, PageParams),
    responses((status = 200, description = "Charged attempts.", content(
        (Page<UsageRow> = "application/json"), (String = "text/csv"), (String = "application/x-ndjson")))))]
pub(super) async fn list(
    _: Viewer,
    State(state): State<AdminState>,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, Problem> {
    let user_id = params.id("userId");
    let filter = Filter { user_id, ..read_filter(&mut params) };
    answer(&state.history.all, &headers, filter, params).await
}

/// The rows that match, in the format that the client asks for.
pub(super) async fn answer(
    db: &DatabaseConnection,
    headers: &HeaderMap,
    filter: Filter,
    mut params: Params,
) -> Result<Response, Problem> {
    let page = ByTime::read(&mut params, KIND, "settledAt");
    params.finish()?;
    let after = page.after().map(|(settled_at, id)| Position { settled_at, id });
    let format = Format::asked_for(headers);
    if format == Format::Json {
        let rows = query::page(db, &filter, after, page.direction, page.fetch()).await?;
        let page = page.page(rows, |row| (row.settled_at, row.id), |row| Ok(UsageRow::from(row)))?;
        return Ok(Json(page).into_response());
    }
    let rows = query::stream(db.clone(), filter, after, page.direction, page.limit());
    Ok(format.whole(csv::HEAD, csv::row, rows.map_ok(|rows| rows.into_iter().map(UsageRow::from).collect())))
}

/// The formats of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Pages.
    Json,
    /// The whole list (RFC 4180).
    Csv,
    /// The whole list, an object per line.
    Lines,
}

impl Format {
    /// The one that the client likes best; JSON when it does not care, or likes only what there is not.
    pub(super) fn asked_for(headers: &HeaderMap) -> Self {
        let mut best = (0, Self::Json);
        let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        for range in ranges.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "application/json" | "application/*" | "*/*" => Self::Json,
                "text/csv" | "text/*" => Self::Csv,
                "application/x-ndjson" => Self::Lines,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1000, per_mille);
            if quality > best.0 {
                best = (quality, format);
            }
        }
        best.1
    }

    const fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Lines => "application/x-ndjson",
        })
    }

    /// A whole list, sent while it is read.
    pub(super) fn whole<R: Serialize + Send + 'static>(
        self,
        csv_head: &'static str,
        csv_row: fn(&mut Vec<u8>, &R),
        rows: impl Stream<Item = Result<Vec<R>, DbErr>> + Send + 'static,
    ) -> Response {
        let encode = move |rows: Vec<R>| {
            let mut bytes = Vec::new();
            for row in rows {
                if self == Self::Csv {
                    csv_row(&mut bytes, &row);
                } else {
                    serde_json::to_writer(&mut bytes, &row)?;
                    bytes.push(b'\n');
                }
            }
            Ok(Bytes::from(bytes))
        };
        let batches = rows.map_err(std::io::Error::other).and_then(move |rows| std::future::ready(encode(rows)));
        let head = futures::stream::iter((self == Self::Csv).then(|| Ok(Bytes::from(csv_head))));
        let body = Body::from_stream(futures::StreamExt::chain(head, batches));
        ([(header::CONTENT_TYPE, self.media_type())], body).into_response()
    }
}

/// A quality value (RFC 9110, 12.4.2) in thousandths.
fn per_mille(text: &str) -> u32 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{fraction:0<3}");
    digits.get(..4).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
