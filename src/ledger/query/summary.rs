//! Sums of what was spent, in groups.

use entity::usage_ledger::Column;
use jiff::{Timestamp, tz::TimeZone};
use sea_orm::sea_query::{Alias, CaseStatement, Expr, ExprTrait, Order, Query, SelectStatement, SimpleExpr, UnionType};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, FromQueryResult};

use super::Filter;
use super::parts::{self, Part};
use crate::ledger::quarters::{self, QUARTER_MS, SUMS, saturated};
use crate::money::Usd;
use crate::store;

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
    /// Requests; each counts once, where its first charged attempt is.
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

    /// Both together.
    fn and(&self, other: &Self) -> Self {
        let sum = |of: fn(&Self) -> i64| of(self).saturating_add(of(other));
        Self {
            requests: sum(|totals| totals.requests),
            cost_nanos: sum(|totals| totals.cost_nanos),
            input_tokens: sum(|totals| totals.input_tokens),
            output_tokens: sum(|totals| totals.output_tokens),
            cache_read_tokens: sum(|totals| totals.cache_read_tokens),
            cache_write_5m_tokens: sum(|totals| totals.cache_write_5m_tokens),
            cache_write_1h_tokens: sum(|totals| totals.cache_write_1h_tokens),
            reasoning_tokens: sum(|totals| totals.reasoning_tokens),
            input_audio_tokens: sum(|totals| totals.input_audio_tokens),
            output_audio_tokens: sum(|totals| totals.output_audio_tokens),
            input_image_tokens: sum(|totals| totals.input_image_tokens),
            output_image_tokens: sum(|totals| totals.output_image_tokens),
        }
    }
}

/// Adds up the rows that match: what is sealed from the sums of quarters, the rest from the ledger.
///
/// # Errors
/// What the database says.
pub async fn summary(
    db: &DatabaseConnection,
    filter: &Filter,
    group_by: &[GroupBy],
    zone: &TimeZone,
) -> Result<Summary, DbErr> {
    // Of one state of the database, whatever is written and sealed meanwhile.
    let snapshot = store::begin_snapshot(db).await?;
    let mut parts = parts::parts(filter, quarters::state(&snapshot).await?.sealed_until);
    let mut stretches = Vec::new();
    if group_by.contains(&GroupBy::Day)
        && let Some((first, last)) = parts::extent(&snapshot, &parts).await?
    {
        stretches = offsets(zone, first, last);
        if !stretches.iter().all(|stretch| is_whole(*stretch)) {
            parts = parts::unsealed(filter);
        }
    }
    let total = async || {
        let totals = snapshot.query_one(&sums(snapshot.get_database_backend(), filter, &parts, &[])).await?;
        totals.map_or(Ok(Totals::default()), |row| Totals::from_query_result(&row, ""))
    };
    if group_by.is_empty() {
        return Ok(Summary { total: total().await?, groups: Vec::new(), truncated: false });
    }
    let mut query = sums(snapshot.get_database_backend(), filter, &parts, group_by);
    for by in group_by {
        let name = Alias::new(by.name());
        match by {
            GroupBy::Day => query.expr_as(day(&stretches), name.clone()),
            GroupBy::Hour => query.expr_as(whole(Expr::col(Column::SettledAt), HOUR_MS), name.clone()),
            _ => query.column(name.clone()),
        };
        // By its alias: the expression of the day has bound values, which PostgreSQL would take for another expression.
        query.group_by_col(name);
    }
    query.order_by(Alias::new("cost_nanos"), Order::Desc);
    for by in group_by {
        query.order_by(Alias::new(by.name()), Order::Asc);
    }
    query.limit(MAX_GROUPS as u64 + 1);
    let rows = snapshot.query_all(&query).await?;
    let truncated = rows.len() > MAX_GROUPS;
    let groups: Vec<Group> = rows.iter().take(MAX_GROUPS).map(|row| group(row, group_by)).collect::<Result<_, _>>()?;
    let total = if truncated {
        total().await?
    } else {
        groups.iter().fold(Totals::default(), |total, group| total.and(&group.totals))
    };
    Ok(Summary { total, groups, truncated })
}

impl GroupBy {
    pub(super) const fn name(self) -> &'static str {
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

/// The sums over all parts, in groups that are still to be said.
fn sums(backend: DbBackend, filter: &Filter, parts: &[Part], group_by: &[GroupBy]) -> SelectStatement {
    let all = parts.iter().map(|part| part.select(filter, group_by)).reduce(|mut all, part| {
        all.union(UnionType::All, part);
        all
    });
    let mut query = Query::select();
    query.from_subquery(all.unwrap_or_default(), Alias::new("parts"));
    for sum in SUMS {
        query.expr_as(Expr::cust(saturated(backend, sum)), Alias::new(sum));
    }
    query
}

/// Both databases cut off the fraction. Instants are after 1970, so that is the hour, or day, that they are in.
fn whole(value: impl ExprTrait, by: i64) -> SimpleExpr {
    value.div(Expr::cust(by.to_string()))
}

/// The calendar day of the settlement as an expression: each stretch of time in which the zone's offset does not change
/// has its own.
fn day(stretches: &[(i64, i64)]) -> SimpleExpr {
    let shifted = |offset_ms: i64| whole(Expr::cust(format!("(settled_at + ({offset_ms}))")), DAY_MS);
    let Some(((_, last), earlier)) = stretches.split_last() else { return shifted(0) };
    if earlier.is_empty() {
        return shifted(*last);
    }
    let mut case = CaseStatement::new();
    for (until, offset) in earlier {
        case = case.case(Expr::cust(format!("settled_at < {until}")), shifted(*offset));
    }
    case.finally(shifted(*last)).into()
}

/// Whether no quarter of an hour is on two days. Clocks were not always ahead by a multiple of it, nor changed with one.
const fn is_whole((until, offset): (i64, i64)) -> bool {
    (until == i64::MAX || until % QUARTER_MS == 0) && offset % QUARTER_MS == 0
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
