//! Many rows, a few at a time: read by whoever exports them, deleted by whoever cleans up.

use std::time::Duration;

use futures::Stream;
use futures::stream::{self, TryStreamExt};
use sea_orm::sea_query::{Expr, LockBehavior, LockType, Order, Query, SimpleExpr};
use sea_orm::{
    ColumnTrait, Condition, DatabaseConnection, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder, Select,
};

/// Rows that an export holds in memory at once.
const READ_AT_ONCE: u64 = 500;

/// Rows that are deleted at once: few enough that nobody who writes waits for more than moments.
const DELETED_AT_ONCE: u64 = 1_000;

/// What comes in between. SQLite has no queue of writers: whoever asks first is next, and would always be this one.
const PAUSE: Duration = Duration::from_millis(10);

/// Which way a list by time goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// The newest first.
    #[default]
    Down,
    /// The oldest first.
    Up,
}

/// These rows by time and id, beginning behind the row with that time and id. Both are compared as one: an index begins at
/// it, however many rows are of the same instant.
pub fn by_time<E: EntityTrait>(
    rows: Select<E>,
    (time, id): (E::Column, E::Column),
    after: Option<(i64, i64)>,
    direction: Direction,
) -> Select<E> {
    use sea_orm::sea_query::ExprTrait as _;
    let place = || Expr::tuple([Expr::col(time), Expr::col(id)]);
    let behind = after.map(|(at, row)| {
        let after = Expr::tuple([Expr::val(at), Expr::val(row)]);
        if direction == Direction::Up { place().gt(after) } else { place().lt(after) }
    });
    let order = if direction == Direction::Up { Order::Asc } else { Order::Desc };
    rows.filter(Condition::all().add_option(behind)).order_by(time, order.clone()).order_by(id, order)
}

/// All rows that `page` finds, or the first `limit`, in batches. `page` is asked for so many rows behind a position.
pub fn in_batches<R, P, F>(
    after: Option<P>,
    limit: Option<u64>,
    position: impl Fn(&R) -> P + Send,
    page: impl Fn(Option<P>, u64) -> F + Send,
) -> impl Stream<Item = Result<Vec<R>, DbErr>> + Send
where
    R: Send,
    P: Send,
    F: Future<Output = Result<Vec<R>, DbErr>> + Send,
{
    let reader = (position, page);
    let states = stream::try_unfold((Some(after), limit, reader), |(after, left, (position, page))| async move {
        let Some(after) = after else { return Ok(None) };
        let ask = left.map_or(READ_AT_ONCE, |left| left.min(READ_AT_ONCE));
        let rows = page(after, ask).await?;
        let found = rows.len() as u64;
        let left = left.map(|left| left - found);
        let more = found == ask && left != Some(0);
        let next = rows.last().filter(|_| more).map(|row| Some(position(row)));
        Ok(Some((rows, (next, left, (position, page)))))
    });
    states.try_filter(|rows: &Vec<R>| std::future::ready(!rows.is_empty()))
}

/// Deletes the rows for which this holds, a few at a time and in this order; returns how many.
///
/// # Errors
///
/// What the database says. What has been deleted by then stays deleted.
pub async fn prune<E: EntityTrait>(
    db: &DatabaseConnection,
    table: E,
    key: E::Column,
    order: E::Column,
    old: SimpleExpr,
) -> Result<u64, DbErr> {
    let mut deleted = 0;
    loop {
        let mut oldest = Query::select();
        oldest.column(key).from(table).and_where(old.clone()).limit(DELETED_AT_ONCE);
        oldest.order_by(order, sea_orm::Order::Asc);
        if db.get_database_backend() == DbBackend::Postgres {
            // Several nodes do this: none waits for another.
            oldest.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        }
        let few = E::delete_many().filter(key.in_subquery(oldest)).exec(db).await?.rows_affected;
        deleted += few;
        if few < DELETED_AT_ONCE {
            return Ok(deleted);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
