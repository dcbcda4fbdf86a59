//! What budgets start from: sums of the ledger's roll-ups, and up to where each node's records are contained in them.
//!
//! Everything comes from one statement, and so from one state of the database, whatever is written meanwhile.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use sea_orm::{DatabaseConnection, DbErr, FromQueryResult, Statement, Value};
use tokio::runtime::Handle;

use super::rollup::{MINUTE_MS, Owner, SPANS, minute};
use super::starts::scope_column;
use super::{Ledger, row};
use crate::budget::{Lsn, Seed, SeedError, SeedQuery, Seeds, WindowQuery, WindowSeed};
use crate::clock::now_ms;
use crate::limit::{Axis, BudgetId, Scope, provider_owner};
use crate::money::Usd;

/// An answer that takes longer would be too old to count from.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Parts of the answer that are not windows.
const START: i64 = -1;
const MARK: i64 = -2;

/// SQLite refuses a sum that leaves the range; no cap is beyond this, so more makes no difference.
const COST: &str = "CASE WHEN cost_nanos > 9000000000000000 THEN 9000000000000000 \
    WHEN cost_nanos < -9000000000000000 THEN -9000000000000000 ELSE cost_nanos END";

/// Minutes of each span, the first minute, and the one after the last.
type Range = (i64, i64, Option<i64>);

/// Answers what budgets ask, from the database.
#[derive(Debug)]
pub struct LedgerSeeds {
    db: DatabaseConnection,
    ledger: Arc<Ledger>,
    /// Names by owner id. The ledger knows providers by name only.
    providers: ArcSwap<HashMap<i64, Arc<str>>>,
    /// Where queries run: the requests' own runtimes may end before the pool's.
    runtime: Handle,
}

/// A row of the answer.
#[derive(Debug, FromQueryResult)]
struct Part {
    part: i64,
    at: i64,
    amount: i64,
}

impl LedgerSeeds {
    /// To be called on the runtime that the pool of connections lives on.
    #[must_use]
    pub fn new(db: DatabaseConnection, ledger: Arc<Ledger>) -> Self {
        Self { db, ledger, providers: ArcSwap::default(), runtime: Handle::current() }
    }

    /// The providers that there are budgets of.
    pub fn set_providers<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        let named = names.into_iter().map(|name| (provider_owner(name), Arc::from(row::name(name))));
        self.providers.store(Arc::new(named.collect()));
    }

    /// The name of the provider whose budgets have this owner, as it is stored.
    #[must_use]
    pub fn provider_name(&self, owner: i64) -> Option<Arc<str>> {
        self.providers.load().get(&owner).map(Arc::clone)
    }

    /// The statement that answers a query; public for those who want to see how the database goes about it.
    ///
    /// # Errors
    ///
    /// [`SeedError`] for a provider that is not known.
    pub fn statement(&self, query: &SeedQuery) -> Result<Statement, SeedError> {
        let mut text = Text::default();
        for (part, window) in query.windows.iter().enumerate() {
            self.window(&mut text, query.budget, part, window)?;
        }
        if query.windows.iter().any(|window| window.first_charge) {
            let BudgetId { axis, owner, scope } = query.budget;
            text.select(&format!(
                "SELECT CAST({START} AS BIGINT) AS part, CAST(0 AS BIGINT) AS at, started_at AS amount \
                 FROM budget_windows WHERE axis = "
            ));
            text.value(axis.as_str());
            text.sql(" AND owner = ");
            text.value(owner);
            text.sql(" AND scope = ");
            text.value(scope_column(scope));
        }
        text.select(&format!(
            "SELECT CAST({MARK} AS BIGINT) AS part, inc AS at, applied_lsn AS amount \
             FROM gateway_nodes WHERE state = 'live' OR inc = "
        ));
        // What a dead one told and did not write is in the sums. Another process that takes itself for the only one
        // closes all other lives, this one too.
        text.value(self.ledger.inc());
        Ok(Statement::from_sql_and_values(self.db.get_database_backend(), text.sql, text.values))
    }

    /// Sums per minute, or one sum: of the first minutes, of longer spans after them, and of the longest to the end.
    fn window(&self, text: &mut Text, budget: BudgetId, part: usize, window: &WindowQuery) -> Result<(), SeedError> {
        let owner = match budget.axis {
            Axis::User | Axis::Key => Owner::Id(budget.owner),
            Axis::Provider => {
                let name = self.provider_name(budget.owner);
                Owner::Name(name.ok_or_else(|| SeedError("no such provider".to_owned()))?)
            }
        };
        let from = minute(window.from);
        if window.by_minute {
            range(text, budget, &owner, part, window, (1, from, None));
            text.sql(" GROUP BY minute");
        } else {
            ranges(from).for_each(|of| range(text, budget, &owner, part, window, of));
        }
        Ok(())
    }

    async fn ask(&self, query: &SeedQuery) -> Result<Seed, SeedError> {
        let statement = self.statement(query)?;
        let (db, query_started) = (self.db.clone(), now_ms());
        let asked = self
            .runtime
            .spawn(tokio::time::timeout(TIMEOUT, async move { Part::find_by_statement(statement).all(&db).await }));
        let parts = match asked.await {
            Ok(Ok(answer)) => answer.map_err(|error: DbErr| SeedError(error.to_string()))?,
            Ok(Err(_)) => return Err(SeedError(format!("no answer within {TIMEOUT:?}"))),
            Err(error) => return Err(SeedError(error.to_string())),
        };
        Ok(seed(query, query_started, parts))
    }
}

#[async_trait]
impl Seeds for LedgerSeeds {
    fn now_lsn(&self) -> Lsn {
        self.ledger.last_number()
    }

    fn written_lsn(&self) -> Lsn {
        self.ledger.written_number()
    }

    async fn barrier(&self, lsn: Lsn) -> Result<(), SeedError> {
        self.ledger.barrier(lsn).await.map_err(|error| SeedError(error.to_string()))
    }

    async fn seed(&self, query: &SeedQuery) -> Result<Seed, SeedError> {
        self.ask(query).await
    }

    fn first_charge_started(&self, budget: BudgetId, start: i64) {
        self.ledger.window_started(budget, start);
    }
}

/// Minutes and longer spans (each with its first minute and the one after its last) that together are everything from a
/// minute on. What is not over counts in each of its spans already, so the last range has no end.
fn ranges(from: i64) -> impl Iterator<Item = Range> {
    let mut next = from;
    [1].into_iter().chain(SPANS).zip(SPANS.into_iter().map(Some).chain([None])).filter_map(move |(span, longer)| {
        let from = next;
        let until = longer.map(|longer| (from + longer - 1).div_euclid(longer) * longer);
        next = until.unwrap_or(next);
        (until != Some(from)).then_some((span, from, until))
    })
}

/// One range of one index.
fn range(
    text: &mut Text,
    budget: BudgetId,
    owner: &Owner,
    part: usize,
    window: &WindowQuery,
    (span, from, until): Range,
) {
    let at = if window.by_minute { "minute" } else { "CAST(0 AS BIGINT)" };
    text.select(&format!(
        "SELECT CAST({part} AS BIGINT) AS part, {at} AS at, CAST(COALESCE(SUM({COST}), 0) AS BIGINT) AS amount FROM "
    ));
    match owner {
        Owner::Id(id) if span == 1 => minutes(text, budget, *id, window),
        owner => spans(text, budget, owner, window, span),
    }
    text.sql(" AND minute >= ");
    text.value(from);
    if let Some(until) = until {
        text.sql(" AND minute < ");
        text.value(until);
    }
}

/// Minutes of a user or key. The flag is named as the index names it.
fn minutes(text: &mut Text, budget: BudgetId, id: i64, window: &WindowQuery) {
    let [owner, counted, era] = match budget.axis {
        Axis::Key => ["key_id", "counted_in_key_global", "key_era"],
        Axis::User | Axis::Provider => ["user_id", "counted_in_user_global", "user_era"],
    };
    text.sql(&format!("usage_rollup_minute WHERE {owner} = "));
    text.value(id);
    match budget.scope {
        Scope::Mainline => text.sql(&format!(" AND {counted}")),
        Scope::ModelGroup(id) => {
            text.sql(&format!(" AND NOT {counted} AND model_group_id = "));
            text.value(id);
        }
        // The ledger knows what was spent, not how often.
        Scope::Count(_) => text.sql(" AND 1 = 0"),
    }
    text.sql(&format!(" AND {era} >= "));
    text.value(window.since_era);
}

/// Spans of a budget. Providers have no eras, and one minute is a span of theirs too.
fn spans(text: &mut Text, budget: BudgetId, owner: &Owner, window: &WindowQuery, span: i64) {
    text.sql(&format!("usage_rollup_span WHERE axis = '{}' AND owner = ", budget.axis.as_str()));
    text.value(owner.to_string());
    text.sql(" AND scope = ");
    text.value(scope_column(budget.scope));
    text.sql(&format!(" AND span = {span}"));
    if let Owner::Id(_) = owner {
        text.sql(" AND era >= ");
        text.value(window.since_era);
    }
}

fn seed(query: &SeedQuery, query_started: i64, parts: Vec<Part>) -> Seed {
    let nothing = |window: &WindowQuery| WindowSeed { window: window.window, sum: Usd::ZERO, minutes: Vec::new() };
    let mut seed = Seed {
        query_started,
        windows: query.windows.iter().map(nothing).collect(),
        first_charge_start: None,
        marks: Vec::new(),
    };
    for Part { part, at, amount } in parts {
        match usize::try_from(part).ok().and_then(|part| Some((query.windows.get(part)?, seed.windows.get_mut(part)?)))
        {
            Some((asked, window)) => {
                let amount = Usd::from_nanos(amount);
                window.sum += amount;
                if asked.by_minute {
                    window.minutes.push((at * MINUTE_MS, amount));
                }
            }
            None if part == START => seed.first_charge_start = Some(amount),
            None => seed.marks.push((at, u64::try_from(amount).unwrap_or(0))),
        }
    }
    seed.windows.iter_mut().for_each(|window| window.minutes.sort_unstable_by_key(|(minute, _)| *minute));
    seed
}

/// SQL in the making; both databases understand numbered parameters.
#[derive(Default)]
struct Text {
    sql: String,
    values: Vec<Value>,
}

impl Text {
    fn select(&mut self, select: &str) {
        if !self.sql.is_empty() {
            self.sql(" UNION ALL ");
        }
        self.sql(select);
    }

    fn sql(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    fn value(&mut self, value: impl Into<Value>) {
        self.values.push(value.into());
        // Writing to a string cannot fail.
        let _ = write!(self.sql, "${}", self.values.len());
    }
}
