//! Details of requests that are old enough to be forgotten.

use std::time::Duration;

use entity::message_request::{Column, Entity};
use sea_orm::sea_query::{LockBehavior, LockType, Query};
use sea_orm::{ColumnTrait, DatabaseConnection, DbBackend, DbErr, EntityTrait, QueryFilter};

/// Rows that are deleted at once: few enough that nobody who writes waits for more than moments.
const AT_ONCE: u64 = 1_000;

/// What comes in between. SQLite has no queue of writers: whoever asks first is next, and would always be this one.
const PAUSE: Duration = Duration::from_millis(10);

/// Deletes the details of requests that arrived before an instant (Unix milliseconds), a few at a time; returns how many.
/// The ledger stays.
///
/// # Errors
///
/// What the database says. What has been deleted by then stays deleted.
pub async fn prune_details(db: &DatabaseConnection, before: i64) -> Result<u64, DbErr> {
    let mut deleted = 0;
    loop {
        let mut oldest = Query::select();
        oldest.column(Column::RequestId).from(Entity).and_where(Column::CreatedAt.lt(before)).limit(AT_ONCE);
        oldest.order_by(Column::CreatedAt, sea_orm::Order::Asc);
        if db.get_database_backend() == DbBackend::Postgres {
            // Several nodes do this: none waits for another.
            oldest.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        }
        let few = Entity::delete_many().filter(Column::RequestId.in_subquery(oldest)).exec(db).await?.rows_affected;
        deleted += few;
        if few < AT_ONCE {
            return Ok(deleted);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
