//! Details of requests are forgotten after a while.

use entity::message_request;
use sea_orm::{EntityTrait, PaginatorTrait};
use std::sync::atomic::Ordering;
use tollgate::ledger::{Ledger, LedgerOptions, LedgerRecord, prune_details};

use crate::database::{TestDatabase, on_both};
use crate::ledger::{LIMIT, commit, record, rows};

on_both!(old_details_are_deleted_a_few_at_a_time_and_the_ledger_stays, several_nodes_may_delete_old_details_at_once);

async fn old_details_are_deleted_a_few_at_a_time_and_the_ledger_stays(database: TestDatabase) {
    let (db, statements) = database.open_counted().await;
    let ledger = Ledger::start(db.clone(), 1, LedgerOptions::default());
    for n in 0..2_503 {
        commit(&ledger, LedgerRecord { created_at: if n % 800 == 7 { 5_000 } else { 4_999 }, ..record(n) });
    }
    ledger.flush_and_stop(LIMIT).await;
    let before = statements.load(Ordering::SeqCst);
    assert_eq!(prune_details(&db, 5_000).await.unwrap(), 2_499);
    assert_eq!(statements.load(Ordering::SeqCst) - before, 3, "nobody waits for all of them");
    let left = message_request::Entity::find().all(&db).await.unwrap();
    assert_eq!(left.iter().map(|detail| detail.created_at).collect::<Vec<_>>(), [5_000; 4]);
    assert_eq!(rows(&db).await, 2_503);
    assert_eq!(prune_details(&db, 5_000).await.unwrap(), 0);
}

async fn several_nodes_may_delete_old_details_at_once(database: TestDatabase) {
    let db = database.open().await;
    let ledger = Ledger::start(db.clone(), 1, LedgerOptions::default());
    (0..4_000).for_each(|n| commit(&ledger, record(n)));
    ledger.flush_and_stop(LIMIT).await;
    let deleted = futures::future::join_all((0..3).map(|_| prune_details(&db, i64::MAX))).await;
    assert_eq!(deleted.into_iter().map(Result::unwrap).sum::<u64>(), 4_000);
    assert_eq!(message_request::Entity::find().count(&db).await.unwrap(), 0);
}
