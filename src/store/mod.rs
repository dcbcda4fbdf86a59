//! The way to the database: SQLite in a file, or PostgreSQL.

mod batches;
mod connect;
mod error;
mod schema;
mod stamp;

pub use batches::{Direction, by_time, in_batches, prune};
pub use connect::{begin_snapshot, begin_write, connect, connect_later};
pub use error::{StoreError, is_away, is_data_error};
pub use schema::{MigrationState, migrate, migration_status};
pub use stamp::next_stamp;
