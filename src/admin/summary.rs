//! `/usage/summary`: what was spent, added up.

use axum::Json;
use axum::extract::State;
use jiff::civil::Date;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::AdminState;
use super::auth::Viewer;
use super::extract::Params;
use super::problem::{InvalidParam, Problem};
use super::time::Instant;
use super::usage::{FilterParams, Tokens, UserParam, read_filter};
use super::usd;
use crate::ledger::query::{self, Counted, Filter, Group, GroupBy, Totals};

/// Two fields and a bucket of time, or two of which one is such a bucket.
const MAX_GROUP_BY: usize = 3;
const GROUP_BY: [(&str, GroupBy); 7] = [
    ("userId", GroupBy::UserId),
    ("keyId", GroupBy::KeyId),
    ("model", GroupBy::Model),
    ("modelGroupId", GroupBy::ModelGroupId),
    ("provider", GroupBy::Provider),
    ("day", GroupBy::Day),
    ("hour", GroupBy::Hour),
];
const COUNTED: [(&str, Counted); 4] = [
    ("all", Counted::All),
    ("userGlobal", Counted::UserGlobal),
    ("keyGlobal", Counted::KeyGlobal),
    ("group", Counted::Group),
];

/// Sums.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageSummary {
    /// What everything that matches cost.
    #[serde(serialize_with = "usd::nanos")]
    #[schema(value_type = f64)]
    total_usd: i64,
    /// How many requests it was. A request counts once, where the first of its charged attempts is: sums of parts add up
    /// to the sum of the whole.
    requests: i64,
    /// What they used.
    tokens: Tokens,
    /// The groups, the dearest first; empty without `groupBy`.
    items: Vec<SummaryItem>,
    /// Whether cheaper groups were left out, because there are more than 10 000.
    truncated: bool,
}

/// One group: the fields of `groupBy`, and its sums.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SummaryItem {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<i64>,
    /// The model that was sent upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// Null: no group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    model_group_id: Option<Option<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    /// The day in the configured time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Date)]
    day: Option<Date>,
    /// The start of the hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    hour: Option<Instant>,
    #[serde(serialize_with = "usd::nanos")]
    #[schema(value_type = f64)]
    cost_usd: i64,
    /// Requests whose first charged attempt is in this group.
    requests: i64,
    tokens: Tokens,
}

impl From<Totals> for Tokens {
    fn from(sums: Totals) -> Self {
        Self {
            input: sums.input_tokens,
            output: sums.output_tokens,
            cache_read: sums.cache_read_tokens,
            cache_write_5m: sums.cache_write_5m_tokens,
            cache_write_1h: sums.cache_write_1h_tokens,
            reasoning: sums.reasoning_tokens,
            input_audio: sums.input_audio_tokens,
            output_audio: sums.output_audio_tokens,
            input_image: sums.input_image_tokens,
            output_image: sums.output_image_tokens,
        }
    }
}

impl SummaryItem {
    fn new(group: Group, by: &[GroupBy]) -> Self {
        Self {
            user_id: group.user_id,
            key_id: group.key_id,
            model: group.model,
            model_group_id: by.contains(&GroupBy::ModelGroupId).then_some(group.model_group_id),
            provider: group.provider,
            day: group.day.map(date),
            hour: group.hour.map(Instant),
            cost_usd: group.totals.cost().nanos(),
            requests: group.totals.requests,
            tokens: group.totals.into(),
        }
    }
}

/// What goes beyond the filters, for the documentation; [`summary`] reads it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, non_snake_case, reason = "documents what summary reads")]
pub struct SummaryParams {
    /// At most two fields to put rows together by, and `day` or `hour` beside them, separated by commas.
    #[param(inline, style = Form, explode = false, max_items = 3)]
    groupBy: Option<Vec<GroupByParam>>,
    /// `all`, or only what counts in the mainline budget of the user (`userGlobal`) or key (`keyGlobal`), or what
    /// counts in a model-group budget instead of either (`group`).
    #[param(inline)]
    counted: Option<CountedParam>,
}

/// What to put rows together by.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "documents GROUP_BY")]
pub enum GroupByParam {
    /// Who paid.
    UserId,
    /// With which key.
    KeyId,
    /// The model that was sent upstream.
    Model,
    /// Its model group.
    ModelGroupId,
    /// The provider.
    Provider,
    /// The day.
    Day,
    /// The hour.
    Hour,
}

/// Where the cost counts.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "documents COUNTED")]
pub enum CountedParam {
    /// Anywhere.
    All,
    /// In the user's mainline budget.
    UserGlobal,
    /// In the key's mainline budget.
    KeyGlobal,
    /// In a model-group budget.
    Group,
}

/// Adds up what was spent.
#[utoipa::path(get, path = "/usage/summary", operation_id = "summarizeUsage", tag = "usage",
    params(UserParam, FilterParams, SummaryParams),
    responses((status = 200, description = "The sums.", body = UsageSummary)))]
pub(super) async fn summary(
    _: Viewer,
    State(state): State<AdminState>,
    mut params: Params,
) -> Result<Json<UsageSummary>, Problem> {
    let user_id = params.id("userId");
    let counted = params.choice("counted", &COUNTED).unwrap_or_default();
    let filter = Filter { user_id, counted, ..read_filter(&mut params) };
    let group_by = params.choices("groupBy", &GROUP_BY, MAX_GROUP_BY);
    if group_by.len() == MAX_GROUP_BY && !group_by.iter().any(|by| matches!(by, GroupBy::Day | GroupBy::Hour)) {
        let message = "must be at most two of these, and `day` or `hour` beside them";
        params.wrong(InvalidParam::new("groupBy", "invalid", message));
    }
    if let (Some(from), Some(to)) = (filter.from, filter.to)
        && from > to
    {
        params.wrong(InvalidParam::new("to", "invalid", "must not be before from"));
    }
    params.finish()?;
    let zone = (state.time_zone)();
    let summary = query::summary(&state.history.all, &filter, &group_by, &zone).await?;
    Ok(Json(UsageSummary {
        total_usd: summary.total.cost().nanos(),
        requests: summary.total.requests,
        tokens: summary.total.into(),
        items: summary.groups.into_iter().map(|group| SummaryItem::new(group, &group_by)).collect(),
        truncated: summary.truncated,
    }))
}

/// A day that was counted from 1970-01-01.
fn date(days: i64) -> Date {
    let epoch = jiff::civil::date(1970, 1, 1);
    jiff::Span::new().try_days(days).and_then(|span| epoch.checked_add(span)).unwrap_or(epoch)
}
