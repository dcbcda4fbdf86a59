//! Ranges of an index: their ends, and columns as an index sorts them.

use sea_orm::sea_query::{Expr, SimpleExpr};
use sea_orm::{ColumnTrait, ColumnType, DbBackend, IdenStatic};

/// An end of a range of an index: the values of its first columns.
#[derive(Clone)]
pub struct Bound {
    pub values: Vec<SimpleExpr>,
    /// Whether what has these values is left out.
    pub open: bool,
}

impl Bound {
    pub fn from(values: impl Iterator<Item = SimpleExpr>) -> Self {
        Self { values: values.collect(), open: false }
    }

    /// Both sides of the comparison; none: there is no end.
    pub fn against(&self, columns: &[SimpleExpr]) -> Option<(SimpleExpr, SimpleExpr)> {
        let columns = columns.get(..self.values.len()).filter(|columns| !columns.is_empty())?;
        Some((row(columns.to_vec()), row(self.values.clone())))
    }
}

/// Several values that are compared one after the other, as an index does.
fn row(values: Vec<SimpleExpr>) -> SimpleExpr {
    match <[SimpleExpr; 1]>::try_from(values) {
        Ok([only]) => only,
        Err(values) => Expr::tuple(values),
    }
}

/// A column as it is sorted: texts by their bytes, as SQLite does, whatever the collation of a PostgreSQL is.
pub fn in_order<C: ColumnTrait>(column: C, backend: DbBackend) -> SimpleExpr {
    if is_text(column) && backend == DbBackend::Postgres {
        Expr::cust(format!("\"{}\" COLLATE \"C\"", column.as_str()))
    } else {
        Expr::col(column)
    }
}

/// The same, but read off no index of it: SQLite is kept from walking one where other rows are looked for.
pub fn off_index<C: IdenStatic>(column: C) -> SimpleExpr {
    Expr::cust(format!("+\"{}\"", column.as_str()))
}

pub fn is_text<C: ColumnTrait>(column: C) -> bool {
    matches!(column.def().get_column_type(), ColumnType::String(_) | ColumnType::Text)
}

/// The first text behind all that begin with `prefix`; none: nothing is behind them.
pub fn behind(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // A range of characters leaves out what is none.
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::behind;

    #[test]
    fn what_begins_alike_ends_before_the_next_text() {
        assert_eq!(behind("ab").as_deref(), Some("ac"));
        assert_eq!(behind("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(behind("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(behind("\u{10ffff}\u{10ffff}"), None);
    }
}
