#![allow(clippy::unwrap_used, reason = "tests")]

use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, Database, DbBackend, QueryTrait};
use serde_json::json;
use uuid::Uuid;

use super::query::{Filter, Position, select};
use super::record::{Excluded, MOST_LISTED, Refusal};
use super::tally::{FIRST, Kind, MOST_KINDS, Tallies, Turn};
use crate::dialect::{Dialect, ErrorCode, GatewayError};
use crate::ledger::AttemptReport;
use crate::store::Direction;

const MINUTE: i64 = 60_000;

fn kind(key: i64) -> Kind {
    Kind::of(key, &GatewayError::new(ErrorCode::ModelNotAllowed, "no"))
}

fn id() -> Uuid {
    Uuid::now_v7()
}

#[test]
fn the_first_of_a_minute_are_rows_and_the_last_of_them_counts_the_others() {
    let tallies = Tallies::default();
    let ids: Vec<Uuid> = (0..FIRST).map(|_| id()).collect();
    assert!(ids.iter().all(|id| tallies.take(kind(1), *id, 0, true) == Turn::Row));
    assert!((0..100).all(|_| tallies.take(kind(1), id(), MINUTE - 1, true) == Turn::Counted));
    let [count] = &tallies.news(MINUTE - 1)[..] else { panic!("one count") };
    assert_eq!((count.row, count.repeated), (*ids.last().unwrap(), 100));
    tallies.told(count);
    assert!(tallies.news(MINUTE - 1).is_empty(), "nothing new");
    assert_eq!(tallies.take(kind(1), id(), MINUTE - 1, true), Turn::Counted);
    assert_eq!(tallies.news(0)[0].repeated, 101, "the whole count, so that saying it twice changes nothing");
    assert_eq!(tallies.take(kind(1), id(), MINUTE, true), Turn::Row, "the next minute has rows of its own");
}

#[test]
fn kinds_differ_by_key_code_axis_scope_and_window_and_not_by_model() {
    let refusal = |code, details| GatewayError::new(code, "the model \"m\"").with_details(details);
    let base = json!({"axis": "key", "scope": "mainline", "window": "daily", "usedUsd": 1});
    let of = |key, code, details: &serde_json::Value| Kind::of(key, &refusal(code, details.clone()));
    let first = of(1, ErrorCode::BudgetExceeded, &base);
    let other_model = GatewayError::new(ErrorCode::BudgetExceeded, "another model").with_details(base.clone());
    assert_eq!(Kind::of(1, &other_model), first);
    assert_ne!(of(2, ErrorCode::BudgetExceeded, &base), first);
    assert_ne!(of(1, ErrorCode::RateLimitExceeded, &base), first);
    for (name, word) in [("axis", "user"), ("scope", "opus"), ("window", "5h")] {
        let mut other = base.clone();
        other[name] = json!(word);
        assert_ne!(of(1, ErrorCode::BudgetExceeded, &other), first, "{name}");
    }
}

#[test]
fn without_room_for_a_row_a_refusal_is_counted_where_there_is_one_and_dropped_where_there_is_none() {
    let tallies = Tallies::default();
    assert_eq!(tallies.take(kind(1), id(), 0, false), Turn::Dropped);
    let row = id();
    assert_eq!(tallies.take(kind(1), row, 0, true), Turn::Row);
    assert_eq!(tallies.take(kind(1), id(), 0, false), Turn::Counted);
    assert_eq!(tallies.take(kind(1), id(), 0, true), Turn::Counted, "the count is on the last row, and stays there");
    assert_eq!(tallies.news(0).iter().map(|count| (count.row, count.repeated)).collect::<Vec<_>>(), [(row, 2)]);
}

#[test]
fn memory_is_bounded_and_free_again_when_the_minute_is_over() {
    let tallies = Tallies::default();
    let most = i64::try_from(MOST_KINDS).unwrap();
    assert!((0..most).all(|key| tallies.take(kind(key), id(), 0, true) == Turn::Row));
    assert_eq!(tallies.take(kind(most), id(), 0, true), Turn::Dropped);
    assert_eq!(tallies.take(kind(0), id(), 0, true), Turn::Row, "who is known goes on");
    assert!(tallies.news(MINUTE).is_empty());
    assert_eq!(tallies.take(kind(most), id(), MINUTE, true), Turn::Row);
}

#[test]
fn a_count_waits_for_its_row_for_a_while_and_is_then_given_up() {
    let tallies = Tallies::default();
    for _ in 0..FIRST + 7 {
        tallies.take(kind(1), id(), 0, true);
    }
    let late = 4 * MINUTE;
    let counts = tallies.news(late);
    assert_eq!(counts[0].repeated, 7, "it is over, and not known");
    assert_eq!(tallies.has_no_row(&counts[0], 2 * MINUTE), 0);
    assert_eq!(tallies.has_no_row(&counts[0], late), 7);
    assert_eq!((tallies.news(late).len(), tallies.give_up()), (0, 0));
}

fn refusal() -> Refusal {
    Refusal {
        request_id: id(),
        created_at: 1,
        user_id: 2,
        key_id: 3,
        model: Some("m".to_owned()),
        dialect: Some(Dialect::OpenaiChat),
        error: GatewayError::new(ErrorCode::NoProviderAvailable, "nobody"),
        excluded: Vec::new(),
        excluded_more: 0,
        attempts: Vec::new(),
    }
}

#[test]
fn whatever_a_client_or_a_configuration_names_a_row_is_small_and_has_no_nul() {
    let long = format!("a\0{}", "é".repeat(10 << 10));
    let name: std::sync::Arc<str> = long.as_str().into();
    let attempt = AttemptReport {
        provider: "p".into(),
        served_model: long.clone(),
        started_ms: 0,
        duration_ms: 0,
        status: None,
        reason: "busy".to_owned(),
        affinity: false,
    };
    let excluded = Excluded { provider: "p".into(), served_model: name, reason: "model".to_owned() };
    let details = json!({"axis": long, "scope": long, "window": long});
    let row = Refusal {
        model: Some(long.clone()),
        error: GatewayError::new(ErrorCode::NoProviderAvailable, long).with_details(details),
        excluded: vec![excluded; MOST_LISTED],
        attempts: vec![attempt; 500],
        ..refusal()
    }
    .into_row();
    assert_eq!(row.details, None, "half an object is none");
    let texts = [row.model, row.axis, row.scope, row.window, Some(row.message), Some(row.excluded), Some(row.attempts)];
    let texts: Vec<String> = texts.map(Option::unwrap).into();
    assert!(texts.iter().all(|text| !text.contains('\0')), "{texts:?}");
    assert!(texts[..4].iter().all(|text| text.starts_with("a\u{fffd}é") && text.len() <= 260), "{texts:?}");
    assert!(texts.iter().map(String::len).sum::<usize>() < 32 << 10, "{:?}", texts.iter().map(String::len));
}

#[tokio::test]
async fn pages_need_no_sorting() {
    let db = Box::pin(Database::connect("sqlite::memory:")).await.unwrap();
    Migrator::up(&db, None).await.unwrap();
    for (filter, index) in [
        (Filter::default(), "refusals_created_at"),
        (Filter { user_id: Some(1), ..Filter::default() }, "refusals_user_id"),
        (Filter { key_id: Some(1), from: Some(1), ..Filter::default() }, "refusals_key_id"),
    ] {
        let after = Some(Position { created_at: 5, id: 6 });
        for (after, direction) in [(None, Direction::Down), (after, Direction::Down), (after, Direction::Up)] {
            let mut statement = select(&filter, after, direction, 10).build(DbBackend::Sqlite);
            statement.sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
            let plan = db.query_all_raw(statement).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
            assert_eq!(plan.len(), 1, "one step, no sorting: {plan:?}");
            assert!(plan[0].contains(&format!("INDEX {index}")), "{filter:?}: {plan:?}");
        }
    }
}
