//! Lists that may be sorted, and searched by name: each page is read off an index, wherever in the list it is.

mod by_time;
mod place;
mod range;

use sea_orm::sea_query::{Expr, ExprTrait, Order, SimpleExpr};
use sea_orm::{DbBackend, EntityTrait, ModelTrait, QueryFilter, QueryOrder, QuerySelect, Select, Value};
use utoipa::IntoParams;

pub use by_time::ByTime;

use super::extract::Params;
use super::page::{Page, PageRequest};
use super::problem::{InvalidParam, Problem};
use super::validate::{self, MAX_NAME};
use place::{By, Key, Place, fits, is_id};
use range::{Bound, behind, in_order, off_index};

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

/// The columns of an index that a list is read off, in their order.
pub struct Columns {
    /// The rows that are listed have this number here.
    pub within: Option<(SimpleExpr, i64)>,
    /// What they are sorted by, unless that is the id.
    pub key: SimpleExpr,
    /// What they are sorted by in the end.
    pub id: SimpleExpr,
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
    pub fn select(&self, rows: Select<E>, within: Option<(E::Column, i64)>, backend: DbBackend) -> Select<E> {
        let within = within.map(|(column, number)| (Expr::col(column), number));
        self.range(rows, Columns { within, ..self.columns(backend) }, backend)
    }

    /// The columns that the list is sorted by.
    pub fn columns(&self, backend: DbBackend) -> Columns {
        Columns { within: None, key: in_order(self.by.column, backend), id: Expr::col(self.id) }
    }

    /// The same; on SQLite the rows are found without an index of them.
    pub fn columns_off_index(&self, backend: DbBackend) -> Columns {
        let columns = self.columns(backend);
        if backend == DbBackend::Sqlite { Columns { key: off_index(self.by.column), ..columns } } else { columns }
    }

    /// Whether nothing but the ids is sorted by.
    pub fn is_by_id(&self) -> bool {
        is_id(self.by.column, self.id)
    }

    /// What the page asks for of these rows.
    ///
    /// The page is one range of the index that has the order, with one bound at each end: SQLite begins at one only, and
    /// reads all that lies between two. The column of `within` leads the order, and is a range too: else PostgreSQL may
    /// take the order of the ids for a good one and look through the whole table for rows that all stand at its end.
    pub fn range(&self, rows: Select<E>, columns: Columns, backend: DbBackend) -> Select<E> {
        let order = if self.by.descending { Order::Desc } else { Order::Asc };
        let Columns { within, key, id } = columns;
        let (rows, within) = match within {
            // SQLite takes the id, which is at the end of every index, for no part of a range of several columns.
            Some((column, number)) if backend == DbBackend::Sqlite && self.is_by_id() => {
                (rows.filter(column.eq(number)), None)
            }
            within => (rows, within),
        };
        let mut columns: Vec<SimpleExpr> = within.iter().map(|(column, _)| column.clone()).collect();
        let mut lower = Bound::from(within.iter().map(|(_, number)| Expr::val(*number)));
        let mut upper = lower.clone();
        let mut last = lower.values.clone();
        let mut rows = rows.limit(self.page.fetch());
        if !self.is_by_id() {
            columns.push(key);
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
        columns.push(id);
        if let Some(place) = &self.page.after {
            if let (Place::In(_, key, _), false) = (place, self.is_by_id()) {
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
        if self.is_by_id() && !self.by.descending {
            return Place::Id(number(self.id));
        }
        let key = match row.get(self.by.column) {
            Value::String(Some(text)) => Key::Text(text),
            _ => Key::Number(number(self.by.column)),
        };
        Place::In(self.by.name(), key, number(self.id))
    }
}
