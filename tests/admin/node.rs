//! The parts of a node that decide about requests, over the database of a test.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use entity::usage_rollup_minute;
use migration::{SchemaManager, m0003_longer_sums};
use sea_orm::{ActiveValue::Set, DatabaseConnection, EntityTrait};
use tokio_util::sync::CancellationToken;
use tollgate::clock::now_ms;
use tollgate::gateway::{App, Live};
use tollgate::pricing::{Price, PriceBook, Prices};
use tollgate::provider::Catalogue;

const CONFIG: &str = "
providers:
  - {name: first, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', models: ['m*'], redirects: {alias: m2},
     limits: {daily: {usd: 50}}}
  - {name: second, dialects: [openai_chat, anthropic], base_url: 'http://127.0.0.1:1', priority: 1, models: ['m1', free]}
  - {name: far, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', priority: 2, groups: [far]}
  - {name: other, dialects: [gemini], base_url: 'http://127.0.0.1:1', priority: 3}
";

/// Starts the parts; `m1` and `m2` have prices.
pub async fn start(db: &DatabaseConnection) -> Arc<App> {
    let mut config = tollgate::config::parse(CONFIG, Path::new("."), &|_| None).unwrap();
    // Its journal is open by the time that the folder goes.
    let folder = tempfile::tempdir().unwrap();
    config.node.data_dir = folder.path().to_owned();
    let catalogue = Catalogue::new(&config.providers).ok().unwrap();
    let price: Price =
        serde_json::from_value(serde_json::json!({"inputUsdPerMillion": 1000, "outputUsdPerMillion": 1000})).unwrap();
    let price = Arc::new(price);
    let prices: Prices = ["m1", "m2"].map(|model| (model.to_owned(), Arc::clone(&price))).into_iter().collect();
    let prices = Arc::new(ArcSwap::from_pointee(PriceBook::new(&Prices::new(), &prices)));
    App::start(db, Live { catalogue, config }, prices, CancellationToken::new()).await.unwrap()
}

/// What was spent a moment ago, as the ledger adds it up: on a model group (by id; 0: none), so many dollars, counted
/// by the mainline budgets of the user and of the key or not.
pub async fn spent(db: &DatabaseConnection, user: i64, key: i64, model_group: i64, usd: i64, global: (bool, bool)) {
    let row = usage_rollup_minute::ActiveModel {
        minute: Set(now_ms() / 60_000),
        user_id: Set(user),
        key_id: Set(key),
        provider: Set("first".to_owned()),
        model_group_id: Set(model_group),
        counted_in_user_global: Set(global.0),
        counted_in_key_global: Set(global.1),
        user_era: Set(0),
        key_era: Set(0),
        cost_nanos: Set(usd * 1_000_000_000),
        requests: Set(1),
    };
    usage_rollup_minute::Entity::insert(row).exec_without_returning(db).await.unwrap();
    // The longer sums follow, as they do when a migration first makes them.
    for step in m0003_longer_sums::steps() {
        step.run(&SchemaManager::new(db)).await.unwrap();
    }
}
