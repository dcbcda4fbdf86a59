//! Whoever reads much of what was spent waits for others who do, and keeps nobody else from the database.

use std::time::Duration;

use reqwest::Method;
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::json;

use crate::servers::postgres::Postgres;
use crate::support::books::database;
use crate::support::gateway::{ADMIN_TOKEN, MODEL, Setup};
use crate::support::{Admin, Api, Provider, client, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn crowds_that_read_what_was_spent_keep_nobody_else_from_the_database() {
    let (postgres, provider) = (Postgres::start(), Provider::start().await);
    provider.always(Api::Chat.answer());
    let setup =
        Setup::new([provider.entry("upstream", &["openai_chat"])]).set("database.url", postgres.url("postgres"));
    let gateway = setup.start().await;
    let admin = gateway.admin().clone();
    let db = database(&gateway).await;
    // As if every reading of the ledger took long.
    let slow = db.begin().await.unwrap();
    slow.execute_unprepared("LOCK TABLE usage_ledger IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let read = |token: &str, path: &str| {
        let url = format!("{}/api/v1{path}", admin.base());
        let request = client().get(url).bearer_auth(token);
        tokio::spawn(async move { request.send().await })
    };
    let mut crowd = Vec::new();
    for n in 0..30 {
        crowd.push(read(gateway.key(), &format!("/me/usage?limit={}", n + 1)));
    }
    let own = Admin::new(admin.base(), gateway.key());
    // Those who read about themselves wait for each other only.
    assert_eq!(own.call(Method::GET, "/me", None).await.0, 200);
    assert_eq!(admin.call(Method::GET, "/refusals", None).await.0, 200);
    assert_eq!(admin.call(Method::GET, "/audit-logs", None).await.0, 200);
    for n in 0..30 {
        crowd.push(read(ADMIN_TOKEN, &format!("/usage?limit={}", n + 1)));
        crowd.push(read(ADMIN_TOKEN, "/usage/summary?groupBy=model,provider"));
    }
    let waiting = async || {
        let sql = "SELECT COUNT(*) AS n FROM pg_locks WHERE NOT granted AND relation = 'usage_ledger'::regclass";
        let row = db
            .query_one_raw(sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, sql))
            .await
            .unwrap()
            .unwrap();
        row.try_get::<i64>("", "n").unwrap()
    };
    eventually("both crowds wait", async || (waiting().await >= 6).then_some(())).await;
    for _ in 0..5 {
        // Nobody knows them yet.
        let caller = admin.caller(json!({}), json!({})).await;
        assert_eq!(gateway.ask_with(&caller.secret, Api::Chat, MODEL, false).await.head.status, 200);
        admin.patch(&format!("/users/{}", caller.user_id), &json!({"note": "changed"})).await;
        assert!(waiting().await <= 10, "of all connections these wait: {}", waiting().await);
    }
    slow.rollback().await.unwrap();
    let mut statuses = Vec::new();
    for reading in crowd {
        let answer = tokio::time::timeout(Duration::from_secs(30), reading).await.unwrap().unwrap().unwrap();
        statuses.push(answer.status().as_u16());
    }
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    assert_eq!(admin.call(Method::GET, "/usage", None).await.0, 200);
}
