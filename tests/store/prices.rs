//! Every charge names the price that was applied, for as long as it is kept.

use std::sync::Arc;

use entity::{applied_prices, usage_ledger};
use sea_orm::{DatabaseConnection, EntityTrait, PaginatorTrait, QueryOrder};
use tollgate::ledger::{Ledger, LedgerOptions, LedgerRecord, prune_details, query};
use uuid::Uuid;

use crate::database::{TestDatabase, on_both};
use crate::ledger::{LIMIT, commit, record, refuse_poison};

on_both!(
    the_price_of_a_charge_outlives_the_details,
    several_nodes_write_a_price_once,
    what_a_failed_transaction_has_numbered_is_not_believed,
);

fn priced(n: u128, price: &str) -> LedgerRecord {
    LedgerRecord { price: Some(Arc::from(price)), ..record(n) }
}

/// The price of a request's only charge.
async fn price_of(db: &DatabaseConnection, n: u128) -> Option<String> {
    let request = query::request(db, &Uuid::from_u128(n).to_string()).await.unwrap().expect("it is in the ledger");
    let [row] = request.rows.as_slice() else { panic!("{request:?}") };
    request.price(row).map(str::to_owned)
}

async fn the_price_of_a_charge_outlives_the_details(database: TestDatabase) {
    let db = database.open().await;
    let ledger = Ledger::start(db.clone(), 1, LedgerOptions::default());
    commit(&ledger, priced(1, "{\"one\":1}"));
    commit(&ledger, priced(2, "{\"two\":2}"));
    commit(&ledger, LedgerRecord { price: None, ..record(3) });
    commit(&ledger, priced(4, "{\"one\":1}"));
    ledger.flush_and_stop(LIMIT).await;
    let with_detail = [price_of(&db, 1).await, price_of(&db, 2).await, price_of(&db, 3).await, price_of(&db, 4).await];
    assert_eq!(prune_details(&db, i64::MAX).await.unwrap(), 4);
    let without = [price_of(&db, 1).await, price_of(&db, 2).await, price_of(&db, 3).await, price_of(&db, 4).await];
    let expected = [Some("{\"one\":1}"), Some("{\"two\":2}"), None, Some("{\"one\":1}")];
    assert_eq!(with_detail.each_ref().map(Option::as_deref), expected);
    assert_eq!(without, with_detail);
}

async fn several_nodes_write_a_price_once(database: TestDatabase) {
    const NODES: u128 = 3;
    const PRICES: u128 = 700;
    let db = database.open().await;
    // Each begins with another price, and all come to all of them.
    let ledgers: Vec<_> = (1..=3).map(|inc| Ledger::start(db.clone(), inc, LedgerOptions::default())).collect();
    for n in 0..PRICES {
        for (node, ledger) in (0..NODES).zip(&ledgers) {
            let price = (n + node * PRICES / NODES) % PRICES;
            commit(ledger, priced(node * PRICES + n, &format!("{{\"price\":{price}}}")));
        }
    }
    for ledger in &ledgers {
        ledger.flush_and_stop(LIMIT).await;
        assert_eq!((ledger.stats().written(), ledger.stats().failed()), (PRICES as u64, 0));
    }
    assert_eq!(u128::from(applied_prices::Entity::find().count(&db).await.unwrap()), PRICES);
    for (n, node) in [(0, 0), (699, 1), (350, 2)] {
        let price = (n + node * PRICES / NODES) % PRICES;
        assert_eq!(price_of(&db, node * PRICES + n).await, Some(format!("{{\"price\":{price}}}")));
    }
}

async fn what_a_failed_transaction_has_numbered_is_not_believed(database: TestDatabase) {
    let db = database.open().await;
    refuse_poison(&db).await;
    let ledger = Ledger::start(db.clone(), 1, LedgerOptions::default());
    for n in 0..20 {
        // All of the poison comes with a price that nobody has written yet.
        let provider = Arc::from(if n % 2 == 0 { "poison" } else { "good" });
        commit(&ledger, LedgerRecord { provider, ..priced(n, &format!("{{\"price\":{}}}", n / 2)) });
    }
    ledger.flush_and_stop(LIMIT).await;
    assert_eq!((ledger.stats().written(), ledger.stats().failed()), (10, 10));
    let rows = usage_ledger::Entity::find().order_by_asc(usage_ledger::Column::Id).all(&db).await.unwrap();
    assert_eq!(rows.len(), 10);
    for n in (1..20).step_by(2) {
        assert_eq!(price_of(&db, n).await, Some(format!("{{\"price\":{}}}", n / 2)), "of request {n}");
    }
}
