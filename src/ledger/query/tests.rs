#![allow(clippy::unwrap_used, reason = "tests")]

use futures::TryStreamExt;
use jiff::tz::TimeZone;
use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, QueryTrait};

use super::rows::select;
use super::summary::offsets;
use super::{Filter, Position, stream};
use crate::store::Direction;

async fn database() -> DatabaseConnection {
    // More connections would be more databases.
    let options = ConnectOptions::new("sqlite::memory:").max_connections(1).to_owned();
    let db = Box::pin(Database::connect(options)).await.unwrap();
    Migrator::up(&db, None).await.unwrap();
    db
}

#[tokio::test]
async fn pages_are_read_off_an_index_in_order() {
    let db = database().await;
    let after = Some(Position { settled_at: 10, id: 3 });
    for (filter, index) in [
        (Filter::default(), "usage_ledger_settled_at"),
        (Filter { from: Some(1), to: Some(9), ..Filter::default() }, "usage_ledger_settled_at"),
        (Filter { user_id: Some(1), ..Filter::default() }, "usage_ledger_user_id"),
        (Filter { key_id: Some(1), from: Some(1), ..Filter::default() }, "usage_ledger_key_id"),
    ] {
        for (after, direction) in [(None, Direction::Down), (after, Direction::Down), (after, Direction::Up)] {
            let mut statement = select(&filter, after, direction, 10).build(DbBackend::Sqlite);
            statement.sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
            let plan: Vec<String> = db
                .query_all_raw(statement)
                .await
                .unwrap()
                .iter()
                .map(|row| row.try_get("", "detail").unwrap())
                .collect();
            assert_eq!(plan.len(), 1, "one step, no sorting: {plan:?}");
            assert!(plan[0].contains(&format!("INDEX {index}")), "{filter:?}: {plan:?}");
        }
    }
}

#[tokio::test]
async fn a_stream_of_nothing_ends() {
    let batches: Vec<_> =
        stream(database().await, Filter::default(), None, Direction::Down, None).try_collect().await.unwrap();
    assert!(batches.is_empty());
}

#[test]
fn offsets_change_where_the_clocks_do() {
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let hour = 3_600_000;
    let (first, last) = (at("2026-01-01T00:00:00Z"), at("2026-12-31T00:00:00Z"));
    assert_eq!(
        offsets(&berlin, first, last),
        [(at("2026-03-29T01:00:00Z"), hour), (at("2026-10-25T01:00:00Z"), 2 * hour), (i64::MAX, hour)]
    );
    assert_eq!(offsets(&TimeZone::UTC, first, last), [(i64::MAX, 0)]);
    assert_eq!(offsets(&berlin, first, first), [(i64::MAX, hour)]);
    assert_eq!(offsets(&berlin, last, first), [(i64::MAX, hour)], "a range that is none ends too");
}
