//! Lists that may be sorted, and searched by name: each page is read off an index, wherever in the list it is.

use sea_orm::sea_query::{Expr, ExprTrait, Order, SimpleExpr};
use sea_orm::{
    ColumnTrait, ColumnType, DbBackend, EntityTrait, IdenStatic, ModelTrait, QueryFilter, QueryOrder, QuerySelect,
    Select, Value,
};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::extract::Params;
use super::page::{Page, PageRequest};
use super::problem::{InvalidParam, Problem};
use super::validate::{self, MAX_NAME};

/// What a list may be sorted by, and the column of each. The first is the id.
pub type Orders<E> = &'static [(&'static str, <E as EntityTrait>::Column)];

/// The order that a list can be searched in.
const NAME: &str = "name";

/// Parameters of lists of objects with names, for the documentation; [`Sorted::read`] reads them.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "documents what Sorted::read reads")]
pub struct NamedParams {
    /// Only those of exactly this name.
    #[param(schema_with = validate::name_schema)]
    name: Option<String>,
    /// Only those whose name begins like this; case counts.
    #[param(min_length = 1, max_length = 128, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    q: Option<String>,
    /// The order, descending with a `-`; left out: by `id`. Lists that `name` or `q` restrict come by `name` only. Names
    /// are in the order of their code points. A cursor goes on in the order that it was made in, and in no other.
    #[param(pattern = "^-?(id|name|createdAt)$")]
    sort: Option<String>,
}

/// The parameter of lists whose objects have nothing but their ids to be sorted by, for the documentation.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "documents what Sorted::read reads")]
pub struct IdSortParams {
    /// The order, descending with a `-`; left out: by `id`.
    #[param(pattern = "^-?id$")]
    sort: Option<String>,
}

/// The last object of a page: by its id, or in another order by its name, the object's value there, and its id.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Place {
    Id(i64),
    In(String, Key, i64),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Key {
    Number(i64),
    Text(String),
}

#[derive(Clone, Copy)]
struct By<C> {
    word: &'static str,
    column: C,
    descending: bool,
}

/// Which page of a sorted list is asked for.
pub struct Sorted<E: EntityTrait> {
    kind: &'static str,
    page: PageRequest<Place>,
    id: E::Column,
    by: By<E::Column>,
    name: Option<String>,
    prefix: Option<String>,
}

impl<E: EntityTrait> Sorted<E>
where
    E::Model: ModelTrait<Entity = E>,
{
    /// Takes `sort`, `limit` and `cursor` from the parameters, and `name` and `q` where the list has names.
    pub fn read(params: &mut Params, kind: &'static str, orders: Orders<E>) -> Self {
        let named = |(word, _): &&(&'static str, E::Column)| *word == NAME;
        let (mut name, mut prefix) = (None, None);
        if orders.iter().any(|order| named(&order)) {
            (name, prefix) = (params.exact_name(), params.text("q", MAX_NAME));
        }
        let searched = name.is_some() || prefix.is_some();
        let allowed: Vec<_> = orders.iter().filter(|order| !searched || named(order)).collect();
        let ways: Vec<(String, By<E::Column>)> = allowed
            .iter()
            .flat_map(|(word, column)| {
                let by = |descending| By { word, column: *column, descending };
                [((*word).to_owned(), by(false)), (format!("-{word}"), by(true))]
            })
            .collect();
        let words: Vec<_> = ways.iter().map(|(word, by)| (word.as_str(), *by)).collect();
        let by = params.choice("sort", &words).unwrap_or(ways[0].1);
        let mut page = PageRequest::<Place>::read(params, kind);
        let id = orders[0].1;
        let is_found = |place: &Place| match place {
            Place::In(_, Key::Text(text), _) => {
                name.as_ref().is_none_or(|name| text == name)
                    && prefix.as_ref().is_none_or(|prefix| text.starts_with(prefix))
            }
            Place::In(..) | Place::Id(_) => true,
        };
        if page.after.as_ref().is_some_and(|place| !fits(place, by, is_id(by.column, id)) || !is_found(place)) {
            page.after = None;
            let message = "is of a list that was sorted or searched otherwise";
            params.wrong(InvalidParam::new("cursor", "invalid", message));
        }
        Self { kind, page, id, by, name, prefix }
    }

    /// What the page asks for of these rows; `within`: of those alone that have this number in this column.
    ///
    /// The page is one range of the index that has the order, with one bound at each end: SQLite begins at one only, and
    /// reads all that lies between two. The column of `within` leads the order, and is a range too: else PostgreSQL may
    /// take the order of the ids for a good one and look through the whole table for rows that all stand at its end.
    pub fn select(&self, rows: Select<E>, within: Option<(E::Column, i64)>, backend: DbBackend) -> Select<E> {
        let order = if self.by.descending { Order::Desc } else { Order::Asc };
        let key = in_order(self.by.column, backend);
        let (rows, within) = match within {
            // SQLite takes the id, which is at the end of every index, for no part of a range of several columns.
            Some((column, number)) if backend == DbBackend::Sqlite && is_id(self.by.column, self.id) => {
                (rows.filter(column.eq(number)), None)
            }
            within => (rows, within),
        };
        let mut columns: Vec<SimpleExpr> = within.iter().map(|(column, _)| Expr::col(*column)).collect();
        let mut lower = Bound::from(within.iter().map(|(_, number)| Expr::val(*number)));
        let mut upper = lower.clone();
        let mut last = lower.values.clone();
        let mut rows = rows.limit(self.page.fetch());
        if !is_id(self.by.column, self.id) {
            columns.push(key.clone());
            match (&self.name, &self.prefix) {
                (Some(name), prefix) => {
                    lower.values.push(Expr::val(name.as_str()));
                    upper.values.push(Expr::val(name.as_str()));
                    if prefix.as_ref().is_some_and(|prefix| !name.starts_with(prefix)) {
                        rows = rows.filter(Expr::val(1).eq(0));
                    }
                }
                (None, Some(prefix)) => {
                    lower.values.push(Expr::val(prefix.as_str()));
                    if let Some(end) = behind(prefix) {
                        upper = Bound { values: [upper.values, vec![Expr::val(end)]].concat(), open: true };
                    }
                }
                (None, None) => {}
            }
        }
        columns.push(Expr::col(self.id));
        if let Some(place) = &self.page.after {
            if let (Place::In(_, key, _), false) = (place, is_id(self.by.column, self.id)) {
                last.push(key.value());
            }
            last.push(Expr::val(place.id()));
            *(if self.by.descending { &mut upper } else { &mut lower }) = Bound { values: last, open: true };
        }
        if let Some((columns, values)) = lower.against(&columns) {
            rows = rows.filter(if lower.open { columns.gt(values) } else { columns.gte(values) });
        }
        if let Some((columns, values)) = upper.against(&columns) {
            rows = rows.filter(if upper.open { columns.lt(values) } else { columns.lte(values) });
        }
        columns.into_iter().fold(rows, |rows, column| rows.order_by(column, order.clone()))
    }

    /// Makes the page of the rows that [`select`](Self::select) asked for.
    ///
    /// # Errors
    /// A row that cannot be shown.
    pub fn page<T>(
        &self,
        rows: Vec<E::Model>,
        show: impl Fn(E::Model) -> Result<T, Problem>,
    ) -> Result<Page<T>, Problem> {
        self.page.page(self.kind, rows, |row| self.place(row), show)
    }

    fn place(&self, row: &E::Model) -> Place {
        let number = |column| if let Value::BigInt(Some(number)) = row.get(column) { number } else { 0 };
        if is_id(self.by.column, self.id) && !self.by.descending {
            return Place::Id(number(self.id));
        }
        let key = match row.get(self.by.column) {
            Value::String(Some(text)) => Key::Text(text),
            _ => Key::Number(number(self.by.column)),
        };
        Place::In(self.by.name(), key, number(self.id))
    }
}

impl Place {
    const fn id(&self) -> i64 {
        match self {
            Self::Id(id) | Self::In(_, _, id) => *id,
        }
    }
}

impl Key {
    fn value(&self) -> SimpleExpr {
        match self {
            Self::Number(number) => Expr::val(*number),
            Self::Text(text) => Expr::val(text.as_str()),
        }
    }
}

impl<C> By<C> {
    fn name(&self) -> String {
        format!("{}{}", if self.descending { "-" } else { "" }, self.word)
    }
}

/// An end of a range of an index: the values of its first columns.
#[derive(Clone)]
struct Bound {
    values: Vec<SimpleExpr>,
    /// Whether what has these values is left out.
    open: bool,
}

impl Bound {
    fn from(values: impl Iterator<Item = SimpleExpr>) -> Self {
        Self { values: values.collect(), open: false }
    }

    /// Both sides of the comparison; none: there is no end.
    fn against(&self, columns: &[SimpleExpr]) -> Option<(SimpleExpr, SimpleExpr)> {
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

fn is_id<C: IdenStatic>(column: C, id: C) -> bool {
    column.as_str() == id.as_str()
}

/// Whether a cursor was made in this order. What it holds goes to the database: no text there has control characters.
fn fits<C: ColumnTrait>(place: &Place, by: By<C>, by_id: bool) -> bool {
    match place {
        Place::Id(_) => by_id && !by.descending,
        Place::In(..) if by_id && !by.descending => false,
        Place::In(word, Key::Number(_), _) => *word == by.name() && !is_text(by.column),
        Place::In(word, Key::Text(text), _) => {
            *word == by.name() && is_text(by.column) && !text.chars().any(char::is_control)
        }
    }
}

fn is_text<C: ColumnTrait>(column: C) -> bool {
    matches!(column.def().get_column_type(), ColumnType::String(_) | ColumnType::Text)
}

/// A column as it is sorted: texts by their bytes, as SQLite does, whatever the collation of a PostgreSQL is.
fn in_order<C: ColumnTrait>(column: C, backend: DbBackend) -> SimpleExpr {
    if is_text(column) && backend == DbBackend::Postgres {
        Expr::cust(format!("\"{}\" COLLATE \"C\"", column.as_str()))
    } else {
        Expr::col(column)
    }
}

/// The first text behind all that begin with `prefix`; none: nothing is behind them.
fn behind(prefix: &str) -> Option<String> {
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
