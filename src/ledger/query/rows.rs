//! Rows of the ledger, newest or oldest first.

use std::collections::HashMap;

use entity::usage_ledger::{Column, Entity, Model};
use entity::{applied_prices, message_request};
use futures::Stream;
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};

use super::Filter;
use crate::ledger::Outcome;
use crate::store::{self, Direction};

/// Where a row stands in the order: by its settlement, then by its id. Newest first, new rows come before every position:
/// pages neither repeat nor miss what was there when the first was read. Oldest first, they come on the last pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// When the row was settled, Unix milliseconds.
    pub settled_at: i64,
    /// Which of those settled then.
    pub id: i64,
}

impl From<&Model> for Position {
    fn from(row: &Model) -> Self {
        Self { settled_at: row.settled_at, id: row.id }
    }
}

/// At most `limit` rows that match, beginning behind `after`.
///
/// # Errors
/// What the database says.
pub async fn page(
    db: &DatabaseConnection,
    filter: &Filter,
    after: Option<Position>,
    direction: Direction,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    select(filter, after, direction, limit).all(db).await
}

pub(super) fn select(filter: &Filter, after: Option<Position>, direction: Direction, limit: u64) -> Select<Entity> {
    let (rows, place) = (Entity::find().filter(filter.condition()), (Column::SettledAt, Column::Id));
    store::by_time(rows, place, after.map(|after| (after.settled_at, after.id)), direction).limit(limit)
}

/// All rows that match, or the first `limit`, in batches.
pub fn stream(
    db: DatabaseConnection,
    filter: Filter,
    after: Option<Position>,
    direction: Direction,
    limit: Option<u64>,
) -> impl Stream<Item = Result<Vec<Model>, DbErr>> + Send {
    store::in_batches(
        after,
        limit,
        |row| Position::from(row),
        move |after, limit| {
            let (db, filter) = (db.clone(), filter.clone());
            async move { page(&db, &filter, after, direction, limit).await }
        },
    )
}

/// What is known of one request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its charged attempts, in order; there is at least one.
    pub rows: Vec<Model>,
    /// The prices that they name, as JSON.
    pub prices: HashMap<i32, String>,
    /// Its detail, unless that has been pruned.
    pub detail: Option<message_request::Model>,
}

impl Request {
    /// The price that was applied to one of its rows, as JSON; of old rows only the detail knows it.
    #[must_use]
    pub fn price(&self, row: &Model) -> Option<&str> {
        match row.price_id {
            Some(id) => self.prices.get(&id).map(String::as_str),
            None if row.outcome == Outcome::Corrected.as_str() => None,
            None => self.detail.as_ref()?.price.as_deref(),
        }
    }
}

/// The request with this id, if it is in the ledger.
///
/// # Errors
/// What the database says.
pub async fn request(db: &DatabaseConnection, request_id: &str) -> Result<Option<Request>, DbErr> {
    let rows = Entity::find().filter(Column::RequestId.eq(request_id)).order_by_asc(Column::Attempt).all(db).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let ids: Vec<i32> = rows.iter().filter_map(|row| row.price_id).collect();
    let prices = applied_prices::Entity::find().filter(applied_prices::Column::Id.is_in(ids)).all(db).await?;
    let prices = prices.into_iter().map(|price| (price.id, price.json)).collect();
    let detail = message_request::Entity::find_by_id(request_id).one(db).await?;
    Ok(Some(Request { rows, prices, detail }))
}
