//! Details of requests that are old enough to be forgotten.

use entity::message_request::{Column, Entity};
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr};

use crate::store;

/// Deletes the details of requests that arrived before an instant (Unix milliseconds), a few at a time; returns how many.
/// The ledger stays.
///
/// # Errors
///
/// What the database says. What has been deleted by then stays deleted.
pub async fn prune_details(db: &DatabaseConnection, before: i64) -> Result<u64, DbErr> {
    store::prune(db, Entity, Column::RequestId, Column::CreatedAt, Column::CreatedAt.lt(before)).await
}
