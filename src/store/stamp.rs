//! The numbers that changes to limits carry.

use entity::limit_stamps::{Column, Entity};
use sea_orm::sea_query::{Expr, Query};
use sea_orm::{ConnectionTrait, DbErr, ExprTrait as _};

/// Takes the next number. The row stays locked until the transaction ends, so that whoever takes a later number also
/// commits later: of two states of a limit, the one with the higher number is the newer one.
///
/// # Errors
///
/// What the database says.
pub async fn next_stamp<C: ConnectionTrait>(transaction: &C) -> Result<i64, DbErr> {
    let next = Query::update()
        .table(Entity)
        .value(Column::Value, Expr::col(Column::Value).add(1_i64))
        .returning(Query::returning().column(Column::Value))
        .to_owned();
    let row = transaction.query_one(&next).await?;
    row.ok_or_else(|| DbErr::RecordNotFound("limit_stamps has no row".to_owned()))?.try_get("", "value")
}
