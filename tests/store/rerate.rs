//! Corrected prices: rows of their own, once, in the sums that the corrected rows are in.

use std::collections::BTreeMap;
use std::sync::Arc;

use entity::{message_request, usage_ledger, usage_rollup_minute};
use sea_orm::{DatabaseConnection, EntityTrait, PaginatorTrait};
use tollgate::dialect::Usage;
use tollgate::ledger::{Change, Ledger, LedgerOptions, LedgerRecord, Outcome, rerate};
use tollgate::money::Usd;

use crate::database::{TestDatabase, on_both};
use crate::ledger::{LIMIT, commit, record};

on_both!(
    a_correction_is_written_once_beside_what_it_corrects,
    a_dry_run_writes_nothing,
    what_cannot_be_told_stays_as_it_is,
);

const ROWS: u128 = 1_200;

/// Requests of one token for 1 000 nano-dollars, settled at 1, 2, 3 and so on.
async fn charged(db: &DatabaseConnection) {
    let ledger = Ledger::start(db.clone(), 1, LedgerOptions::default());
    for n in 1..=ROWS {
        let usage = Usage { input: 1, ..Usage::default() };
        let settled_at = i64::try_from(n).unwrap();
        commit(&ledger, LedgerRecord { usage, cost: Usd::from_nanos(1_000), settled_at, ..record(n) });
    }
    ledger.flush_and_stop(LIMIT).await;
}

fn price(nanos: i64) -> impl Fn(&usage_ledger::Model, &Usage) -> Option<(Usd, Arc<str>)> {
    move |_, usage| {
        let cost = Usd::from_nanos(nanos * i64::try_from(usage.input).unwrap());
        Some((cost, format!(r#"{{"input":{nanos}}}"#).into()))
    }
}

/// What each request cost with all corrections; the roll-up says the same per minute.
async fn costs(db: &DatabaseConnection) -> BTreeMap<String, i64> {
    let mut costs = BTreeMap::new();
    for row in usage_ledger::Entity::find().all(db).await.unwrap() {
        *costs.entry(row.request_id).or_default() += row.cost_nanos;
    }
    let rollup = usage_rollup_minute::Entity::find().all(db).await.unwrap();
    assert_eq!(rollup.iter().map(|minute| minute.cost_nanos).sum::<i64>(), costs.values().sum::<i64>());
    assert_eq!(rollup.iter().filter(|minute| minute.model_group_id != 3).count(), 0, "in the budgets of their rows");
    costs
}

async fn a_correction_is_written_once_beside_what_it_corrects(database: TestDatabase) {
    let db = database.open().await;
    charged(&db).await;
    let found = rerate(&db, 101..1_101, &price(1_500), false).await.unwrap();
    let change = Change { rows: 1_000, before: Usd::from_nanos(1_000_000), after: Usd::from_nanos(1_500_000) };
    assert_eq!((found.rows, found.unknown), (1_000, 0));
    assert_eq!(found.changed, BTreeMap::from([("claude-sonnet-4-5".to_owned(), change)]));
    let sum = |costs: &BTreeMap<String, i64>| costs.values().sum::<i64>();
    assert_eq!(sum(&costs(&db).await), 1_000 * 1_500 + 200 * 1_000);

    let again = rerate(&db, 101..1_101, &price(1_500), false).await.unwrap();
    assert_eq!((again.rows, again.changed.len()), (1_000, 0));
    // Down again, below what it was first.
    let down = rerate(&db, 0..i64::MAX, &price(400), false).await.unwrap();
    assert_eq!((down.rows, down.changed["claude-sonnet-4-5"].rows), (1_200, 1_200));
    let costs = costs(&db).await;
    assert!(costs.len() == 1_200 && costs.values().all(|cost| *cost == 400));

    let rows = usage_ledger::Entity::find().all(&db).await.unwrap();
    assert_eq!(rows.iter().filter(|row| row.attempt == 1 && row.cost_nanos == 1_000).count(), 1_200, "none was edited");
    let second = rows.iter().find(|row| row.attempt == 2_001).expect("the second correction of one");
    assert_eq!((second.cost_nanos, second.outcome.as_str(), second.input_tokens), (-1_100, "corrected", 0));
    assert_eq!(message_request::Entity::find().count(&db).await.unwrap(), 1_200, "a correction has no details");
    let first = rows.iter().find(|row| row.request_id == second.request_id).unwrap();
    assert_eq!((first.settled_at, first.user_era, first.key_era), (second.settled_at, second.user_era, second.key_era));
}

async fn a_dry_run_writes_nothing(database: TestDatabase) {
    let db = database.open().await;
    charged(&db).await;
    let before = costs(&db).await;
    let found = rerate(&db, 0..i64::MAX, &price(1_500), true).await.unwrap();
    assert_eq!(found.changed["claude-sonnet-4-5"].rows, 1_200);
    assert_eq!(costs(&db).await, before);
}

async fn what_cannot_be_told_stays_as_it_is(database: TestDatabase) {
    let db = database.open().await;
    let ledger = Ledger::start(db.clone(), 1, LedgerOptions::default());
    let unused = LedgerRecord { usage: Usage::default(), outcome: Outcome::Interrupted, ..record(1) };
    commit(&ledger, unused);
    commit(&ledger, LedgerRecord { served_model: "gone".to_owned(), ..record(2) });
    commit(&ledger, record(3));
    ledger.flush_and_stop(LIMIT).await;
    let before = costs(&db).await;
    let known = |row: &usage_ledger::Model, _: &Usage| {
        (row.served_model != "gone").then(|| (Usd::from_nanos(5), Arc::from("{}")))
    };
    let found = rerate(&db, 0..i64::MAX, &known, false).await.unwrap();
    assert_eq!((found.rows, found.unknown, found.changed.len()), (3, 2, 1));
    let after = costs(&db).await;
    let changed: Vec<_> = before.iter().filter(|(id, cost)| after[*id] != **cost).map(|(id, _)| id.as_str()).collect();
    assert_eq!(changed, ["00000000-0000-0000-0000-000000000003"]);
}
