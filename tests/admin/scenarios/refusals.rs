//! `/refusals`, and `/requests/{requestId}` of what was refused.

use axum::body::Body;
use entity::{refusals, usage_ledger};
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel};
use serde_json::{Value, json};

use super::lists::all;
use super::usage;
use crate::app::{App, NOW, TOKEN};
use crate::support::refusals::bare;

/// A refusal.
fn row(id: i64) -> refusals::Model {
    refusals::Model {
        id,
        request_id: format!("01890000-0000-7000-9000-{id:012}"),
        created_at: NOW,
        user_id: 1,
        key_id: 2,
        model: Some("claude-sonnet".to_owned()),
        dialect: Some("anthropic".to_owned()),
        status: 402,
        code: "budget_exceeded".to_owned(),
        message: "the daily budget of this user cannot pay for this request".to_owned(),
        axis: Some("user".to_owned()),
        scope: Some("opus".to_owned()),
        window: Some("daily".to_owned()),
        limit_nanos: Some(5_000_000_123_456_789),
        used_nanos: Some(1),
        reserved_nanos: Some(0),
        requested_nanos: Some(50_000_000),
        repeated: 7,
        details: Some(r#"{"axis":"user","boostUsd":0}"#.to_owned()),
        excluded: r#"[{"provider":"far","servedModel":"claude-sonnet","reason":"provider_group"}]"#.to_owned(),
        excluded_more: 2,
        attempts: r#"[{"provider":"a","servedModel":"m","startedMs":0,"durationMs":5,"status":null,"reason":"connect_failed"}]"#.to_owned(),
    }
}

/// One that has nothing to do with a budget.
fn unlimited(id: i64) -> refusals::Model {
    let row = row(id);
    refusals::Model { created_at: NOW, key_id: 2, message: row.message, ..bare(id, row.request_id) }
}

async fn insert(app: &App, rows: Vec<refusals::Model>) {
    let rows = rows.into_iter().map(|row| row.into_active_model().reset_all());
    refusals::Entity::insert_many(rows).exec_without_returning(&app.db).await.unwrap();
}

fn id(item: &Value) -> i64 {
    item["requestId"].as_str().unwrap()[24..].parse().unwrap()
}

fn ids(page: &Value) -> Vec<i64> {
    page["items"].as_array().unwrap().iter().map(id).collect()
}

pub async fn refusals_come_newest_first_with_every_field(app: App) {
    insert(&app, vec![row(1), refusals::Model { created_at: NOW + 1, ..unlimited(2) }, row(3)]).await;
    let answer = app.get("/refusals").await;
    assert!(answer.body.contains("\"limitUsd\":5000000.123456789,"), "exact: {}", answer.body);
    let page = answer.ok(200);
    assert_eq!(ids(&page), [2, 3, 1]);
    assert_eq!(
        page["items"][2],
        json!({
            "requestId": "01890000-0000-7000-9000-000000000001", "createdAt": "2026-09-21T14:13:20.000Z", "userId": 1,
            "keyId": 2, "model": "claude-sonnet", "dialect": "anthropic", "status": 402, "code": "budget_exceeded",
            "message": "the daily budget of this user cannot pay for this request", "axis": "user", "scope": "opus",
            "window": "daily", "limitUsd": 5_000_000.123_456_789, "usedUsd": 0.000_000_001, "reservedUsd": 0,
            "requestedUsd": 0.05, "repeated": 7,
        })
    );
    for field in ["model", "dialect", "axis", "scope", "window", "limitUsd", "usedUsd", "reservedUsd", "requestedUsd"] {
        assert_eq!(page["items"][0].get(field), Some(&Value::Null), "{field}");
    }
}

pub async fn filters_and_pages_of_refusals_agree_with_a_scan(app: App) {
    let rows: Vec<_> = (1..=90_usize)
        .map(|n| {
            let id = i64::try_from(n).unwrap();
            let base = if n % 6 == 0 { unlimited(id) } else { row(id) };
            refusals::Model {
                created_at: NOW - (id * 7 % 11) * 1_000,
                user_id: 1 + id % 3,
                key_id: 1 + id % 5,
                model: base.model.as_ref().map(|_| ["a", "b/c", "d%"][n % 3].to_owned()),
                axis: base.axis.as_ref().map(|_| ["key", "user"][n % 2].to_owned()),
                scope: base.scope.as_ref().map(|_| ["mainline", "opus"][n % 2].to_owned()),
                window: base.window.as_ref().map(|_| ["daily", "rpm", "5h"][n % 3].to_owned()),
                ..base
            }
        })
        .collect();
    insert(&app, rows.clone()).await;
    type Keep = fn(&refusals::Model) -> bool;
    let filters: [(&str, Keep); 10] = [
        ("", |_| true),
        ("userId=2", |row| row.user_id == 2),
        ("keyId=3", |row| row.key_id == 3),
        ("model=b/c", |row| row.model.as_deref() == Some("b/c")),
        ("code=not_found", |row| row.code == "not_found"),
        ("axis=key", |row| row.axis.as_deref() == Some("key")),
        ("scope=opus&userId=1", |row| row.scope.as_deref() == Some("opus") && row.user_id == 1),
        ("window=rpm", |row| row.window.as_deref() == Some("rpm")),
        ("from=2026-09-21T14:13:15Z&to=2026-09-21T16:13:18%2B02:00", |row| {
            (NOW - 5_000..NOW - 2_000).contains(&row.created_at)
        }),
        ("model=%25", |_| false),
    ];
    for (filter, keep) in filters {
        let mut expected: Vec<_> = rows.iter().filter(|row| keep(row)).map(|row| (row.created_at, row.id)).collect();
        expected.sort_unstable_by(|a, b| b.cmp(a));
        let mut expected: Vec<_> = expected.into_iter().map(|(_, id)| id).collect();
        for sort in ["", "&sort=-createdAt", "&sort=createdAt"] {
            let path = format!("/refusals?{filter}{sort}").replace("?&", "?");
            if sort == "&sort=createdAt" {
                expected.reverse();
            }
            let found: Vec<_> = all(&app, &path, 7).await.iter().map(id).collect();
            assert_eq!(found, expected, "{path}");
        }
    }
    app.get("/refusals?userId=0&code=nonsense&axis=provider&window=yearly&from=x&sort=settledAt&provider=p")
        .await
        .invalid(&["userId", "code", "axis", "window", "from", "sort", "provider"]);
    let cursor = app.get("/refusals?limit=1").await.ok(200)["pageInfo"]["nextCursor"].as_str().unwrap().to_owned();
    app.get(&format!("/usage?cursor={cursor}")).await.invalid(&["cursor"]);
}

pub async fn refusals_are_exported_whole(app: App) {
    let formula = refusals::Model { model: Some("=cmd()".to_owned()), ..row(2) };
    insert(&app, vec![row(1), formula, unlimited(3)]).await;
    let json = app.get("/refusals").await.ok(200);
    let lines = app.call("GET", "/refusals", TOKEN, &[("accept", "application/x-ndjson")], Body::empty()).await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    let parsed: Vec<Value> = lines.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(&parsed, json["items"].as_array().unwrap());
    let oldest = "/refusals?sort=createdAt&limit=2";
    let lines = app.call("GET", oldest, TOKEN, &[("accept", "application/x-ndjson")], Body::empty()).await;
    let oldest: Vec<i64> = lines.body.lines().map(|line| id(&serde_json::from_str(line).unwrap())).collect();
    assert_eq!(oldest, [1, 2], "an export comes in the same order");
    let csv = app.call("GET", "/refusals", TOKEN, &[("accept", "text/csv")], Body::empty()).await;
    let lines: Vec<_> = csv.body.split_terminator("\r\n").map(|line| line.split(',').collect::<Vec<_>>()).collect();
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|cells| cells.len() == 17), "{lines:?}");
    for (cells, item) in lines[1..].iter().zip(json["items"].as_array().unwrap()) {
        assert_eq!((cells[0], cells[1]), (item["requestId"].as_str().unwrap(), item["createdAt"].as_str().unwrap()));
        assert_eq!(cells[16], item["repeated"].to_string());
    }
    assert_eq!((lines[2][4], lines[3][12], lines[1][12]), ("\"'=cmd()\"", "5000000.123456789", ""));
}

pub async fn a_refused_request_is_shown_with_who_could_not_be_asked_and_who_was(app: App) {
    insert(&app, vec![row(1), unlimited(2)]).await;
    let shown = app.get(&format!("/requests/{}", row(1).request_id)).await.ok(200);
    assert_eq!((&shown["requestId"], &shown["costUsd"]), (&json!(row(1).request_id), &json!(0)));
    assert_eq!((&shown["charges"], &shown["detail"]), (&json!([]), &Value::Null));
    let mut refusal = shown["refusal"].clone();
    let listed = app.get("/refusals").await.ok(200)["items"][1].clone();
    for (field, value) in listed.as_object().unwrap() {
        assert_eq!(&refusal.as_object_mut().unwrap().remove(field).unwrap(), value, "{field}");
    }
    assert_eq!(
        refusal,
        json!({
            "details": {"axis": "user", "boostUsd": 0},
            "excluded": [{"provider": "far", "servedModel": "claude-sonnet", "reason": "provider_group"}],
            "excludedMore": 2,
            "attempts": [{"provider": "a", "servedModel": "m", "startedMs": 0, "durationMs": 5, "status": null,
                "reason": "connect_failed", "affinity": false}],
        })
    );
    let bare = app.get(&format!("/requests/{}", row(2).request_id)).await.ok(200);
    assert_eq!(
        (&bare["refusal"]["details"], &bare["refusal"]["excluded"], &bare["refusal"]["attempts"]),
        (&Value::Null, &json!([]), &json!([]))
    );
}

pub async fn h22_refusals_are_in_no_sum_and_charges_are_not_refused(app: App) {
    // A race was lost, and paid for, before a budget refused: one request, both.
    let charged = usage_ledger::Model { outcome: "lost_race".to_owned(), ..usage::row(1) };
    usage::insert(&app, vec![charged, usage::row(2)]).await;
    let both = refusals::Model { request_id: usage::row(1).request_id, ..row(1) };
    insert(&app, vec![both, row(2), row(3)]).await;
    assert_eq!(app.get("/usage").await.ok(200)["items"].as_array().unwrap().len(), 2);
    let summary = app.get("/usage/summary").await.ok(200);
    assert_eq!((&summary["requests"], &summary["totalUsd"]), (&json!(2), &json!(0.002_469_134)));
    let shown = app.get(&format!("/requests/{}", usage::row(1).request_id)).await.ok(200);
    assert_eq!(
        (&shown["charges"][0]["outcome"], &shown["refusal"]["code"]),
        (&json!("lost_race"), &json!("budget_exceeded"))
    );
    let settled = app.get(&format!("/requests/{}", usage::row(2).request_id)).await.ok(200);
    assert_eq!(settled["refusal"], Value::Null);
}

pub async fn a_viewer_may_see_refusals_and_a_key_may_not(app: App) {
    insert(&app, vec![row(1)]).await;
    let viewer = app.post("/admin-tokens", json!({"name": "v", "role": "viewer"})).await.ok(201);
    let viewer = viewer["secret"].as_str().unwrap().to_owned();
    let user = app.user("ada").await;
    let (_, key) = app.key(user).await;
    for path in ["/refusals".to_owned(), format!("/requests/{}", row(1).request_id)] {
        app.call("GET", &path, &viewer, &[], Body::empty()).await.ok(200);
        app.call("GET", &path, &key, &[], Body::empty()).await.problem(401, "unauthorized");
    }
}
