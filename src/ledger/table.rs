//! Puts many rows into a table with few statements, which the driver keeps prepared.
//!
//! Spelled out rather than left to the query builder: that would make an expression of every value, which costs more
//! than the database takes to store it. PostgreSQL gets an array per column, so one statement does for any number of
//! rows; SQLite has no arrays and gets a parameter per value.

use std::borrow::Borrow;
use std::fmt::Write as _;
use std::sync::Arc;

use sea_orm::sea_query::ArrayType;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Statement, Value};

/// Rows per statement where a statement has a fixed number of them, the most first. Only a few: the driver keeps them
/// prepared, and parsing one costs more than running it. Each half of the one before: a batch takes few round trips
/// whatever its size. The largest stays far below SQLite's 32 766 variables (PostgreSQL allows twice that).
const ROWS: [usize; 9] = [256, 128, 64, 32, 16, 8, 4, 2, 1];

/// Stand for null in arrays, which the driver only takes without. No column has them as values.
const NO_NUMBER: i64 = i64::MIN;
const NO_ID: i32 = 0;
const NO_TEXT: &str = "";

/// A table that is written to.
pub(crate) struct Table<R: 'static> {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [Column<R>],
    /// The columns of which no two rows have the same values.
    pub(crate) key: &'static str,
    pub(crate) known: Known,
}

/// What becomes of a row whose key is there already.
#[derive(Clone, Copy)]
pub(crate) enum Known {
    /// The old one stays as it is.
    Kept,
    /// These columns are added to those of the old one.
    Added(&'static [&'static str]),
}

/// A column whose cells are not in the rows: one for each, in their order.
#[derive(Clone, Copy)]
pub(super) struct Beside<'a> {
    pub(super) name: &'static str,
    pub(super) cells: &'a [Option<i32>],
}

/// One column, and what it holds of a row.
pub(crate) struct Column<R> {
    name: &'static str,
    kind: Kind,
    value: fn(&R) -> Value,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    TextOrNull,
    Integer,
    IntegerOrNull,
    BigInteger,
    BigIntegerOrNull,
    Boolean,
}

pub(crate) const fn text<R>(name: &'static str, value: fn(&R) -> Value) -> Column<R> {
    Column { name, kind: Kind::Text, value }
}

pub(crate) const fn text_or_null<R>(name: &'static str, value: fn(&R) -> Value) -> Column<R> {
    Column { name, kind: Kind::TextOrNull, value }
}

pub(crate) const fn integer<R>(name: &'static str, value: fn(&R) -> Value) -> Column<R> {
    Column { name, kind: Kind::Integer, value }
}

pub(crate) const fn big<R>(name: &'static str, value: fn(&R) -> Value) -> Column<R> {
    Column { name, kind: Kind::BigInteger, value }
}

pub(crate) const fn big_or_null<R>(name: &'static str, value: fn(&R) -> Value) -> Column<R> {
    Column { name, kind: Kind::BigIntegerOrNull, value }
}

pub(crate) const fn boolean<R>(name: &'static str, value: fn(&R) -> Value) -> Column<R> {
    Column { name, kind: Kind::Boolean, value }
}

impl<R> Table<R> {
    /// Writes the rows in this order, which is the order in which they are locked.
    pub(crate) async fn put<T: Borrow<R>>(
        &self,
        transaction: &DatabaseTransaction,
        rows: impl IntoIterator<Item = T>,
    ) -> Result<u64, DbErr> {
        let rows: Vec<T> = rows.into_iter().collect();
        let mut put = 0;
        for statement in self.statements(transaction.get_database_backend(), &rows, None) {
            put += transaction.execute_raw(statement).await?.rows_affected();
        }
        Ok(put)
    }

    /// The statements that write the rows.
    pub(super) fn statements<T: Borrow<R>>(
        &self,
        backend: DbBackend,
        rows: &[T],
        beside: Option<Beside<'_>>,
    ) -> Vec<Statement> {
        match backend {
            _ if rows.is_empty() => Vec::new(),
            DbBackend::Postgres => vec![self.by_column(rows, beside)],
            _ => {
                let cells = |at: usize| beside.map(|beside| beside.cells[at].into());
                let rows = rows.iter().enumerate().map(|(at, row)| (row.borrow(), cells(at)));
                chunks(rows).map(|rows| self.by_row(&rows, beside)).collect()
            }
        }
    }

    fn by_column<T: Borrow<R>>(&self, rows: &[T], beside: Option<Beside<'_>>) -> Statement {
        let array = |kind: Kind, cells: Vec<Value>| Value::Array(kind.array(), Some(Box::new(cells)));
        let values = self.columns.iter().map(|column| {
            let cells = rows.iter().map(|row| column.kind.without_null((column.value)(row.borrow()))).collect();
            array(column.kind, cells)
        });
        let values = values.chain(beside.map(|beside| {
            array(Beside::KIND, beside.cells.iter().map(|cell| Beside::KIND.without_null((*cell).into())).collect())
        }));
        let columns = self.columns.iter().map(|column| (column.kind, column.name));
        let columns: Vec<_> = columns.chain(beside.map(|beside| (Beside::KIND, beside.name))).collect();
        let mut from = String::new();
        for (at, (kind, _)) in columns.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(from, "{comma}${}::{}[]", at + 1, kind.name());
        }
        let cells: Vec<_> = columns.iter().map(|(kind, name)| kind.cell(name)).collect();
        let sql = format!(
            "INSERT INTO {} AS old ({names}) SELECT {} FROM UNNEST({from}) AS new ({names}) {}",
            self.name,
            cells.join(", "),
            self.on_conflict(),
            names = self.names(beside),
        );
        Statement::from_sql_and_values(DbBackend::Postgres, sql, values)
    }

    fn by_row(&self, rows: &[(&R, Option<Value>)], beside: Option<Beside<'_>>) -> Statement {
        let row = format!("({})", vec!["?"; self.columns.len() + usize::from(beside.is_some())].join(","));
        let sql = format!(
            "INSERT INTO {} AS old ({}) VALUES {} {}",
            self.name,
            self.names(beside),
            vec![row.as_str(); rows.len()].join(","),
            self.on_conflict(),
        );
        let values = rows
            .iter()
            .flat_map(|(row, cell)| self.columns.iter().map(|column| (column.value)(row)).chain(cell.iter().cloned()));
        Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)
    }

    fn names(&self, beside: Option<Beside<'_>>) -> String {
        let names = self.columns.iter().map(|column| column.name).chain(beside.map(|beside| beside.name));
        names.collect::<Vec<_>>().join(", ")
    }

    fn on_conflict(&self) -> String {
        let action = match self.known {
            Known::Kept => "DO NOTHING".to_owned(),
            Known::Added(sums) => {
                format!("DO UPDATE SET {}", sums.iter().map(|sum| grown(sum)).collect::<Vec<_>>().join(", "))
            }
        };
        format!("ON CONFLICT ({}) {action}", self.key)
    }
}

impl Beside<'_> {
    const KIND: Kind = Kind::IntegerOrNull;
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Text | Self::TextOrNull => "text",
            Self::Integer | Self::IntegerOrNull => "int",
            Self::BigInteger | Self::BigIntegerOrNull => "bigint",
            Self::Boolean => "bool",
        }
    }

    const fn array(self) -> ArrayType {
        match self {
            Self::Text | Self::TextOrNull => ArrayType::String,
            Self::Integer | Self::IntegerOrNull => ArrayType::Int,
            Self::BigInteger | Self::BigIntegerOrNull => ArrayType::BigInt,
            Self::Boolean => ArrayType::Bool,
        }
    }

    fn without_null(self, value: Value) -> Value {
        match value {
            Value::String(None) => NO_TEXT.into(),
            Value::Int(None) => NO_ID.into(),
            Value::BigInt(None) => NO_NUMBER.into(),
            value => value,
        }
    }

    fn cell(self, name: &str) -> String {
        match self {
            Self::TextOrNull => format!("NULLIF({name}, '{NO_TEXT}')"),
            Self::IntegerOrNull => format!("NULLIF({name}, {NO_ID})"),
            Self::BigIntegerOrNull => format!("NULLIF({name}, '{NO_NUMBER}'::bigint)"),
            Self::Text | Self::Integer | Self::BigInteger | Self::Boolean => name.to_owned(),
        }
    }
}

/// A sum that would leave the range of the column stays at its end; an error would lose the ledger's row as well.
fn grown(sum: &str) -> String {
    format!(
        "{sum} = CASE \
         WHEN excluded.{sum} > 0 AND old.{sum} > 9223372036854775807 - excluded.{sum} THEN 9223372036854775807 \
         WHEN excluded.{sum} < 0 AND old.{sum} < -9223372036854775807 - excluded.{sum} THEN -9223372036854775807 \
         ELSE old.{sum} + excluded.{sum} END"
    )
}

/// A text that is shared, as a value.
pub(super) fn shared(text: &Arc<str>) -> Value {
    Value::from(text.to_string())
}

/// Rows for one statement after the other.
pub(super) fn chunks<R>(rows: impl IntoIterator<Item = R>) -> impl Iterator<Item = Vec<R>> {
    let mut rows = rows.into_iter().collect::<Vec<_>>().into_iter();
    std::iter::from_fn(move || {
        let size = ROWS.into_iter().find(|size| *size <= rows.len())?;
        Some(rows.by_ref().take(size).collect())
    })
}
