//! Sums over the ledger, in groups.

use entity::usage_ledger::{Column, Entity};
use jiff::{Timestamp, tz::TimeZone};
use sea_orm::sea_query::{Alias, CaseStatement, Expr, ExprTrait, Order, SimpleExpr};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, FromQueryResult, QueryFilter, QuerySelect,
    QueryTrait, Select,
};

use super::Filter;
use crate::money::Usd;

/// Groups in one answer; the dearest are kept.
pub const MAX_GROUPS: usize = 10_000;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// What rows may be put together by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
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
    /// The calendar day of the settlement in the time zone that is asked for.
    Day,
    /// The hour of the settlement, in UTC.
    Hour,
}

/// Sums of all rows that match, and of the groups that they fall into.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Over everything.
    pub total: Totals,
    /// At most [`MAX_GROUPS`], the dearest first; none when nothing was grouped by.
    pub groups: Vec<Group>,
    /// Whether there were more groups.
    pub truncated: bool,
}

/// One group: what its rows have in common (only what was grouped by is set), and their sums.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Who paid.
    pub user_id: Option<i64>,
    /// With which key.
    pub key_id: Option<i64>,
    /// The model that was sent upstream.
    pub model: Option<String>,
    /// Its model group.
    pub model_group_id: Option<i64>,
    /// The provider.
    pub provider: Option<String>,
    /// The calendar day, as days since 1970-01-01.
    pub day: Option<i64>,
    /// The start of the hour, Unix milliseconds.
    pub hour: Option<i64>,
    /// The sums.
    pub totals: Totals,
}

/// Sums over rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromQueryResult)]
pub struct Totals {
    /// Different requests.
    pub requests: i64,
    /// Nano-dollars; see [`cost`](Self::cost).
    pub cost_nanos: i64,
    /// Text input tokens outside the cache.
    pub input_tokens: i64,
    /// Text output tokens without reasoning.
    pub output_tokens: i64,
    /// Input tokens read from the cache.
    pub cache_read_tokens: i64,
    /// Input tokens written to a 5-minute cache.
    pub cache_write_5m_tokens: i64,
    /// Input tokens written to a 1-hour cache.
    pub cache_write_1h_tokens: i64,
    /// Reasoning tokens.
    pub reasoning_tokens: i64,
    /// Audio input tokens.
    pub input_audio_tokens: i64,
    /// Audio output tokens.
    pub output_audio_tokens: i64,
    /// Image input tokens.
    pub input_image_tokens: i64,
    /// Image output tokens.
    pub output_image_tokens: i64,
}

impl Totals {
    /// What the rows cost.
    #[must_use]
    pub const fn cost(&self) -> Usd {
        Usd::from_nanos(self.cost_nanos)
    }
}

const SUMS: [(Column, &str); 11] = [
    (Column::CostNanos, "cost_nanos"),
    (Column::InputTokens, "input_tokens"),
    (Column::OutputTokens, "output_tokens"),
    (Column::CacheReadTokens, "cache_read_tokens"),
    (Column::CacheWrite5mTokens, "cache_write_5m_tokens"),
    (Column::CacheWrite1hTokens, "cache_write_1h_tokens"),
    (Column::ReasoningTokens, "reasoning_tokens"),
    (Column::InputAudioTokens, "input_audio_tokens"),
    (Column::OutputAudioTokens, "output_audio_tokens"),
    (Column::InputImageTokens, "input_image_tokens"),
    (Column::OutputImageTokens, "output_image_tokens"),
];

/// Adds up the rows that match.
///
/// # Errors
/// What the database says.
pub async fn summary(
    db: &DatabaseConnection,
    filter: &Filter,
    group_by: &[GroupBy],
    zone: &TimeZone,
) -> Result<Summary, DbErr> {
    let total = sums(filter).into_model::<Totals>().one(db).await?.unwrap_or_default();
    if group_by.is_empty() {
        return Ok(Summary { total, groups: Vec::new(), truncated: false });
    }
    let day = if group_by.contains(&GroupBy::Day) { day(db, filter, zone).await? } else { Expr::val(0) };
    let mut query = sums(filter);
    for by in group_by {
        let (expression, name) = match by {
            GroupBy::UserId => (Expr::col(Column::UserId), "user_id"),
            GroupBy::KeyId => (Expr::col(Column::KeyId), "key_id"),
            GroupBy::Model => (Expr::col(Column::ServedModel), "model"),
            GroupBy::ModelGroupId => (Expr::col(Column::ModelGroupId), "model_group_id"),
            GroupBy::Provider => (Expr::col(Column::Provider), "provider"),
            GroupBy::Day => (day.clone(), "day"),
            GroupBy::Hour => (whole(Expr::col(Column::SettledAt), HOUR_MS), "hour"),
        };
        query = query.column_as(expression, name);
        // By its alias: the expression of the day has bound values, which PostgreSQL would take for another expression.
        QueryTrait::query(&mut query).add_group_by([Expr::col(Alias::new(name))]);
    }
    let statement = QueryTrait::query(&mut query);
    statement.order_by(Alias::new("cost_nanos"), Order::Desc);
    for by in group_by {
        statement.order_by(Alias::new(by.name()), Order::Asc);
    }
    statement.limit(MAX_GROUPS as u64 + 1);
    let rows = db.query_all(statement).await?;
    let truncated = rows.len() > MAX_GROUPS;
    let groups = rows.iter().take(MAX_GROUPS).map(|row| group(row, group_by)).collect::<Result<_, _>>()?;
    Ok(Summary { total, groups, truncated })
}

impl GroupBy {
    const fn name(self) -> &'static str {
        match self {
            Self::UserId => "user_id",
            Self::KeyId => "key_id",
            Self::Model => "model",
            Self::ModelGroupId => "model_group_id",
            Self::Provider => "provider",
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }
}

fn group(row: &sea_orm::QueryResult, group_by: &[GroupBy]) -> Result<Group, DbErr> {
    let mut group = Group { totals: Totals::from_query_result(row, "")?, ..Group::default() };
    for by in group_by {
        let name = by.name();
        match by {
            GroupBy::UserId => group.user_id = row.try_get("", name)?,
            GroupBy::KeyId => group.key_id = row.try_get("", name)?,
            GroupBy::Model => group.model = row.try_get("", name)?,
            GroupBy::ModelGroupId => group.model_group_id = row.try_get("", name)?,
            GroupBy::Provider => group.provider = row.try_get("", name)?,
            GroupBy::Day => group.day = row.try_get("", name)?,
            GroupBy::Hour => group.hour = Some(row.try_get::<i64>("", name)?.saturating_mul(HOUR_MS)),
        }
    }
    Ok(group)
}

fn sums(filter: &Filter) -> Select<Entity> {
    let mut query = Entity::find()
        .select_only()
        .column_as(Column::RequestId.into_expr().count_distinct(), "requests")
        .filter(filter.condition());
    for (column, name) in SUMS {
        // PostgreSQL adds bigints up to a numeric.
        let sum = Expr::col(column).sum().cast_as(Alias::new("BIGINT"));
        query = query.column_as(Expr::expr(sum).if_null(0_i64), name);
    }
    query
}

/// Both databases cut off the fraction. Instants are after 1970, so that is the hour, or day, that they are in.
fn whole(value: impl ExprTrait, by: i64) -> SimpleExpr {
    value.div(Expr::cust(by.to_string()))
}

/// The calendar day of the settlement as an expression: each stretch of time in which the zone's offset does not change
/// has its own.
async fn day(db: &DatabaseConnection, filter: &Filter, zone: &TimeZone) -> Result<SimpleExpr, DbErr> {
    #[derive(FromQueryResult)]
    struct Range {
        first: Option<i64>,
        last: Option<i64>,
    }
    let range = Entity::find()
        .select_only()
        .column_as(Column::SettledAt.min(), "first")
        .column_as(Column::SettledAt.max(), "last")
        .filter(filter.condition())
        .into_model::<Range>()
        .one(db)
        .await?;
    let (first, last) = range.and_then(|r| Some((r.first?, r.last?))).unwrap_or((0, 0));
    let shifted = |offset_ms: i64| whole(Expr::cust(format!("(settled_at + ({offset_ms}))")), DAY_MS);
    let mut stretches = offsets(zone, first, last);
    let (_, last_offset) = stretches.pop().unwrap_or((i64::MAX, 0));
    if stretches.is_empty() {
        return Ok(shifted(last_offset));
    }
    let mut case = CaseStatement::new();
    for (until, offset) in stretches {
        case = case.case(Expr::cust(format!("settled_at < {until}")), shifted(offset));
    }
    Ok(case.finally(shifted(last_offset)).into())
}

/// The offsets of a zone, in milliseconds, with the instant at which each ends, from the one at `first` to the one at
/// `last`.
pub(super) fn offsets(zone: &TimeZone, first: i64, last: i64) -> Vec<(i64, i64)> {
    let stamp = |at| Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH);
    let offset = |at| i64::from(zone.to_offset(at).seconds()) * 1000;
    let mut stretches = Vec::new();
    let mut current = offset(stamp(first));
    for transition in zone.following(stamp(first)) {
        let at = transition.timestamp();
        if at.as_millisecond() > last {
            break;
        }
        let next = offset(at);
        if next != current {
            stretches.push((at.as_millisecond(), current));
            current = next;
        }
    }
    stretches.push((i64::MAX, current));
    stretches
}
