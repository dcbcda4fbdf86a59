//! Sums that are not those of their rows are found, and put right while the ledger is being written.

use std::collections::BTreeMap;

use sea_orm::DatabaseConnection;
use tollgate::ledger::{Ledger, LedgerOptions, LedgerRecord, SumsAudit, audit_sums};
use tollgate::limit::{Axis, Scope};
use tollgate::money::Usd;

use crate::database::{TestDatabase, execute, on_both};
use crate::ledger::{LIMIT, commit, record};

on_both!(
    sums_that_differ_are_found_by_budget_and_put_right,
    longer_sums_that_differ_from_their_minutes_are_found_and_put_right,
    a_repair_beside_a_busy_writer_adds_only_what_was_missing,
);

const DAY: i64 = 24 * 60 * 60_000;

async fn charged(ledger: &Ledger, numbers: std::ops::Range<u128>) {
    for n in numbers {
        // Over four days, for five users, in the group and outside of it.
        let number = i64::try_from(n).unwrap();
        let (user_id, global) = (number % 5, number % 2 == 0);
        let settled_at = DAY * 10 + number % 4 * DAY + number;
        commit(ledger, LedgerRecord { settled_at, user_id, counted_in_user_global: global, ..record(n) });
    }
    ledger.barrier(ledger.last_number()).await.unwrap();
}

async fn right(db: &DatabaseConnection) {
    let found = audit_sums(db, false).await.unwrap();
    assert_eq!((found.wrong, found.budgets), (0, BTreeMap::new()));
}

async fn sums_that_differ_are_found_by_budget_and_put_right(database: TestDatabase) {
    let db = database.open().await;
    assert_eq!(audit_sums(&db, true).await.unwrap(), SumsAudit::default(), "nothing is right");
    let ledger = Ledger::start(db.clone(), 1, LedgerOptions::default());
    charged(&ledger, 1..1_001).await;
    ledger.flush_and_stop(LIMIT).await;
    right(&db).await;
    // One sum is too small, one is gone, and one has no rows.
    for sql in [
        "UPDATE usage_rollup_minute SET cost_nanos = cost_nanos - 7 WHERE user_id = 2 AND minute < 15840",
        "DELETE FROM usage_rollup_minute WHERE user_id = 3 AND minute >= 15840 AND minute < 17280",
        "INSERT INTO usage_rollup_minute (minute, user_id, key_id, provider, model_group_id, counted_in_user_global, \
         counted_in_key_global, user_era, key_era, cost_nanos, requests) \
         VALUES (1, 9, 9, 'nobody', 0, TRUE, TRUE, 0, 0, 5, 1)",
    ] {
        execute(&db, sql, sql).await;
    }
    let found = audit_sums(&db, false).await.unwrap();
    let of = |owner: &str, scope| found.budgets.get(&(Axis::User, owner.to_owned(), scope)).copied();
    assert_eq!(found.rows, 1_000);
    assert_eq!(of("2", Scope::Mainline), Some(Usd::from_nanos(7)));
    assert_eq!(of("9", Scope::Mainline), Some(Usd::from_nanos(-5)));
    let gone = 50 * 123_456_789;
    assert_eq!(of("3", Scope::ModelGroup(3)), Some(Usd::from_nanos(gone)));
    assert_eq!(of("1", Scope::Mainline), None);
    let provider = (Axis::Provider, "pretend".to_owned(), Scope::Mainline);
    assert_eq!(found.budgets[&provider], Usd::from_nanos(gone + 7));
    assert_eq!(audit_sums(&db, true).await.unwrap(), found, "a look changes nothing");
    right(&db).await;
}

/// As by a node of a version that knows of minutes only.
async fn longer_sums_that_differ_from_their_minutes_are_found_and_put_right(database: TestDatabase) {
    let db = database.open().await;
    let ledger = Ledger::start(db.clone(), 1, LedgerOptions::default());
    charged(&ledger, 1..1_001).await;
    ledger.flush_and_stop(LIMIT).await;
    for sql in [
        // Of a user and a key: one kind of span each, and both by different amounts.
        "UPDATE usage_rollup_span SET cost_nanos = cost_nanos - 7 WHERE axis = 'user' AND owner = '2' AND span = 120 \
         AND scope = 0 AND minute = 14400",
        "UPDATE usage_rollup_span SET cost_nanos = cost_nanos + 9 WHERE axis = 'user' AND owner = '2' AND span = 10080 \
         AND scope = 0 AND minute = 10080",
        "DELETE FROM usage_rollup_span WHERE axis = 'provider'",
        // A budget that nothing was ever charged to.
        "INSERT INTO usage_rollup_span (axis, owner, scope, span, minute, era, cost_nanos, requests) \
         VALUES ('key', '77', 5, 10080, 0, 2, 5, 1)",
    ] {
        execute(&db, sql, sql).await;
    }
    let found = audit_sums(&db, false).await.unwrap();
    let all = Usd::from_nanos(1_000 * 123_456_789);
    let expected = BTreeMap::from([
        ((Axis::User, "2".to_owned(), Scope::Mainline), Usd::from_nanos(-9)),
        ((Axis::Key, "77".to_owned(), Scope::ModelGroup(5)), Usd::from_nanos(-5)),
        ((Axis::Provider, "pretend".to_owned(), Scope::Mainline), all),
    ]);
    assert_eq!(found.budgets, expected);
    assert_eq!(audit_sums(&db, true).await.unwrap(), found, "a look changes nothing");
    right(&db).await;
}

async fn a_repair_beside_a_busy_writer_adds_only_what_was_missing(database: TestDatabase) {
    let db = database.open().await;
    let ledger = Ledger::start(db.clone(), 1, LedgerOptions { batch: 20, ..LedgerOptions::default() });
    charged(&ledger, 1..501).await;
    for table in ["usage_rollup_minute", "usage_rollup_span"] {
        let broken = format!("UPDATE {table} SET cost_nanos = cost_nanos - 7, requests = requests - 1");
        execute(&db, &broken, &broken).await;
    }
    let (found, ()) = tokio::join!(audit_sums(&db, true), charged(&ledger, 501..2_001));
    assert!(found.unwrap().wrong > 0);
    ledger.flush_and_stop(LIMIT).await;
    right(&db).await;
}
