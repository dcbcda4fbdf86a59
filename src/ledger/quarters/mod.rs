//! Sums of the ledger's rows per quarter of an hour, which summaries of usage are read from: exact, and written later
//! than the rows, so that a busy writer has nothing to do for them.
//!
//! Three numbers say how far they are (`usage_rollup_state`). Rows that were settled before `sealed_until` are in the sums.
//! Rows that were settled before `announced_until` are somebody's: up to the id `announced_id` the sealer's, behind it
//! the writer's own. What was settled later is not in the sums.
//!
//! - A writer announces itself before it inserts rows, and then reads the three numbers (`enter`). With its rows it adds
//!   those that were settled before `announced_until`, in the same transaction.
//! - The sealer (`announce`) waits until no writer is at work and lets none begin, moves `announced_until` on, and
//!   notes the last id as `announced_id`. Writers wait for no more than this.
//! - Then it adds up (`seal`) the rows from `sealed_until` on that are its own, some at a time, each time with the new
//!   `sealed_until` in the same transaction, and only if nobody else has changed the numbers since it read them.
//!
//! Why each row is in the sums once: a writer's transaction is over before an announcement or begins after it, never
//! both, because a writer holds its lock until its end, and the announcement has it alone. (On SQLite nobody else writes
//! during a transaction anyway.) If it is over before, its rows are there, their ids are not above `announced_id`, and
//! the sealer, which reads later, sees all of them. If it begins after, its ids are higher, so that the sealer leaves
//! them alone, and it reads the new `announced_until`, because it reads in a statement behind the one that waited for the
//! lock. What either adds is committed with the rows or with `sealed_until`: a crash in between takes both back or
//! neither. After a crash between an announcement and its seals the numbers say what is left to be sealed. A second
//! sealer finds the numbers locked or changed, and leaves it to the first.
//!
//! A request is counted where its first attempt is, of those that are in the ledger. A later attempt may be written first,
//! and sealed, before that: whoever then writes an earlier attempt takes the request away from the later one, if that was
//! announced. The sealer looks at rows up to `announced_id` only, so the two never do the same twice. No attempt is
//! settled before its request has arrived, so a writer has to look for others of a request only where that arrived before
//! `announced_until`: hardly ever. Rows of one request are written one after the other, by one process.

mod late;
mod seal;
mod sums;

pub use seal::{announce, roll_up, seal};

pub(super) use late::add;
pub(super) use sums::{KEY, SUMS, Sums, first, of_rows, saturated};

use entity::usage_rollup_state::{Entity, Model};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait};

/// Milliseconds of a quarter of an hour: clocks of all time zones are ahead of UTC by a multiple of it.
pub(super) const QUARTER_MS: i64 = 15 * 60_000;

/// PostgreSQL's lock that writers of rows share and an announcement has alone.
const WRITERS: i64 = 0x7175_6172_7465_7273;

/// A writer begins; before it inserts rows.
pub(super) async fn enter(transaction: &DatabaseTransaction) -> Result<Model, DbErr> {
    if transaction.get_database_backend() == DbBackend::Postgres {
        transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock_shared({WRITERS})")).await?;
    }
    state(transaction).await
}

/// How far the sums are.
pub(super) async fn state<C: ConnectionTrait>(db: &C) -> Result<Model, DbErr> {
    // Without the row nothing is announced, and nothing will be.
    let none = Model { id: 1, announced_until: 0, announced_id: 0, sealed_until: 0 };
    Ok(Entity::find().one(db).await?.unwrap_or(none))
}

/// The start of the quarter that an instant is in.
pub(super) const fn floor(at: i64) -> i64 {
    at.div_euclid(QUARTER_MS) * QUARTER_MS
}
