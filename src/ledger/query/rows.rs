//! Rows of the ledger, newest first.

use entity::message_request;
use entity::usage_ledger::{Column, Entity, Model};
use futures::Stream;
use futures::stream::{self, TryStreamExt};
use sea_orm::{
    ColumnTrait, Condition, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};

use super::Filter;

/// Rows that an export holds in memory at once.
const BATCH: u64 = 500;

/// Where a row stands in the order: by its settlement, then by its id. New rows come before every position, so pages
/// neither repeat nor miss what was there when the first was read.
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

/// At most `limit` rows that match, newest first, beginning behind `after`.
///
/// # Errors
/// What the database says.
pub async fn page(
    db: &DatabaseConnection,
    filter: &Filter,
    after: Option<Position>,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    select(filter, after, limit).all(db).await
}

pub(super) fn select(filter: &Filter, after: Option<Position>, limit: u64) -> Select<Entity> {
    let behind = after.map(|Position { settled_at, id }| {
        // The first half says nothing new, but it is what an index can begin at.
        Condition::all()
            .add(Column::SettledAt.lte(settled_at))
            .add(Condition::any().add(Column::SettledAt.lt(settled_at)).add(Column::Id.lt(id)))
    });
    Entity::find()
        .filter(filter.condition().add_option(behind))
        .order_by_desc(Column::SettledAt)
        .order_by_desc(Column::Id)
        .limit(limit)
}

/// All rows that match, or the first `limit`, in batches.
pub fn stream(
    db: DatabaseConnection,
    filter: Filter,
    after: Option<Position>,
    limit: Option<u64>,
) -> impl Stream<Item = Result<Vec<Model>, DbErr>> + Send {
    stream::try_unfold((Some(after), limit), move |(after, left)| {
        let (db, filter) = (db.clone(), filter.clone());
        async move {
            let Some(after) = after else { return Ok(None) };
            let ask = left.map_or(BATCH, |left| left.min(BATCH));
            let rows = page(&db, &filter, after, ask).await?;
            let found = rows.len() as u64;
            let left = left.map(|left| left - found);
            let more = found == ask && left != Some(0);
            let next = rows.last().filter(|_| more).map(|row| Some(Position::from(row)));
            Ok(Some((rows, (next, left))))
        }
    })
    .try_filter(|rows| std::future::ready(!rows.is_empty()))
}

/// What is known of one request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its charged attempts, in order; there is at least one.
    pub rows: Vec<Model>,
    /// Its detail, unless that has been pruned.
    pub detail: Option<message_request::Model>,
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
    let detail = message_request::Entity::find_by_id(request_id).one(db).await?;
    Ok(Some(Request { rows, detail }))
}
