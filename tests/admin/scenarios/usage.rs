//! `/usage`, `/requests/{requestId}`, `/me/usage`.

use axum::body::Body;
use entity::{applied_prices, message_request, usage_ledger};
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel};
use serde_json::{Value, json};

use super::lists::all;
use crate::app::{App, NOW, TOKEN};

/// A row of the ledger.
pub fn row(id: i64) -> usage_ledger::Model {
    usage_ledger::Model {
        id,
        request_id: format!("01890000-0000-7000-8000-{id:012}"),
        attempt: 1,
        created_at: NOW - 1500,
        settled_at: NOW,
        user_id: 1,
        key_id: 1,
        provider: "anthropic".to_owned(),
        dialect: "anthropic".to_owned(),
        requested_model: "claude-sonnet".to_owned(),
        served_model: "claude-sonnet-4-5".to_owned(),
        model_group_id: None,
        outcome: "completed".to_owned(),
        estimated: false,
        status: 200,
        duration_ms: 1500,
        first_byte_ms: Some(300),
        input_tokens: 1,
        output_tokens: 2,
        cache_read_tokens: 3,
        cache_write_5m_tokens: 4,
        cache_write_1h_tokens: 5,
        reasoning_tokens: 6,
        input_audio_tokens: 7,
        output_audio_tokens: 8,
        input_image_tokens: 9,
        output_image_tokens: 10,
        web_searches: 0,
        service_tier: "standard".to_owned(),
        cost_nanos: 1_234_567,
        counted_in_user_global: true,
        counted_in_key_global: true,
        user_era: 0,
        key_era: 0,
        price_id: None,
    }
}

/// Puts rows into the ledger.
pub async fn insert(app: &App, rows: Vec<usage_ledger::Model>) {
    for batch in rows.chunks(500) {
        let rows = batch.iter().cloned().map(|row| row.into_active_model().reset_all());
        usage_ledger::Entity::insert_many(rows).exec_without_returning(&app.db).await.unwrap();
    }
}

fn id(item: &Value) -> i64 {
    item["requestId"].as_str().unwrap()[24..].parse().unwrap()
}

fn ids(page: &Value) -> Vec<i64> {
    page["items"].as_array().unwrap().iter().map(id).collect()
}

const OUTCOMES: [&str; 6] = ["completed", "client_aborted", "upstream_failed", "interrupted", "lost_race", "corrected"];

/// Rows that differ in everything that can be filtered.
fn mixed(count: i64) -> Vec<usage_ledger::Model> {
    (1..=count)
        .map(|id| usage_ledger::Model {
            // Many are settled in the same millisecond, and not in the order of their ids.
            settled_at: NOW - (id * 7 % 11) * 1000,
            user_id: 1 + id % 3,
            key_id: 1 + id % 5,
            provider: ["anthropic", "openai"][usize::try_from(id % 2).unwrap()].to_owned(),
            served_model: ["a", "b/c", "d%"][usize::try_from(id % 3).unwrap()].to_owned(),
            model_group_id: (id % 4 != 0).then_some(id % 4),
            outcome: OUTCOMES[usize::try_from(id).unwrap() % OUTCOMES.len()].to_owned(),
            cost_nanos: id * 1_000_003,
            counted_in_user_global: id % 2 == 0,
            counted_in_key_global: id % 3 == 0,
            ..row(id)
        })
        .collect()
}

pub async fn rows_come_newest_first_with_every_field(app: App) {
    insert(&app, vec![row(1), usage_ledger::Model { settled_at: NOW + 1, ..row(2) }, row(3)]).await;
    let page = app.get("/usage").await.ok(200);
    assert_eq!(ids(&page), [2, 3, 1]);
    assert_eq!(
        page["items"][2],
        json!({
            "requestId": "01890000-0000-7000-8000-000000000001", "attempt": 1, "createdAt": "2026-09-21T14:13:18.500Z",
            "settledAt": "2026-09-21T14:13:20.000Z", "userId": 1, "keyId": 1, "provider": "anthropic", "dialect": "anthropic",
            "requestedModel": "claude-sonnet", "servedModel": "claude-sonnet-4-5", "modelGroupId": null,
            "outcome": "completed", "estimated": false, "status": 200, "durationMs": 1500, "firstByteMs": 300,
            "tokens": {"input": 1, "output": 2, "cacheRead": 3, "cacheWrite5m": 4, "cacheWrite1h": 5, "reasoning": 6,
                "inputAudio": 7, "outputAudio": 8, "inputImage": 9, "outputImage": 10},
            "costUsd": 0.001_234_567, "countedInUserGlobal": true, "countedInKeyGlobal": true,
        })
    );
}

pub async fn filters_and_pages_agree_with_a_scan(app: App) {
    let rows = mixed(120);
    insert(&app, rows.clone()).await;
    type Keep = fn(&usage_ledger::Model) -> bool;
    let filters: [(&str, Keep); 12] = [
        ("", |_| true),
        ("userId=2", |row| row.user_id == 2),
        ("keyId=3", |row| row.key_id == 3),
        ("provider=openai", |row| row.provider == "openai"),
        ("model=b/c", |row| row.served_model == "b/c"),
        ("model=d%25", |row| row.served_model == "d%"),
        ("modelGroupId=2&outcome=upstream_failed", |row| {
            row.model_group_id == Some(2) && row.outcome == "upstream_failed"
        }),
        ("outcome=lost_race", |row| row.outcome == "lost_race"),
        ("outcome=corrected&provider=openai", |row| row.outcome == "corrected" && row.provider == "openai"),
        ("from=2026-09-21T14:13:15Z&to=2026-09-21T16:13:18%2B02:00", |row| {
            (NOW - 5000..NOW - 2000).contains(&row.settled_at)
        }),
        ("userId=1&keyId=1&provider=anthropic", |row| {
            row.user_id == 1 && row.key_id == 1 && row.provider == "anthropic"
        }),
        ("model=%25", |_| false),
    ];
    for (filter, keep) in filters {
        let mut expected: Vec<_> = rows.iter().filter(|row| keep(row)).map(|row| (row.settled_at, row.id)).collect();
        expected.sort_unstable_by(|a, b| b.cmp(a));
        let mut expected: Vec<_> = expected.into_iter().map(|(_, id)| id).collect();
        assert_eq!(expected.is_empty(), filter == "model=%25", "{filter}");
        for sort in ["", "&sort=-settledAt", "&sort=settledAt"] {
            let path = format!("/usage?{filter}{sort}").replace("?&", "?");
            if sort == "&sort=settledAt" {
                expected.reverse();
            }
            let found: Vec<_> = all(&app, &path, 7).await.iter().map(id).collect();
            assert_eq!(found, expected, "{path}");
        }
    }
}

pub async fn csv_and_json_lines_hold_everything(app: App) {
    let mut rows = mixed(30);
    rows[0].requested_model = "=HYPERLINK(\"http://x\"),\n".to_owned();
    rows[0].first_byte_ms = None;
    insert(&app, rows).await;
    let json = app.get("/usage?limit=100").await.ok(200);
    let lines = app.call("GET", "/usage", TOKEN, &[("accept", "application/x-ndjson")], Body::empty()).await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    let parsed: Vec<Value> = lines.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(&parsed, json["items"].as_array().unwrap());

    let csv =
        app.call("GET", "/usage", TOKEN, &[("accept", "text/html, text/csv;q=0.9, */*;q=0.1")], Body::empty()).await;
    assert!(csv.header("content-type").starts_with("text/csv"));
    let (head, rest) = csv.body.split_once("\r\n").unwrap();
    let columns = head.split(',').count();
    assert_eq!(columns, 29);
    assert_eq!(rest.matches("\r\n").count(), 30);
    assert!(rest.contains("\"'=HYPERLINK(\"\"http://x\"\"),\n\""), "{rest}");
    for (line, item) in
        rest.split("\r\n").zip(json["items"].as_array().unwrap()).filter(|(line, _)| !line.contains('"'))
    {
        let cells: Vec<_> = line.split(',').collect();
        assert_eq!(cells.len(), columns);
        assert_eq!(cells[0], item["requestId"]);
        assert_eq!(cells[3], item["settledAt"]);
        assert_eq!(cells[26], item["costUsd"].to_string());
        assert_eq!(cells[27], item["countedInUserGlobal"].to_string());
    }
    let few = app.call("GET", "/usage?limit=4&userId=2", TOKEN, &[("accept", "text/csv")], Body::empty()).await;
    assert_eq!(few.body.matches("\r\n").count(), 5);
    for accept in ["application/json", "*/*", "image/png", "text/csv;q=0", "text/csv;q=0.5, application/json"] {
        let answer = app.call("GET", "/usage", TOKEN, &[("accept", accept)], Body::empty()).await;
        assert_eq!(answer.header("content-type"), "application/json", "{accept}");
    }
    let oldest =
        app.call("GET", "/usage?sort=settledAt", TOKEN, &[("accept", "application/x-ndjson")], Body::empty()).await;
    let mut oldest: Vec<Value> = oldest.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    oldest.reverse();
    assert_eq!(oldest, parsed, "an export comes in the same order");
    let wrong = app.call("GET", "/usage?sort=userId", TOKEN, &[("accept", "text/csv")], Body::empty()).await;
    wrong.invalid(&["sort"]);
    let wrong = app.call("GET", "/usage?limit=0", TOKEN, &[("accept", "text/csv")], Body::empty()).await;
    wrong.invalid(&["limit"]);
}

pub async fn many_rows_are_streamed_in_batches(app: App) {
    insert(&app, (1..=1501).map(|id| usage_ledger::Model { settled_at: NOW - id / 700, ..row(id) }).collect()).await;
    let lines = app.call("GET", "/usage", TOKEN, &[("accept", "application/x-ndjson")], Body::empty()).await;
    let ids: std::collections::BTreeSet<_> = lines
        .body
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["requestId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((lines.body.lines().count(), ids.len()), (1501, 1501));
    let path = "/usage?sort=settledAt";
    let oldest = app.call("GET", path, TOKEN, &[("accept", "application/x-ndjson")], Body::empty()).await;
    assert!(oldest.body.lines().rev().eq(lines.body.lines()), "the same, from the other end");
    let none = app.call("GET", "/usage?userId=99", TOKEN, &[("accept", "application/x-ndjson")], Body::empty()).await;
    assert_eq!((none.status.as_u16(), none.body.as_str()), (200, ""));
}

pub async fn costs_are_exact(app: App) {
    let costs =
        [(1, "0.000000001"), (0, "0"), (123_456_789, "0.123456789"), (9_000_000_123_456_789, "9000000.123456789")];
    let rows =
        costs.iter().zip(1..).map(|((cost_nanos, _), id)| usage_ledger::Model { cost_nanos: *cost_nanos, ..row(id) });
    insert(&app, rows.collect()).await;
    let body = app.get("/usage").await.body;
    for (_, text) in costs {
        assert!(body.contains(&format!("\"costUsd\":{text},")), "{text}: {body}");
    }
    let total = app.get("/usage/summary").await.body;
    assert!(total.contains("\"totalUsd\":9000000.246913579,"), "{total}");
}

pub async fn one_request_is_shown_whole(app: App) {
    let of_group = usage_ledger::Model { model_group_id: Some(9), counted_in_user_global: false, ..row(3) };
    let kept = usage_ledger::Model { price_id: Some(7), ..of_group };
    insert(&app, vec![row(1), usage_ledger::Model { id: 2, attempt: 2, ..row(1) }, kept]).await;
    let price = applied_prices::ActiveModel {
        id: Set(7),
        hash: Set("seven".to_owned()),
        json: Set(r#"{"inputUsdPerMillion":7.000000001}"#.to_owned()),
    };
    price.insert(&app.db).await.unwrap();
    let detail = message_request::Model {
        request_id: row(1).request_id,
        created_at: NOW,
        stream: true,
        request_bytes: 10,
        response_bytes: 20,
        attempts: r#"[{"provider":"a","servedModel":"m","startedMs":0,"durationMs":5,"status":null,"reason":"connect_failed"}]"#.to_owned(),
        price: Some(r#"{"inputUsdPerMillion":3.000000001}"#.to_owned()),
    };
    detail.into_active_model().reset_all().insert(&app.db).await.unwrap();
    let path = format!("/requests/{}", row(1).request_id);
    let shown = app.get(&path).await;
    assert!(shown.body.contains("3.000000001"));
    let shown = shown.ok(200);
    assert_eq!(shown["costUsd"], json!(0.002_469_134));
    assert_eq!(shown["charges"].as_array().unwrap().iter().map(|c| c["attempt"].clone()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(shown["detail"]["attempts"][0]["reason"], "connect_failed");
    assert_eq!(shown["detail"]["stream"], true);
    assert_eq!(app.get(&path.to_uppercase().replace("/REQUESTS", "/requests")).await.ok(200), shown);
    let pruned = app.get(&format!("/requests/{}", row(3).request_id)).await.ok(200);
    let of = |axis: &str, owner: Value, group: Value| json!({"axis": axis, "ownerId": owner, "modelGroupId": group});
    let charged = [
        of("provider", Value::Null, Value::Null),
        of("user", json!(row(3).user_id), json!(9)),
        of("key", json!(row(3).key_id), Value::Null),
    ];
    assert_eq!(pruned["charges"][0]["budgets"], json!(charged));
    assert_eq!((&pruned["detail"], &pruned["charges"][0]["requestId"]), (&Value::Null, &json!(row(3).request_id)));
    assert_eq!(pruned["charges"][0]["price"], json!({"inputUsdPerMillion": 7.000_000_001}), "kept with the charge");
    assert_eq!(shown["charges"][1]["price"], shown["detail"]["price"], "of a row that names none");
    app.get("/requests/01890000-0000-7000-8000-000000000009").await.problem(404, "not_found");
    app.get("/requests/x").await.invalid(&["requestId"]);
    app.get("/requests/018900000000700080000000000000019").await.invalid(&["requestId"]);
}

pub async fn a_key_sees_only_its_user(app: App) {
    let (ada, grace) = (app.user("ada").await, app.user("grace").await);
    let (_, secret) = app.key(ada).await;
    insert(
        &app,
        vec![
            usage_ledger::Model { user_id: ada, ..row(1) },
            usage_ledger::Model { user_id: grace, key_id: 77, ..row(2) },
            usage_ledger::Model { user_id: ada, key_id: 78, ..row(3) },
        ],
    )
    .await;
    let mine = |query: &'static str| {
        let (app, secret) = (&app, &secret);
        async move { app.call("GET", &format!("/me/usage{query}"), secret, &[], Body::empty()).await }
    };
    assert_eq!(ids(&mine("").await.ok(200)), [3, 1]);
    assert_eq!(ids(&mine("?keyId=78").await.ok(200)), [3]);
    assert_eq!(ids(&mine("?keyId=77").await.ok(200)), [0_i64; 0]);
    mine("?userId=2").await.invalid(&["userId"]);
    // A cursor of the administrator's list takes nobody out of his own rows.
    let cursor = app.get("/usage?limit=1").await.ok(200)["pageInfo"]["nextCursor"].as_str().unwrap().to_owned();
    let page = app.call("GET", &format!("/me/usage?cursor={cursor}"), &secret, &[], Body::empty()).await.ok(200);
    assert_eq!(ids(&page), [1]);
    for path in ["/usage", "/users", "/requests/01890000-0000-7000-8000-000000000001", "/settings"] {
        app.call("GET", path, &secret, &[], Body::empty()).await.problem(401, "unauthorized");
    }
}
