//! The main flow on PostgreSQL: the same code, another URL.

use serde_json::json;

use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;
use crate::support::dialects::cost_of_row;
use crate::support::gateway::{Setup, run};
use crate::support::{Api, Provider, Tokens, eventually};

const DIALECTS: [&str; 5] = ["anthropic", "openai_chat", "openai_responses", "openai_embeddings", "gemini"];

#[tokio::test(flavor = "multi_thread")]
async fn the_main_flow_runs_on_postgresql() {
    let postgres = Postgres::start();
    let provider = Provider::start().await;
    let setup = Setup::new([provider.entry("upstream", &DIALECTS)]).set("database.url", postgres.url("postgres"));
    let gateway = setup.start().await;
    let mut total = 0;
    for api in Api::ALL {
        for stream in [false, true] {
            if stream && api == Api::Embeddings {
                continue;
            }
            provider.then(if stream { api.stream() } else { api.answer() });
            let reply = gateway.ask(api, stream).await;
            assert_eq!(reply.head.status, 200, "{api:?}");
            let row = gateway.admin().row_of(reply.head.request_id()).await;
            assert_eq!((Tokens::of_row(&row), cost_of_row(&row)), (api.tokens(), api.tokens().cost()), "{api:?}");
            total += cost_of_row(&row);
        }
    }
    let summary = gateway.admin().get("/usage/summary?groupBy=model").await;
    assert_eq!((summary["totalUsd"].as_f64().unwrap() * 1e9).round() as i64, total);
    assert_eq!(summary["requests"], 9);
    Api::Chat.refuses(&gateway.ask_with("tg-wrong", Api::Chat, "test-model", false).await, 401, "invalid_api_key");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_share_users_prices_and_usage() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    let provider = Provider::start().await;
    let node = || {
        let setup = Setup::new([provider.entry("upstream", &DIALECTS)]).set("database.url", postgres.url("postgres"));
        setup.set("redis.url", redis.url())
    };
    // Both bring the database to its schema at the same moment.
    let (mut first, mut second) = (node().spawn(), node().spawn());
    first.ready().await;
    second.ready().await;
    first.admin().put("/prices/test-model", &crate::support::gateway::price()).await;
    let caller = first.admin().caller(json!({}), json!({})).await;
    provider.always(Api::Chat.answer());
    eventually("the other node knows key and price", async || {
        let reply = second.ask_with(&caller.secret, Api::Chat, "test-model", false).await;
        (reply.head.status == 200).then_some(())
    })
    .await;
    let rows = eventually("both see the row", async || {
        let (one, two) = (first.admin().usage().await, second.admin().usage().await);
        (one == two && !one.is_empty()).then_some(one)
    })
    .await;
    assert_eq!(rows[0]["userId"], caller.user_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn known_keys_are_served_while_the_database_is_away_and_their_rows_come_later() {
    let mut postgres = Postgres::start();
    let provider = Provider::start().await;
    provider.always(Api::Chat.answer());
    let setup = Setup::new([provider.entry("upstream", &DIALECTS)]).set("database.url", postgres.url("postgres"));
    let gateway = setup.start().await;
    assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200);
    postgres.stop();
    let mut ids = Vec::new();
    for _ in 0..10 {
        let reply = gateway.ask(Api::Chat, false).await;
        assert_eq!(reply.head.status, 200, "a known key costs no query");
        ids.push(reply.head.request_id().to_owned());
    }
    postgres.restart();
    for id in ids {
        eventually("the row comes later", async || {
            let (status, page) = gateway.admin().call(reqwest::Method::GET, "/usage?limit=100", None).await;
            let rows = page["items"].as_array()?;
            (status == 200 && rows.iter().any(|row| row["requestId"] == id)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_works_on_postgresql_and_may_be_repeated() {
    let postgres = Postgres::start();
    let setup = Setup::new([json!({
        "name": "x", "dialects": ["openai_chat"], "base_url": "http://127.0.0.1:9", "api_key": "k",
    })]);
    let file = setup.folder().join("own.yaml");
    std::fs::write(
        &file,
        json!({
            "database": {"url": postgres.url("postgres")}, "node": {"data_dir": setup.folder().join("data")},
        })
        .to_string(),
    )
    .unwrap();
    for _ in 0..2 {
        let output = run(&["migrate", "-c", file.to_str().unwrap()], &[], setup.folder());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
