//! `/usage/summary`.

use entity::usage_ledger::Model;
use jiff::tz::TimeZone;
use sea_orm::{ConnectionTrait, DbBackend};
use serde_json::{Value, json};

use super::lists::plan;
use super::usage::{insert, row};
use crate::app::{App, NOW};

const DAY: i64 = 86_400_000;

fn brief(items: &Value, fields: &[&str]) -> Vec<Value> {
    let pick = |item: &Value| Value::Array(fields.iter().map(|field| item[field].clone()).collect());
    items.as_array().unwrap().iter().map(pick).collect()
}

pub async fn sums_agree_with_the_rows(app: App) {
    let second_attempt = Model { id: 2, attempt: 2, cost_nanos: 1, ..row(1) };
    insert(&app, vec![row(1), second_attempt, Model { user_id: 2, cost_nanos: 2_000_000_000, ..row(3) }]).await;
    let all = app.get("/usage/summary").await.ok(200);
    assert_eq!((&all["totalUsd"], &all["requests"]), (&json!(2.001_234_568), &json!(2)), "a request counts once");
    assert_eq!(
        all["tokens"],
        json!({"input": 3, "output": 6, "cacheRead": 9, "cacheWrite5m": 12, "cacheWrite1h": 15,
        "reasoning": 18, "inputAudio": 21, "outputAudio": 24, "inputImage": 27, "outputImage": 30})
    );
    assert_eq!((&all["items"], &all["truncated"]), (&json!([]), &json!(false)));
    let one = app.get("/usage/summary?userId=1&model=claude-sonnet-4-5").await.ok(200);
    assert_eq!((&one["totalUsd"], &one["requests"]), (&json!(0.001_234_568), &json!(1)));
}

pub async fn groups_by_any_two(app: App) {
    let rows = (1..=12).map(|id| Model {
        user_id: id % 2,
        key_id: id % 3,
        served_model: format!("m{}", id % 4),
        provider: format!("p{}", id % 2),
        model_group_id: (id % 3 == 0).then_some(9),
        settled_at: NOW - id * 600_000,
        cost_nanos: id * 1_000_000_000,
        ..row(id)
    });
    insert(&app, rows.collect()).await;
    let grouped = |by: &'static str| {
        let app = &app;
        async move { app.get(&format!("/usage/summary?groupBy={by}")).await.ok(200)["items"].clone() }
    };
    assert_eq!(
        brief(&grouped("userId").await, &["userId", "costUsd", "requests"]),
        [json!([0, 42, 6]), json!([1, 36, 6])]
    );
    assert_eq!(
        brief(&grouped("modelGroupId").await, &["modelGroupId", "costUsd"]),
        [json!([null, 48]), json!([9, 30])]
    );
    assert!(grouped("modelGroupId").await[0].as_object().unwrap().contains_key("modelGroupId"));
    assert!(!grouped("userId").await[0].as_object().unwrap().contains_key("modelGroupId"));
    let by_day = brief(&grouped("userId,provider,day").await, &["userId", "provider", "day", "costUsd"]);
    assert_eq!(by_day, [json!([0, "p0", "2026-09-21", 42]), json!([1, "p1", "2026-09-21", 36])]);
    let pairs = grouped("model,userId").await;
    assert_eq!(
        brief(&pairs, &["model", "userId", "costUsd"]),
        [json!(["m0", 0, 24]), json!(["m3", 1, 21]), json!(["m2", 0, 18]), json!(["m1", 1, 15])]
    );
    let hours = grouped("hour,provider").await;
    let total: f64 = brief(&hours, &["costUsd"]).iter().map(|cost| cost[0].as_f64().unwrap()).sum();
    assert!((total - 78.0).abs() < 1e-9);
    assert!(brief(&hours, &["hour"]).contains(&json!(["2026-09-21T14:00:00.000Z"])));
    for by in ["keyId,day", "day,hour", "provider,keyId", "hour", "model,modelGroupId", "hour,day"] {
        let items = grouped(by).await;
        for field in by.split(',') {
            assert!(items[0].get(field).is_some(), "{by}");
        }
        let cost: f64 = brief(&items, &["costUsd"]).iter().map(|cost| cost[0].as_f64().unwrap()).sum();
        assert!((cost - 78.0).abs() < 1e-9, "{by}");
    }
}

pub async fn days_are_those_of_the_time_zone(app: App) {
    // 2026-10-25 has 25 hours in Berlin: from 22:00Z the day before to 23:00Z.
    let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let rows = [
        (1, at("2026-10-24T21:59:59.999Z")),
        (2, at("2026-10-24T22:00:00Z")),
        (4, at("2026-10-25T22:59:59.999Z")),
        (8, at("2026-10-25T23:00:00Z")),
    ];
    insert(
        &app,
        rows.iter()
            .zip(1..)
            .map(|((cents, settled_at), id)| Model {
                settled_at: *settled_at,
                cost_nanos: cents * 1_000_000_000,
                ..row(id)
            })
            .collect(),
    )
    .await;
    let days = |zone: &'static str| {
        *app.zone.write() = TimeZone::get(zone).unwrap();
        let app = &app;
        async move {
            let items = app.get("/usage/summary?groupBy=day").await.ok(200)["items"].clone();
            let mut days = brief(&items, &["day", "costUsd"]);
            days.sort_by_key(|day| day[0].as_str().unwrap().to_owned());
            days
        }
    };
    assert_eq!(
        days("Europe/Berlin").await,
        [json!(["2026-10-24", 1]), json!(["2026-10-25", 6]), json!(["2026-10-26", 8])]
    );
    assert_eq!(days("UTC").await, [json!(["2026-10-24", 3]), json!(["2026-10-25", 12])]);
    assert_eq!(days("Asia/Kolkata").await, [json!(["2026-10-25", 3]), json!(["2026-10-26", 12])]);
    assert_eq!(days("America/New_York").await, [json!(["2026-10-24", 3]), json!(["2026-10-25", 12])]);
    let last = app.get("/usage/summary?groupBy=day&from=2026-10-25T23:00:00Z").await.ok(200);
    assert_eq!(last["totalUsd"], 8);
}

pub async fn h13_counted_chooses_the_budget(app: App) {
    let flags = [(true, true), (true, false), (false, true), (false, false)];
    let rows = flags.iter().zip(0..).map(|((user, key), bit)| Model {
        counted_in_user_global: *user,
        counted_in_key_global: *key,
        cost_nanos: (1 << bit) * 1_000_000_000,
        ..row(bit + 1)
    });
    insert(&app, rows.collect()).await;
    for (counted, usd) in [("all", 15), ("userGlobal", 3), ("keyGlobal", 5), ("group", 14)] {
        let sum = app.get(&format!("/usage/summary?counted={counted}&groupBy=userId")).await.ok(200);
        assert_eq!((&sum["totalUsd"], &sum["items"][0]["costUsd"]), (&json!(usd), &json!(usd)), "{counted}");
    }
}

pub async fn what_is_sealed_is_read_from_sums_by_index_and_not_from_the_ledger(app: App) {
    // Two weeks, one row a minute, by a hundred users with two keys each.
    let rows = (1..=20_000).map(|id| Model {
        settled_at: NOW / DAY * DAY - id * 60_000,
        user_id: id % 100,
        key_id: id % 200,
        served_model: format!("m{}", id % 3),
        cost_nanos: id * 1_000_000_000,
        ..row(id)
    });
    insert(&app, rows.collect()).await;
    *app.zone.write() = TimeZone::get("Asia/Kolkata").unwrap();
    let summaries = [
        ("from=2026-09-10T00:00:00Z&to=2026-09-11T00:15:00Z&groupBy=model,day", "usage_rollup_quarter_pkey", false),
        ("to=2026-09-21T00:00:00Z&userId=7&groupBy=keyId,model,hour", "usage_rollup_quarter_user_id", false),
        ("to=2026-09-21T00:00:00Z&keyId=7&outcome=completed&groupBy=day", "usage_rollup_quarter_key_id", false),
        ("from=2026-09-20T00:00:00.001Z&userId=7&to=2026-09-21T00:00:00Z", "usage_ledger_user_id", true),
        ("from=2026-09-20T00:00:00Z&userId=7&to=2026-09-20T00:16:00Z", "usage_ledger_user_id", true),
    ];
    let ask = async |query: &str| app.get(&format!("/usage/summary?{query}")).await.ok(200);
    let mut before = Vec::new();
    for (query, ..) in summaries {
        before.push(ask(query).await);
    }
    tollgate::ledger::quarters::roll_up(&app.db, NOW).await.unwrap();
    if app.db.get_database_backend() == DbBackend::Postgres {
        // It does so by itself, a little later.
        app.db.execute_unprepared("ANALYZE").await.unwrap();
    }
    for ((query, index, edges), before) in summaries.into_iter().zip(before) {
        app.record();
        assert_eq!(ask(query).await, before, "{query}");
        let sent = app.recorded();
        let sums: Vec<_> = sent.iter().filter(|sent| sent.sql.contains("usage_rollup_quarter")).collect();
        assert!((1..=2).contains(&sums.len()), "{sent:?}");
        assert_eq!(sent.iter().any(|sent| sent.sql.contains("usage_ledger")), edges, "{query}: {sent:?}");
        let mut plans = Vec::new();
        for statement in sums {
            plans.extend(plan(&app, statement).await);
        }
        // On SQLite the index of a primary key has another name.
        let index = match app.db.get_database_backend() {
            DbBackend::Sqlite => index.replace("usage_rollup_quarter_pkey", "sqlite_autoindex_usage_rollup_quarter_1"),
            _ => index.to_owned(),
        };
        assert!(plans.iter().any(|line| line.contains(&index)), "{query}: {}", plans.join("\n"));
        for table in ["usage_ledger", "usage_rollup_quarter"] {
            let whole = |line: &String| {
                line.contains(&format!("Seq Scan on {table} ")) || line.contains(&format!("SCAN {table}"))
            };
            assert!(!plans.iter().any(whole), "{query}: {}", plans.join("\n"));
        }
    }
}

pub async fn nothing_is_zero(app: App) {
    for query in ["", "?groupBy=day,hour", "?groupBy=day&from=2020-01-01T00:00:00Z"] {
        let sum = app.get(&format!("/usage/summary{query}")).await.ok(200);
        assert_eq!((&sum["totalUsd"], &sum["requests"], &sum["items"]), (&json!(0), &json!(0), &json!([])));
    }
    insert(&app, vec![Model { settled_at: NOW - 400 * DAY, ..row(1) }]).await;
    assert_eq!(app.get("/usage/summary?groupBy=day").await.ok(200)["items"][0]["day"], "2025-08-17");
}
