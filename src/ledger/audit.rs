//! Whether the sums that budgets are made of, and those that summaries are read from, are those of the ledger's rows.
//!
//! Rows and sums are written by the same transactions, so one statement, which sees one state of the database, finds
//! exactly what differs, whatever is written meanwhile. A repair adds the difference: what was added since stays.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, FromQueryResult, Statement};

use super::quarters::{KEY, QUARTER_MS, SUMS, Sums, of_rows};
use super::rollup::{MINUTE_MS, Minute, Owner, PROVIDER_SPANS, Rollup, SPANS, Span, WEEK};
use super::starts::scope_column;
use crate::limit::{Axis, Scope};
use crate::money::Usd;
use crate::store;

/// PostgreSQL's lock of those who repair.
const REPAIRS: i64 = 0x7461_7564_6974;

/// What tells one sum of a minute from another.
const MINUTE_KEY: &str = "minute, user_id, key_id, provider, model_group_id, counted_in_user_global, \
    counted_in_key_global, user_era, key_era";

/// What tells one longer sum from another.
const SPAN_KEY: &str = "axis, owner, scope, span, minute, era";

/// The rows of a week, as sums of minutes.
const ROWS: &str = "SELECT settled_at / 60000 AS minute, user_id, key_id, provider, \
    COALESCE(model_group_id, 0) AS model_group_id, counted_in_user_global, counted_in_key_global, user_era, key_era, \
    SUM(cost_nanos) AS cost_nanos, COUNT(*) AS requests FROM usage_ledger \
    WHERE settled_at >= $1 AND settled_at < $2 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9";

/// Sums of minutes that differ: positive where the ledger has more than the sum.
static MINUTES: LazyLock<String> = LazyLock::new(|| {
    differences(
        MINUTE_KEY,
        &format!(
            "{ROWS} UNION ALL SELECT {MINUTE_KEY}, -cost_nanos, -requests \
             FROM usage_rollup_minute WHERE minute >= $3 AND minute < $4"
        ),
    )
});

/// Longer sums that differ. A week is the longest, so each is in one comparison with all of its rows.
static LONGER: LazyLock<String> = LazyLock::new(|| {
    let mut sides = format!(
        "SELECT {SPAN_KEY}, -cost_nanos AS cost_nanos, -requests AS requests \
         FROM usage_rollup_span WHERE minute >= $3 AND minute < $4"
    );
    let mut side = |axis: Axis, owner: &str, scope: &str, span: i64, era: &str, counted: &str| {
        // Writing to a string cannot fail.
        let _ = write!(
            sides,
            " UNION ALL SELECT '{}', {owner}, {scope}, CAST({span} AS BIGINT), minute / {span} * {span}, {era}, \
             cost_nanos, requests FROM minutes WHERE {counted}",
            axis.as_str()
        );
    };
    for span in PROVIDER_SPANS {
        side(Axis::Provider, "provider", "CAST(0 AS BIGINT)", span, "CAST(0 AS BIGINT)", "true");
    }
    for (axis, name) in [(Axis::User, "user"), (Axis::Key, "key")] {
        let (owner, era) = (format!("CAST({name}_id AS TEXT)"), format!("{name}_era"));
        let scope = format!("CASE WHEN counted_in_{name}_global THEN 0 ELSE model_group_id END");
        let counted = format!("(counted_in_{name}_global OR model_group_id <> 0)");
        SPANS.into_iter().for_each(|span| side(axis, &owner, &scope, span, &era, &counted));
    }
    format!("WITH minutes AS ({ROWS}) {}", differences(SPAN_KEY, &sides))
});

/// Sums of quarters that differ. Those that are just being sealed are left out, on both sides: only all of what is sealed
/// has to be there, and nothing of what is not announced.
fn quarters(backend: DbBackend) -> String {
    let sealed = format!("(SELECT sealed_until / {QUARTER_MS} FROM usage_rollup_state)");
    let rows = format!("settled_at >= $1 AND settled_at < $2 AND settled_at < {sealed} * {QUARTER_MS}");
    let less = SUMS.map(|sum| format!("-{sum}")).join(", ");
    let sides = format!(
        "SELECT {KEY}, {} FROM ({}) AS of_rows UNION ALL SELECT {KEY}, {less} FROM usage_rollup_quarter \
         WHERE quarter >= $3 AND quarter < $4 AND (quarter < {sealed} \
         OR quarter * {QUARTER_MS} >= (SELECT announced_until FROM usage_rollup_state))",
        SUMS.join(", "),
        of_rows(backend, &rows, "true"),
    );
    differences_of(KEY, &SUMS, &sides)
}

fn differences(key: &str, sides: &str) -> String {
    differences_of(key, &["cost_nanos", "requests"], sides)
}

fn differences_of(key: &str, sums: &[&str], sides: &str) -> String {
    let each = |text: fn(&str) -> String| sums.iter().map(|sum| text(sum)).collect::<Vec<_>>();
    let (sum, differ) =
        (each(|sum| format!("CAST(SUM({sum}) AS BIGINT) AS {sum}")), each(|sum| format!("SUM({sum}) <> 0")));
    format!("SELECT {key}, {} FROM ({sides}) AS sides GROUP BY {key} HAVING {}", sum.join(", "), differ.join(" OR "))
}

/// Whose budget: of a user or key (by id) or a provider (by name), for everything or for a model group.
pub type Audited = (Axis, String, Scope);

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SumsAudit {
    /// Rows of the ledger.
    pub rows: u64,
    /// Sums that are not those of their rows.
    pub wrong: u64,
    /// How many of these are none of a budget, but sums of quarters of an hour that summaries of usage are read from.
    pub quarters: u64,
    /// By how much the ledger's rows are more than the sums, by budget. Where its sums of minutes and of longer spans
    /// do not differ by the same, the larger difference.
    pub budgets: BTreeMap<Audited, Usd>,
}

/// Compares all sums with the rows of the ledger; puts them right if wanted.
///
/// # Errors
///
/// What the database says.
pub async fn audit_sums(db: &DatabaseConnection, repair: bool) -> Result<SumsAudit, DbErr> {
    let Some((rows, first, last)) = extent(db).await? else { return Ok(SumsAudit::default()) };
    let mut found = Found::default();
    let mut from = first.div_euclid(WEEK) * WEEK;
    while from <= last {
        if repair {
            // What was found is still missing when it is added: there is one repair at a time.
            let transaction = store::begin_write(db).await?;
            if db.get_database_backend() == DbBackend::Postgres {
                transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({REPAIRS})")).await?;
            }
            let (quarters, differing) = found.look(&transaction, from).await?;
            // In the order in which writers lock them.
            quarters.put(&transaction).await?;
            differing.put(&transaction).await?;
            transaction.commit().await?;
        } else {
            found.look(db, from).await?;
        }
        from += WEEK;
    }
    let Found { wrong, quarters, .. } = found;
    Ok(SumsAudit { rows: u64::try_from(rows).unwrap_or(0), wrong, quarters, budgets: found.budgets() })
}

/// A sum of a minute and by how much it differs.
#[derive(FromQueryResult)]
struct DifferingMinute {
    minute: i64,
    user_id: i64,
    key_id: i64,
    provider: String,
    model_group_id: i64,
    counted_in_user_global: bool,
    counted_in_key_global: bool,
    user_era: i64,
    key_era: i64,
    cost_nanos: i64,
    requests: i64,
}

/// A longer sum and by how much it differs.
#[derive(FromQueryResult)]
struct DifferingSpan {
    axis: String,
    owner: String,
    scope: i64,
    span: i64,
    minute: i64,
    era: i64,
    cost_nanos: i64,
    requests: i64,
}

/// How many rows a table has, and its first and last minute.
#[derive(FromQueryResult)]
struct Extent {
    rows: i64,
    first: Option<i64>,
    last: Option<i64>,
}

/// What differs so far.
#[derive(Default)]
struct Found {
    wrong: u64,
    quarters: u64,
    /// By budget, and by how long the sums are: 0 is a minute of all budgets together.
    differences: BTreeMap<(Audited, i64), Usd>,
}

impl Found {
    /// Compares a week, and returns what is to be added.
    async fn look(&mut self, db: &impl ConnectionTrait, from: i64) -> Result<(Sums, Rollup), DbErr> {
        let (to, backend) = (from + WEEK, db.get_database_backend());
        let differing = |sql: &str, unit: i64| {
            let values = [from * MINUTE_MS, to * MINUTE_MS, from * MINUTE_MS / unit, to * MINUTE_MS / unit];
            Statement::from_sql_and_values(backend, sql, values.map(Into::into))
        };
        let mut quarters = Sums::default();
        for row in db.query_all_raw(differing(&self::quarters(backend), QUARTER_MS)).await? {
            quarters.read(&row)?;
        }
        self.wrong += quarters.len() as u64;
        self.quarters += quarters.len() as u64;
        let mut rollup = Rollup::default();
        for differs in DifferingMinute::find_by_statement(differing(&MINUTES, MINUTE_MS)).all(db).await? {
            let (minute, sum) = differs.read();
            // Of each budget once.
            minute.spans(|span| {
                if span.span == SPANS[0] {
                    self.add(&span, 0, sum.0)
                }
            });
            self.wrong += 1;
            rollup.minutes.add(minute, sum);
        }
        for differs in DifferingSpan::find_by_statement(differing(&LONGER, MINUTE_MS)).all(db).await? {
            let (span, sum) = differs.read()?;
            self.add(&span, span.span, sum.0);
            self.wrong += 1;
            rollup.longer.add(span, sum);
        }
        Ok((quarters, rollup))
    }

    fn add(&mut self, of: &Span, length: i64, nanos: i64) {
        let scope =
            if of.scope == scope_column(Scope::Mainline) { Scope::Mainline } else { Scope::ModelGroup(of.scope) };
        let difference = self.differences.entry(((of.axis, of.owner.to_string(), scope), length)).or_default();
        *difference += Usd::from_nanos(nanos);
    }

    /// The largest difference of each budget.
    fn budgets(self) -> BTreeMap<Audited, Usd> {
        let mut budgets = BTreeMap::<_, Usd>::new();
        for ((budget, _), difference) in self.differences {
            let largest = budgets.entry(budget).or_default();
            if difference.nanos().unsigned_abs() > largest.nanos().unsigned_abs() {
                *largest = difference;
            }
        }
        budgets
    }
}

impl DifferingMinute {
    fn read(self) -> (Minute, (i64, i64)) {
        let minute = Minute {
            minute: self.minute,
            user_id: self.user_id,
            key_id: self.key_id,
            provider: self.provider.into(),
            model_group_id: self.model_group_id,
            counted_in_user_global: self.counted_in_user_global,
            counted_in_key_global: self.counted_in_key_global,
            user_era: self.user_era,
            key_era: self.key_era,
        };
        (minute, (self.cost_nanos, self.requests))
    }
}

impl DifferingSpan {
    fn read(self) -> Result<(Span, (i64, i64)), DbErr> {
        let unknown = || DbErr::Type(format!("a sum is of an unknown kind of budget: {} {}", self.axis, self.owner));
        let axis = Axis::ALL.into_iter().find(|axis| axis.as_str() == self.axis).ok_or_else(unknown)?;
        let owner = match axis {
            Axis::Provider => Owner::Name(self.owner.as_str().into()),
            Axis::User | Axis::Key => Owner::Id(self.owner.parse().map_err(|_| unknown())?),
        };
        let Self { scope, span, minute, era, .. } = self;
        Ok((Span { axis, owner, scope, span, minute, era }, (self.cost_nanos, self.requests)))
    }
}

/// How many rows there are, and the first and last minute of rows and sums.
async fn extent(db: &DatabaseConnection) -> Result<Option<(i64, i64, i64)>, DbErr> {
    let rows = "SELECT COUNT(*) AS rows, MIN(settled_at) / 60000 AS first, MAX(settled_at) / 60000 AS last \
        FROM usage_ledger";
    let sums = |table| format!("UNION ALL SELECT 0, MIN(minute), MAX(minute) FROM {table}");
    let quarters = "UNION ALL SELECT 0, MIN(quarter) * 15, MAX(quarter) * 15 FROM usage_rollup_quarter";
    let sql = format!("{rows} {} {} {quarters}", sums("usage_rollup_minute"), sums("usage_rollup_span"));
    let extents = Extent::find_by_statement(Statement::from_string(db.get_database_backend(), sql)).all(db).await?;
    let first = extents.iter().filter_map(|extent| extent.first).min();
    let last = extents.iter().filter_map(|extent| extent.last).max();
    let rows = extents.iter().map(|extent| extent.rows).sum();
    Ok(first.zip(last).map(|(first, last)| (rows, first, last)))
}
