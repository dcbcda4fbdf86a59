//! Refusals: what is kept of how many, what becomes of them while the database is away, and how they are forgotten.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use entity::refusals::{self, Model};
use sea_orm::{ActiveModelTrait, DatabaseConnection, EntityTrait, IntoActiveModel, PaginatorTrait};
use serde_json::json;
use tollgate::clock::now_ms;
use tollgate::dialect::{Amounts, Dialect, ErrorCode, GatewayError};
use tollgate::ledger::AttemptReport;
use tollgate::money::Usd;
use tollgate::refusals::{Excluded, FIRST, Kind, Refusal, Refusals, find, prune};
use uuid::Uuid;

use crate::database::{TestDatabase, eventually, execute, on_both};
use crate::support::refusals::bare;

const LIMIT: Duration = Duration::from_secs(20);

on_both!(
    a_refusal_is_a_row_with_everything_within_a_second,
    of_a_crowd_of_refusals_a_few_are_rows_and_all_are_counted,
    what_waits_is_written_at_the_end_and_what_comes_later_is_dropped,
    while_the_table_cannot_be_written_memory_is_bounded_and_nothing_is_lost_that_fits,
    a_stop_does_not_wait_for_a_database_that_is_away,
    old_refusals_are_deleted_a_few_at_a_time_and_so_are_too_many,
);

/// A row.
pub fn row(id: i64) -> Model {
    Model {
        status: 402,
        code: "budget_exceeded".to_owned(),
        window: Some("daily".to_owned()),
        limit_nanos: Some(i64::MAX),
        ..bare(id, Uuid::now_v7().to_string())
    }
}

fn error() -> GatewayError {
    let [limit, used, reserved, requested] = [9_000_000_123_456_789, 1, 2, 3].map(Usd::from_nanos);
    GatewayError::new(ErrorCode::BudgetExceeded, "the daily budget is used up")
        .with_details(json!({"axis": "user", "scope": "opus", "window": "daily", "boostUsd": 0}))
        .with_amounts(Amounts { limit, used, reserved, requested })
}

fn refusal(request_id: Uuid, key_id: i64) -> Refusal {
    Refusal {
        request_id,
        created_at: 7,
        user_id: 8,
        key_id,
        model: Some("a\0b'; DROP TABLE users; --".to_owned()),
        dialect: Some(Dialect::OpenaiChat),
        error: error(),
        excluded: vec![Excluded { provider: "far".into(), served_model: "m".into(), reason: "model".to_owned() }],
        excluded_more: 2,
        attempts: vec![AttemptReport {
            provider: "near".into(),
            served_model: "m".to_owned(),
            started_ms: 1,
            duration_ms: 2,
            status: None,
            reason: "connect_failed".to_owned(),
            affinity: false,
        }],
    }
}

fn keep(kept: &Refusals, key: i64) -> Uuid {
    let id = Uuid::now_v7();
    kept.keep(Kind::of(key, &error()), id, now_ms(), || refusal(id, key));
    id
}

async fn rows(db: &DatabaseConnection) -> Vec<Model> {
    refusals::Entity::find().all(db).await.unwrap()
}

async fn counted(db: &DatabaseConnection) -> i64 {
    rows(db).await.iter().map(|row| 1 + row.repeated).sum()
}

async fn a_refusal_is_a_row_with_everything_within_a_second(database: TestDatabase) {
    let db = database.open().await;
    let kept = Refusals::start(db.clone());
    let id = keep(&kept, 9);
    eventually("the row is there", Duration::from_secs(1), || async { !rows(&db).await.is_empty() }).await;
    let found = find(&db, &id.to_string()).await.unwrap().unwrap();
    let expected = Model {
        id: found.id,
        request_id: id.to_string(),
        created_at: 7,
        user_id: 8,
        key_id: 9,
        model: Some("a\u{fffd}b'; DROP TABLE users; --".to_owned()),
        dialect: Some("openai_chat".to_owned()),
        message: "the daily budget is used up".to_owned(),
        axis: Some("user".to_owned()),
        scope: Some("opus".to_owned()),
        limit_nanos: Some(9_000_000_123_456_789),
        used_nanos: Some(1),
        reserved_nanos: Some(2),
        requested_nanos: Some(3),
        details: Some(r#"{"axis":"user","boostUsd":0,"scope":"opus","window":"daily"}"#.to_owned()),
        excluded: r#"[{"provider":"far","servedModel":"m","reason":"model"}]"#.to_owned(),
        excluded_more: 2,
        attempts: found.attempts.clone(),
        ..row(0)
    };
    assert_eq!(found, expected);
    let attempts: Vec<AttemptReport> = serde_json::from_str(&found.attempts).unwrap();
    assert_eq!(attempts, refusal(id, 9).attempts);
    assert_eq!(find(&db, &Uuid::now_v7().to_string()).await.unwrap(), None);
}

async fn of_a_crowd_of_refusals_a_few_are_rows_and_all_are_counted(database: TestDatabase) {
    const KEYS: i64 = 20;
    let (db, statements) = database.open_counted().await;
    let kept = Arc::new(Refusals::start(db.clone()));
    let minutes = now_ms() / 60_000;
    let crowd = (0..4).map(|_| {
        let kept = Arc::clone(&kept);
        tokio::task::spawn_blocking(move || {
            for turn in 0..5_000 {
                keep(&kept, turn % KEYS);
            }
        })
    });
    futures::future::try_join_all(crowd).await.unwrap();
    let minutes = now_ms() / 60_000 - minutes + 1;
    eventually("all are counted", LIMIT, || async { counted(&db).await == 20_000 }).await;
    let rows = rows(&db).await;
    assert!(rows.len() as i64 <= KEYS * i64::from(FIRST) * minutes, "{} rows", rows.len());
    for key in 0..KEYS {
        let of_key: i64 = rows.iter().filter(|row| row.key_id == key).map(|row| 1 + row.repeated).sum();
        assert_eq!(of_key, 1_000, "key {key}");
    }
    assert_eq!(kept.dropped(), 0);
    // Asking for the rows above took some.
    assert!(statements.load(Ordering::SeqCst) < 8_000, "{}", statements.load(Ordering::SeqCst));
}

async fn what_waits_is_written_at_the_end_and_what_comes_later_is_dropped(database: TestDatabase) {
    let db = database.open().await;
    let kept = Refusals::start(db.clone());
    for turn in 0..1_000 {
        keep(&kept, turn % 50);
    }
    kept.finish(LIMIT).await;
    assert_eq!((counted(&db).await, kept.dropped()), (1_000, 0));
    keep(&kept, 1_000);
    assert_eq!(kept.dropped(), 1);
    kept.finish(LIMIT).await;
}

/// Whatever is written to this table fails, as if the database were away.
async fn take_away(db: &DatabaseConnection) {
    execute(db, "ALTER TABLE refusals RENAME TO gone", "ALTER TABLE refusals RENAME TO gone").await;
}

async fn while_the_table_cannot_be_written_memory_is_bounded_and_nothing_is_lost_that_fits(database: TestDatabase) {
    /// More than the queue and the batch in hand hold.
    const KEYS: i64 = 10_000;
    let db = database.open().await;
    let kept = Refusals::start(db.clone());
    take_away(&db).await;
    let mut ids = HashSet::new();
    for key in 0..KEYS {
        ids.insert(keep(&kept, key).to_string());
    }
    let dropped = i64::try_from(kept.dropped()).unwrap();
    assert!((KEYS - 4_096 - 500..KEYS - 4_000).contains(&dropped), "{dropped}");
    execute(&db, "ALTER TABLE gone RENAME TO refusals", "ALTER TABLE gone RENAME TO refusals").await;
    eventually("the others are written", LIMIT, || async { counted(&db).await == KEYS - dropped }).await;
    let rows = rows(&db).await;
    assert!(rows.iter().all(|row| ids.contains(&row.request_id) && row.repeated == 0));
    kept.finish(LIMIT).await;
    assert_eq!(i64::try_from(kept.dropped()).unwrap(), dropped);
}

async fn a_stop_does_not_wait_for_a_database_that_is_away(database: TestDatabase) {
    let db = database.open().await;
    let kept = Refusals::start(db.clone());
    keep(&kept, 1);
    eventually("the first is written", LIMIT, || async { counted(&db).await == 1 }).await;
    take_away(&db).await;
    for _ in 0..9 {
        keep(&kept, 1);
    }
    keep(&kept, 2);
    tokio::time::timeout(Duration::from_secs(5), kept.finish(LIMIT)).await.expect("it does not wait");
    assert_eq!(kept.dropped(), 10, "each of them, counts too");
}

async fn old_refusals_are_deleted_a_few_at_a_time_and_so_are_too_many(database: TestDatabase) {
    let (db, statements) = database.open_counted().await;
    let mut rows: Vec<_> = (1..=2_600).map(row).collect();
    while !rows.is_empty() {
        let some = rows.drain(..200).map(|row| row.into_active_model().reset_all());
        refusals::Entity::insert_many(some).exec_without_returning(&db).await.unwrap();
    }
    let before = statements.load(Ordering::SeqCst);
    assert_eq!(prune(&db, 2_001, 1_000_000).await.unwrap(), 2_000);
    assert!(statements.load(Ordering::SeqCst) - before >= 4, "nobody waits for all of them");
    assert_eq!(refusals::Entity::find().count(&db).await.unwrap(), 600);
    assert_eq!(prune(&db, 0, 100).await.unwrap(), 500);
    let left = self::rows(&db).await;
    assert_eq!((left.len(), left.iter().map(|row| row.id).min()), (100, Some(2_501)));
    assert_eq!(prune(&db, 0, 100).await.unwrap(), 0);
}
