//! Reading refusals, newest or oldest first, and forgetting old ones.

use entity::refusals::{Column, Entity, Model};
use futures::Stream;
use sea_orm::{
    ColumnTrait, Condition, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};

use crate::store::{self, Direction};

/// Rows that are kept, however new the others are: about 1 GB, and 10 GB where names are as long as they may be.
pub const MOST_ROWS: i64 = 1_000_000;

/// Which refusals are meant; what is not set does not restrict.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Whose key it was.
    pub user_id: Option<i64>,
    /// Which key.
    pub key_id: Option<i64>,
    /// For which model, as the client named it.
    pub model: Option<String>,
    /// Why.
    pub code: Option<&'static str>,
    /// Whose limit.
    pub axis: Option<&'static str>,
    /// `mainline` or a model group's name.
    pub scope: Option<String>,
    /// Which window.
    pub window: Option<&'static str>,
    /// Arrived at or after, Unix milliseconds.
    pub from: Option<i64>,
    /// Arrived before, Unix milliseconds.
    pub to: Option<i64>,
}

impl Filter {
    fn condition(&self) -> Condition {
        Condition::all()
            .add_option(self.user_id.map(|id| Column::UserId.eq(id)))
            .add_option(self.key_id.map(|id| Column::KeyId.eq(id)))
            .add_option(self.model.as_ref().map(|name| Column::Model.eq(name)))
            .add_option(self.code.map(|code| Column::Code.eq(code)))
            .add_option(self.axis.map(|axis| Column::Axis.eq(axis)))
            .add_option(self.scope.as_ref().map(|name| Column::Scope.eq(name)))
            .add_option(self.window.map(|window| Column::Window.eq(window)))
            .add_option(self.from.map(|at| Column::CreatedAt.gte(at)))
            .add_option(self.to.map(|at| Column::CreatedAt.lt(at)))
    }
}

/// Where a row stands in the order: by the arrival of its request, then by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// When the request arrived, Unix milliseconds.
    pub created_at: i64,
    /// Which of those that arrived then.
    pub id: i64,
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
    let (rows, place) = (Entity::find().filter(filter.condition()), (Column::CreatedAt, Column::Id));
    store::by_time(rows, place, after.map(|after| (after.created_at, after.id)), direction).limit(limit)
}

/// All rows that match, or the first `limit`, in batches.
pub fn stream(
    db: DatabaseConnection,
    filter: Filter,
    after: Option<Position>,
    direction: Direction,
    limit: Option<u64>,
) -> impl Stream<Item = Result<Vec<Model>, DbErr>> + Send {
    let position = |row: &Model| Position { created_at: row.created_at, id: row.id };
    store::in_batches(after, limit, position, move |after, limit| {
        let (db, filter) = (db.clone(), filter.clone());
        async move { page(&db, &filter, after, direction, limit).await }
    })
}

/// The refusal of this request, if it is kept.
///
/// # Errors
/// What the database says.
pub async fn find(db: &DatabaseConnection, request_id: &str) -> Result<Option<Model>, DbErr> {
    Entity::find().filter(Column::RequestId.eq(request_id)).one(db).await
}

/// Deletes refusals of requests that arrived before an instant (Unix milliseconds), and of the others all but the latest
/// `most`, a few at a time; returns how many.
///
/// # Errors
/// What the database says. What has been deleted by then stays deleted.
pub async fn prune(db: &DatabaseConnection, before: i64, most: i64) -> Result<u64, DbErr> {
    let newest: Option<i64> =
        Entity::find().select_only().column(Column::Id).order_by_desc(Column::Id).into_tuple().one(db).await?;
    let old = store::prune(db, Entity, Column::Id, Column::CreatedAt, Column::CreatedAt.lt(before)).await?;
    let Some(newest) = newest else { return Ok(old) };
    let many = store::prune(db, Entity, Column::Id, Column::Id, Column::Id.lte(newest.saturating_sub(most))).await?;
    Ok(old + many)
}
