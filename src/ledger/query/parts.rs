//! Where each stretch of time of a summary is read from: whole quarters that are sealed from their sums, the rest from the
//! ledger's rows.

use entity::usage_ledger::Column;
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, Query, SelectStatement, SimpleExpr};
use sea_orm::{Condition, ConnectionTrait, DatabaseTransaction, DbErr, Statement};

use super::{Filter, GroupBy};
use crate::ledger::quarters::{QUARTER_MS, SUMS, first, floor};

/// A stretch of time, from one instant (Unix milliseconds) to before another. None: without an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) from: Option<i64>,
    pub(super) to: Option<i64>,
    /// Both ends are those of quarters that are sealed.
    pub(super) sealed: bool,
}

/// The stretches of time that a filter asks for: they have no instant in common, and leave out none.
pub(super) fn parts(filter: &Filter, sealed_until: i64) -> Vec<Part> {
    let Filter { from, to, .. } = *filter;
    // No row is from before 1970.
    let first = from.map_or(0, |from| floor(from.saturating_add(QUARTER_MS - 1)));
    let sealed = floor(sealed_until);
    let last = to.map_or(sealed, |to| Ord::min(floor(to), sealed));
    if first >= last {
        return unsealed(filter);
    }
    let whole = Part { from: from.map(|_| first), to: Some(last), sealed: true };
    let before =
        from.filter(|from| *from < first).map(|from| Part { from: Some(from), to: Some(first), sealed: false });
    let after = to.is_none_or(|to| last < to).then_some(Part { from: Some(last), to, sealed: false });
    before.into_iter().chain([whole]).chain(after).collect()
}

/// The same when nothing is read from sums.
pub(super) fn unsealed(filter: &Filter) -> Vec<Part> {
    vec![Part { from: filter.from, to: filter.to, sealed: false }]
}

impl Part {
    const fn table(&self) -> &'static str {
        if self.sealed { "usage_rollup_quarter" } else { "usage_ledger" }
    }

    /// Its sums, or rows in the shape of sums: with `settled_at` if that is grouped by, and what else is.
    pub(super) fn select(&self, filter: &Filter, group_by: &[GroupBy]) -> SelectStatement {
        let mut query = Query::select();
        query.from(Alias::new(self.table())).cond_where(filter.fields().add(self.time()));
        let settled =
            if self.sealed { Expr::cust(format!("quarter * {QUARTER_MS}")) } else { Expr::cust("settled_at") };
        let mut timed = false;
        for by in group_by {
            let expression: SimpleExpr = match by {
                GroupBy::UserId => Expr::col(Column::UserId),
                GroupBy::KeyId => Expr::col(Column::KeyId),
                GroupBy::Model => Expr::col(Column::ServedModel),
                GroupBy::Provider => Expr::col(Column::Provider),
                GroupBy::ModelGroupId if self.sealed => Expr::cust("NULLIF(model_group_id, 0)"),
                GroupBy::ModelGroupId => Expr::col(Column::ModelGroupId),
                // Of both once.
                GroupBy::Day | GroupBy::Hour if timed => continue,
                GroupBy::Day | GroupBy::Hour => {
                    timed = true;
                    query.expr_as(settled.clone(), Alias::new("settled_at"));
                    continue;
                }
            };
            query.expr_as(expression, Alias::new(by.name()));
        }
        let requests = if self.sealed { "requests".to_owned() } else { first("true") };
        query.expr_as(Expr::cust(requests), Alias::new("requests"));
        for sum in &SUMS[1..] {
            query.column(Alias::new(*sum));
        }
        query
    }

    fn time(&self) -> Condition {
        let (column, unit) = if self.sealed { ("quarter", QUARTER_MS) } else { ("settled_at", 1) };
        let bound = |at: Option<i64>| at.map(|at| at / unit);
        Condition::all()
            .add_option(bound(self.from).map(|from| Expr::col(Alias::new(column)).gte(from)))
            .add_option(bound(self.to).map(|to| Expr::col(Alias::new(column)).lt(to)))
    }

    /// The query of the first and the last instant of its rows, whoever's they are: two looks at an index.
    fn extent(&self) -> String {
        let (column, unit) = if self.sealed { ("quarter", QUARTER_MS) } else { ("settled_at", 1) };
        let bound = |sign: &str, at: Option<i64>| at.map(|at| format!("{column} {sign} {}", at / unit));
        let bounds: Vec<String> = bound(">=", self.from).into_iter().chain(bound("<", self.to)).collect();
        let bounds = if bounds.is_empty() { String::new() } else { format!(" WHERE {}", bounds.join(" AND ")) };
        let end = |which: &str| format!("(SELECT {which}({column}) FROM {}{bounds})", self.table());
        format!("SELECT {} * {unit} AS first, {} * {unit} + {} AS last", end("MIN"), end("MAX"), unit - 1)
    }
}

/// Instants between which all rows of these parts were settled; none: there are none.
pub(super) async fn extent(snapshot: &DatabaseTransaction, parts: &[Part]) -> Result<Option<(i64, i64)>, DbErr> {
    let sql = parts.iter().map(Part::extent).collect::<Vec<_>>().join(" UNION ALL ");
    let rows = snapshot.query_all_raw(Statement::from_string(snapshot.get_database_backend(), sql)).await?;
    let mut extent = None;
    for row in rows {
        let (Some(first), Some(last)) = (row.try_get::<Option<i64>>("", "first")?, row.try_get("", "last")?) else {
            continue;
        };
        let (from, to): (i64, i64) = extent.unwrap_or((first, last));
        extent = Some((Ord::min(from, first), Ord::max(to, last)));
    }
    Ok(extent)
}

#[cfg(test)]
mod tests {
    use super::{Part, parts};
    use crate::ledger::query::Filter;

    const Q: i64 = 900_000;

    fn of(from: Option<i64>, to: Option<i64>, sealed_until: i64) -> Vec<(Option<i64>, Option<i64>, bool)> {
        let filter = Filter { from, to, ..Filter::default() };
        parts(&filter, sealed_until).into_iter().map(|Part { from, to, sealed }| (from, to, sealed)).collect()
    }

    #[test]
    fn time_is_cut_where_quarters_begin_and_where_they_are_sealed() {
        assert_eq!(of(None, None, 0), [(None, None, false)], "nothing is sealed");
        assert_eq!(of(None, None, Q - 1), [(None, None, false)], "half a quarter is");
        assert_eq!(of(None, None, 3 * Q + 5), [(None, Some(3 * Q), true), (Some(3 * Q), None, false)]);
        assert_eq!(of(Some(Q), Some(3 * Q), 9 * Q), [(Some(Q), Some(3 * Q), true)], "no edges");
        assert_eq!(of(None, Some(3 * Q), 3 * Q), [(None, Some(3 * Q), true)]);
        assert_eq!(
            of(Some(Q + 1), Some(4 * Q - 1), 9 * Q),
            [
                (Some(Q + 1), Some(2 * Q), false),
                (Some(2 * Q), Some(3 * Q), true),
                (Some(3 * Q), Some(4 * Q - 1), false)
            ]
        );
        assert_eq!(of(Some(Q + 1), Some(3 * Q - 1), 9 * Q), [(Some(Q + 1), Some(3 * Q - 1), false)], "only edges");
        assert_eq!(of(Some(5 * Q), Some(9 * Q), 4 * Q), [(Some(5 * Q), Some(9 * Q), false)], "all of it is new");
        assert_eq!(
            of(Some(Q), Some(9 * Q), 4 * Q),
            [(Some(Q), Some(4 * Q), true), (Some(4 * Q), Some(9 * Q), false)],
            "some of it is new"
        );
        assert_eq!(of(Some(Q), Some(Q), 4 * Q), [(Some(Q), Some(Q), false)], "nothing is asked for");
        assert_eq!(of(Some(i64::MAX), Some(i64::MAX), 4 * Q), [(Some(i64::MAX), Some(i64::MAX), false)]);
    }
}
