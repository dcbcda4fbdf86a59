//! The lives of gateway processes. The number of a life is its name towards budgets and the ledger.

use entity::gateway_nodes::{ActiveModel, Column, Entity};
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter};

use crate::store;

const LIVE: &str = "live";
const CLOSED: &str = "closed";

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

/// Ends a life: it holds nothing and will write nothing any more.
pub(super) async fn end_life(db: &DatabaseConnection, inc: i64) -> Result<(), DbErr> {
    let life = Entity::update_many().filter(Column::Inc.eq(inc));
    life.col_expr(Column::State, Expr::value(CLOSED)).exec(db).await.map(drop)
}
