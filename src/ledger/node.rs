//! The lives of gateway processes. The number of a life is its name towards budgets and the ledger.

use entity::gateway_nodes::{ActiveModel, Column, Entity};
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

use super::{quarters, write_off};
use crate::store;

pub(super) const LIVE: &str = "live";
pub(super) const DEAD: &str = "dead";
const CLOSED: &str = "closed";

/// What the database says of a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Live,
    /// It was silent for so long that what it held was written off.
    Dead,
    /// It is over.
    Closed,
}

/// A life that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ended {
    /// Which.
    pub inc: i64,
    /// Whether it was written off, and never came back.
    pub dead: bool,
}

/// A life that has not been heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silent {
    /// Which.
    pub inc: i64,
    /// Name of the node.
    pub name: String,
    /// When it last said that it lives, Unix milliseconds.
    pub seen_at: i64,
}

/// Begins a life of the node of this name; returns its number, which is never reused.
///
/// `alone`: there are no other nodes, so whatever life has not been closed ended without a word.
///
/// # Errors
///
/// What the database says.
pub async fn begin_life(db: &DatabaseConnection, name: &str, alone: bool, now: i64) -> Result<i64, DbErr> {
    let transaction = store::begin_write(db).await?;
    if alone {
        let open = Entity::update_many().filter(Column::State.ne(CLOSED));
        open.col_expr(Column::State, Expr::value(CLOSED)).exec(&transaction).await?;
    }
    let life = ActiveModel {
        inc: NotSet,
        name: Set(name.to_owned()),
        state: Set(LIVE.to_owned()),
        started_at: Set(now),
        seen_at: Set(now),
        applied_lsn: Set(0),
        told_at: Set(None),
    };
    let inc = Entity::insert(life).exec(&transaction).await?.last_insert_id;
    transaction.commit().await?;
    Ok(inc)
}

/// Says that everything up to this number is written. Never takes anything back.
pub(super) async fn advance<C: ConnectionTrait>(db: &C, inc: i64, lsn: u64) -> Result<(), DbErr> {
    let lsn = i64::try_from(lsn).unwrap_or(i64::MAX);
    let behind = Entity::update_many().filter(Column::Inc.eq(inc)).filter(Column::AppliedLsn.lt(lsn));
    behind.col_expr(Column::AppliedLsn, Expr::value(lsn)).exec(db).await.map(drop)
}

/// Ends a life: it holds nothing and will write nothing any more. What was charged for it when it was written off is
/// taken back: by now its own rows are there.
pub(super) async fn end_life(db: &DatabaseConnection, inc: i64) -> Result<(), DbErr> {
    let transaction = store::begin_write(db).await?;
    // Before the life is locked: two that lock in another order could wait for each other.
    quarters::enter(&transaction).await?;
    let end = |state| {
        let life = Entity::update_many().filter(Column::Inc.eq(inc)).filter(Column::State.eq(state));
        life.col_expr(Column::State, Expr::value(CLOSED))
            .col_expr(Column::ToldAt, Expr::value(None::<i64>))
            .exec(&transaction)
    };
    // Who is written off in this moment is found below.
    if end(LIVE).await?.rows_affected == 0 && end(DEAD).await?.rows_affected > 0 {
        write_off::take_back(&transaction, inc).await?;
    }
    transaction.commit().await
}

/// Says that a life goes on; what the database says of it.
pub(super) async fn beat(db: &DatabaseConnection, inc: i64, now: i64) -> Result<Fate, DbErr> {
    let life = Entity::update_many().filter(Column::Inc.eq(inc)).filter(Column::State.eq(LIVE));
    if life.col_expr(Column::SeenAt, Expr::value(now)).exec(db).await?.rows_affected > 0 {
        return Ok(Fate::Live);
    }
    let life = Entity::find_by_id(inc).one(db).await?;
    Ok(if life.is_some_and(|life| life.state == DEAD) { Fate::Dead } else { Fate::Closed })
}

/// Lives that go on and were seen at or after this instant.
pub(super) async fn living(db: &DatabaseConnection, since: i64) -> Result<Vec<i64>, DbErr> {
    let lives = Entity::find().select_only().column(Column::Inc);
    let lives = lives.filter(Column::State.eq(LIVE)).filter(Column::SeenAt.gte(since));
    lives.order_by_asc(Column::Inc).into_tuple().all(db).await
}

/// Lives that go on and were not seen after this instant (Unix milliseconds).
///
/// # Errors
///
/// What the database says.
pub async fn silent_lives(db: &DatabaseConnection, until: i64) -> Result<Vec<Silent>, DbErr> {
    let lives = Entity::find().filter(Column::State.eq(LIVE)).filter(Column::SeenAt.lte(until));
    let lives = lives.order_by_asc(Column::Inc).all(db).await?;
    Ok(lives.into_iter().map(|life| Silent { inc: life.inc, name: life.name, seen_at: life.seen_at }).collect())
}

/// Lives that are over and that the authority has not been told of for certain: at most so many, after this one.
///
/// # Errors
///
/// What the database says.
pub async fn untold_lives(db: &DatabaseConnection, after: i64, most: u64) -> Result<Vec<Ended>, DbErr> {
    let lives = Entity::find().filter(Column::State.ne(LIVE)).filter(Column::ToldAt.is_null());
    let lives = lives.filter(Column::Inc.gt(after)).order_by_asc(Column::Inc).limit(most).all(db).await?;
    Ok(lives.into_iter().map(|life| Ended { inc: life.inc, dead: life.state == DEAD }).collect())
}

/// Remembers that the authority was told of the end of a life, unless the life has changed since.
///
/// # Errors
///
/// What the database says.
pub async fn told(db: &DatabaseConnection, life: Ended, now: i64) -> Result<(), DbErr> {
    let state = if life.dead { DEAD } else { CLOSED };
    let life = Entity::update_many().filter(Column::Inc.eq(life.inc)).filter(Column::State.eq(state));
    life.filter(Column::ToldAt.is_null()).col_expr(Column::ToldAt, Expr::value(now)).exec(db).await.map(drop)
}
