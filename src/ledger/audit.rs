//! Whether the sums that budgets are made of are those of the ledger's rows.
//!
//! Rows and sums are written by the same transactions, so one statement, which sees one state of the database, finds
//! exactly what differs, whatever is written meanwhile. A repair adds the difference: what was added since stays.

use std::collections::BTreeMap;

use entity::usage_ledger;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, EntityTrait, FromQueryResult, QuerySelect,
    Statement,
};

use super::rollup::{MINUTE_MS, Sum, add_sums, minute};
use crate::limit::{Axis, Scope};
use crate::money::Usd;
use crate::store;

/// Minutes that are compared at once: a day.
const SPAN: i64 = 24 * 60;

/// PostgreSQL's lock of those who repair.
const REPAIRS: i64 = 0x7461_7564_6974;

/// Positive where the ledger has more than the sum.
const DIFFERENCES: &str = "SELECT minute, user_id, key_id, provider, model_group_id, counted_in_user_global, \
    counted_in_key_global, user_era, key_era, CAST(SUM(cost_nanos) AS BIGINT) AS cost_nanos, \
    CAST(SUM(requests) AS BIGINT) AS requests FROM ( \
        SELECT settled_at / 60000 AS minute, user_id, key_id, provider, COALESCE(model_group_id, 0) AS model_group_id, \
        counted_in_user_global, counted_in_key_global, user_era, key_era, cost_nanos, 1 AS requests \
        FROM usage_ledger WHERE settled_at >= $1 AND settled_at < $2 \
        UNION ALL \
        SELECT minute, user_id, key_id, provider, model_group_id, counted_in_user_global, counted_in_key_global, \
        user_era, key_era, -cost_nanos, -requests FROM usage_rollup_minute WHERE minute >= $3 AND minute < $4 \
    ) AS both_sides \
    GROUP BY minute, user_id, key_id, provider, model_group_id, counted_in_user_global, counted_in_key_global, \
    user_era, key_era HAVING SUM(cost_nanos) <> 0 OR SUM(requests) <> 0 \
    ORDER BY minute, user_id, key_id, provider, model_group_id, counted_in_user_global, counted_in_key_global, \
    user_era, key_era";

/// Whose budget: of a user or key (by id) or a provider (by name), for everything or for a model group.
pub type Audited = (Axis, String, Scope);

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SumsAudit {
    /// Rows of the ledger.
    pub rows: u64,
    /// Sums that are not those of their rows.
    pub wrong: u64,
    /// By how much the ledger's rows are more than the sums, by budget.
    pub budgets: BTreeMap<Audited, Usd>,
}

/// Compares all sums with the rows of the ledger; puts them right if wanted.
///
/// # Errors
///
/// What the database says.
pub async fn audit_sums(db: &DatabaseConnection, repair: bool) -> Result<SumsAudit, DbErr> {
    let mut audit = SumsAudit::default();
    let Some((rows, first, last)) = extent(db).await? else { return Ok(audit) };
    audit.rows = u64::try_from(rows).unwrap_or(0);
    let mut from = first;
    while from <= last {
        let to = from.saturating_add(SPAN);
        let values = [from * MINUTE_MS, to.saturating_mul(MINUTE_MS), from, to].map(Into::into);
        let statement = Statement::from_sql_and_values(db.get_database_backend(), DIFFERENCES, values);
        if repair {
            // What was found is still missing when it is added: there is one repair at a time.
            let transaction = store::begin_write(db).await?;
            if db.get_database_backend() == DbBackend::Postgres {
                transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({REPAIRS})")).await?;
            }
            let differing = Sum::find_by_statement(statement).all(&transaction).await?;
            differing.iter().for_each(|sum| audit.add(sum));
            add_sums(&transaction, differing).await?;
            transaction.commit().await?;
        } else {
            Sum::find_by_statement(statement).all(db).await?.iter().for_each(|sum| audit.add(sum));
        }
        from = to;
    }
    Ok(audit)
}

impl SumsAudit {
    fn add(&mut self, sum: &Sum) {
        self.wrong += 1;
        let scope = |counted| if counted { Scope::Mainline } else { Scope::ModelGroup(sum.model_group_id) };
        let cost = Usd::from_nanos(sum.cost_nanos);
        for budget in [
            (Axis::User, sum.user_id.to_string(), scope(sum.counted_in_user_global)),
            (Axis::Key, sum.key_id.to_string(), scope(sum.counted_in_key_global)),
            (Axis::Provider, sum.provider.clone(), Scope::Mainline),
        ] {
            *self.budgets.entry(budget).or_default() += cost;
        }
    }
}

/// How many rows there are, and the first and last minute of rows and sums.
async fn extent(db: &DatabaseConnection) -> Result<Option<(i64, i64, i64)>, DbErr> {
    use entity::usage_rollup_minute::{Column as Minute, Entity as Minutes};
    use usage_ledger::Column::{Id, SettledAt};
    let rows: Option<(i64, Option<i64>, Option<i64>)> = usage_ledger::Entity::find()
        .select_only()
        .column_as(Id.count(), "rows")
        .column_as(SettledAt.min(), "first")
        .column_as(SettledAt.max(), "last")
        .into_tuple()
        .one(db)
        .await?;
    let sums: Option<(Option<i64>, Option<i64>)> = Minutes::find()
        .select_only()
        .column_as(Minute::Minute.min(), "first")
        .column_as(Minute::Minute.max(), "last")
        .into_tuple()
        .one(db)
        .await?;
    let (count, first, last) = rows.unwrap_or_default();
    let (first_sum, last_sum) = sums.unwrap_or_default();
    let firsts = first.map(minute).into_iter().chain(first_sum).min();
    let lasts = last.map(minute).into_iter().chain(last_sum).max();
    Ok(firsts.zip(lasts).map(|(first, last)| (count, first, last)))
}
