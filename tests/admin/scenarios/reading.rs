//! Audit log, providers, settings, `/me`.

use std::sync::atomic::Ordering;

use axum::body::Body;
use serde_json::{Value, json};

use super::lists::all;
use crate::app::{App, NOW, TOKEN};
use crate::node;

pub async fn the_audit_log_names_every_write_without_secrets(app: App) {
    let user = app.user("ada").await;
    let (key, secret) = app.key(user).await;
    app.clock.store(NOW + 60_000, Ordering::SeqCst);
    app.patch(&format!("/users/{user}"), json!({"rpm": 5})).await.ok(200);
    app.post(&format!("/keys/{key}:rotate"), json!({})).await.ok(200);
    let token = app.post("/admin-tokens", json!({"name": "t", "role": "viewer"})).await.ok(201);
    app.json("PUT", "/prices/m", &[], &json!({"requestUsd": 1})).await.ok(201);
    app.delete(&format!("/keys/{key}")).await.ok(204);
    app.delete(&format!("/users/{user}")).await.ok(204);
    let log = app.get("/audit-logs").await;
    for secret in [&secret, token["secret"].as_str().unwrap(), TOKEN] {
        assert!(!log.body.contains(secret));
    }
    let log = log.ok(200);
    let items = log["items"].as_array().unwrap();
    let brief: Vec<_> =
        items.iter().map(|item| format!("{} {}", item["action"], item["objectType"]).replace('"', "")).collect();
    assert_eq!(
        brief,
        [
            "delete user",
            "delete key",
            "create price",
            "create admin_token",
            "rotate key",
            "update user",
            "create key",
            "create user"
        ]
    );
    let update = &items[5];
    assert_eq!((&update["before"]["rpm"], &update["after"]["rpm"]), (&Value::Null, &json!(5)));
    assert_eq!((&update["objectId"], &update["at"]), (&json!(user.to_string()), &json!("2026-09-21T14:14:20.000Z")));
    assert_eq!((&items[7]["before"], &items[0]["after"]), (&Value::Null, &Value::Null));
    let early = app.get("/audit-logs?to=2026-09-21T14:14:20Z").await.ok(200);
    assert_eq!(early["items"].as_array().unwrap().len(), 2);
    let page = app.get("/audit-logs?limit=3").await.ok(200);
    let next = page["pageInfo"]["nextCursor"].as_str().unwrap();
    assert_eq!(
        app.get(&format!("/audit-logs?limit=100&cursor={next}")).await.ok(200)["items"].as_array().unwrap()[..],
        items[3..]
    );
    app.call("DELETE", "/audit-logs", TOKEN, &[], Body::empty()).await.problem(405, "method_not_allowed");
    let answer = app.patch(&format!("/users/{}", app.user("grace").await), json!({"rpm": 6})).await;
    let latest = app.get("/audit-logs?limit=1").await.ok(200)["items"][0].clone();
    assert_eq!(latest["requestId"], json!(answer.header("x-tollgate-request-id")), "{latest}");
    assert!(items.iter().all(|item| item["requestId"].as_str().is_some_and(|id| id.len() == 36)));
}

pub async fn the_audit_log_is_filtered_by_who_did_what_to_what(app: App) {
    let token = app.post("/admin-tokens", json!({"name": "a token", "role": "admin"})).await.ok(201);
    let (ada, grace) = (app.user("ada").await, app.user("grace").await);
    let (key, _) = app.key(ada).await;
    app.clock.store(NOW + 60_000, Ordering::SeqCst);
    app.patch(&format!("/users/{ada}"), json!({"rpm": 5})).await.ok(200);
    app.put("/prices/a%2Fb", json!({"requestUsd": 1})).await.ok(201);
    let path = format!("/users/{grace}");
    app.call("DELETE", &path, token["secret"].as_str().unwrap(), &[], Body::empty()).await.ok(204);
    let everything = all(&app, "/audit-logs", 100).await;
    assert_eq!(everything.len(), 7);
    let is = |entry: &Value, field: &str, value: &str| entry[field] == *value;
    let (ada, key) = (ada.to_string(), key.to_string());
    for (filter, fields) in [
        ("actor=a%20token".to_owned(), vec![("actor", "a token")]),
        ("actor=TOLLGATE_ADMIN_TOKEN".to_owned(), vec![("actor", "TOLLGATE_ADMIN_TOKEN")]),
        ("action=create".to_owned(), vec![("action", "create")]),
        ("objectType=user".to_owned(), vec![("objectType", "user")]),
        (format!("objectId={key}"), vec![("objectId", key.as_str())]),
        ("objectId=a/b".to_owned(), vec![("objectId", "a/b")]),
        (format!("objectType=user&objectId={ada}"), vec![("objectType", "user"), ("objectId", ada.as_str())]),
        (
            "actor=a%20token&action=delete&objectType=user".to_owned(),
            vec![("actor", "a token"), ("action", "delete"), ("objectType", "user")],
        ),
    ] {
        let mut expected = everything.clone();
        expected.retain(|entry| fields.iter().all(|(field, value)| is(entry, field, value)));
        assert!((1..7).contains(&expected.len()), "{filter}: some, and not all");
        assert_eq!(all(&app, &format!("/audit-logs?{filter}"), 2).await, expected, "{filter}");
        assert_eq!(all(&app, &format!("/audit-logs?{filter}&sort=-at"), 100).await, expected, "{filter}");
        expected.reverse();
        assert_eq!(all(&app, &format!("/audit-logs?{filter}&sort=at"), 1).await, expected, "{filter}");
    }
    let late = all(&app, "/audit-logs?objectType=user&from=2026-09-21T14:14:20Z", 1).await;
    let late: Vec<_> = late.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(late, ["delete", "update"]);
    for nobody in ["actor=A%20token", "actor=a", "action=drop", "objectType=users", "objectId=999999", "objectId=%25"] {
        assert_eq!(all(&app, &format!("/audit-logs?{nobody}"), 2).await, [Value::Null; 0], "{nobody}");
    }
    app.get("/audit-logs?actor=&action=a%00&objectType=%09&objectId=").await.invalid(&[
        "actor",
        "action",
        "objectType",
        "objectId",
    ]);
    app.get(&format!("/audit-logs?objectId={}", "x".repeat(257))).await.invalid(&["objectId"]);
    app.get("/audit-logs?object_type=user").await.invalid(&["object_type"]);
}

pub async fn providers_are_listed_by_name(app: App) {
    node::spent(&app.db, 1, 1, 0, 20, (true, true)).await;
    let mut page = app.get("/providers?limit=1").await.ok(200);
    let budgets = page["items"][0]["budgets"].take();
    let daily = &budgets[0]["windows"][0];
    assert_eq!((&daily["window"], &daily["limitUsd"], &daily["usedUsd"]), (&json!("daily"), &json!(50), &json!(20)));
    assert_eq!(
        page["items"],
        json!([{"name": "first", "dialects": ["openai_chat"], "models": null, "priority": 0, "weight": 1, "groups": ["default"],
            "enabled": true, "baseUrl": "https://api.example.com",
            "circuit": {"state": "closed", "reason": null, "until": null, "failures": 0, "successes": 0, "history": [], "models": [], "lastProbe": null},
            "recentErrors": [{"at": "2026-09-21T14:13:20.000Z", "status": 529, "reason": "upstream_status"}], "budgets": null}])
    );
    let next = page["pageInfo"]["nextCursor"].as_str().unwrap();
    let rest = app.get(&format!("/providers?cursor={next}")).await.ok(200);
    assert_eq!((&rest["items"][0]["name"], &rest["pageInfo"]["hasMore"]), (&json!("second"), &json!(false)));
    assert_eq!(rest["items"][0]["budgets"], json!([]), "it has no cap");
}

pub async fn circuits_are_opened_and_reset_by_hand(app: App) {
    let closed = json!({"state": "closed", "reason": null, "until": null, "failures": 0, "successes": 0, "history": [], "models": [], "lastProbe": null});
    let mut open = closed.clone();
    (open["state"], open["reason"]) = (json!("open"), json!("by_hand"));
    let opened = app.post("/providers/first:openCircuit", json!({})).await.ok(200);
    assert_eq!((&opened["name"], &opened["circuit"]), (&json!("first"), &open));
    assert_eq!(app.get("/providers").await.ok(200)["items"][1]["circuit"], closed, "only that one");
    let reset = app.post("/providers/first:resetCircuit", json!({})).await.ok(200);
    assert_eq!(reset["circuit"], closed);
    let until = "2100-01-01T00:00:00.000Z";
    let opened = app.post("/providers/first:openCircuit", json!({"until": until})).await.ok(200);
    assert_eq!(opened["circuit"]["until"], until);

    app.post("/providers/first:openCircuit", json!({"until": "2020-01-01T00:00:00Z"})).await.invalid(&["until"]);
    app.post("/providers/first:openCircuit", json!({"for": "1h"})).await.invalid(&["for"]);
    app.post("/providers/first:resetCircuit", json!({"until": until})).await.invalid(&["until"]);
    for verb in ["resetCircuit", "openCircuit"] {
        app.post(&format!("/providers/third:{verb}"), json!({})).await.problem(404, "not_found");
    }

    let log = app.get("/audit-logs").await.ok(200);
    let items = log["items"].as_array().unwrap();
    let actions: Vec<_> = items.iter().rev().map(|item| item["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["open_circuit", "reset_circuit", "open_circuit"]);
    let first = items.last().unwrap();
    assert_eq!((&first["objectType"], &first["objectId"]), (&json!("provider"), &json!("first")));
    assert_eq!((&first["before"], &first["after"]), (&closed, &open));
}

pub async fn settings_are_shown(app: App) {
    assert_eq!(app.get("/settings").await.ok(200), json!({"server": {"listen": "0.0.0.0:8080"}}));
}

pub async fn a_key_owner_sees_himself(app: App) {
    let user = app.post("/users", json!({"name": "ada", "note": "not for her eyes"})).await.ok(201)["id"].clone();
    let (key, secret) = app.key(user.as_i64().unwrap()).await;
    let me = |secret: String| {
        let app = &app;
        async move { app.call("GET", "/me", &secret, &[], Body::empty()).await }
    };
    let shown = me(secret.clone()).await;
    assert!(!shown.body.contains("eyes") && !shown.body.contains(&secret));
    let shown = shown.ok(200);
    assert_eq!((&shown["user"]["id"], &shown["key"]["id"], &shown["key"]["name"]), (&user, &json!(key), &json!("k")));
    let at_once = json!({"expiresAt": "2020-01-01T00:00:00Z"});
    let later = json!({"expiresAt": null});
    for path in [format!("/users/{user}"), format!("/keys/{key}")] {
        for (off, on) in [(json!({"enabled": false}), json!({"enabled": true})), (at_once.clone(), later.clone())] {
            app.patch(&path, off).await.ok(200);
            me(secret.clone()).await.problem(401, "unauthorized");
            app.patch(&path, on).await.ok(200);
            me(secret.clone()).await.ok(200);
        }
    }
    for token in [TOKEN, "tg-", &secret[..45], &format!("{secret}x")] {
        me(token.to_owned()).await.problem(401, "unauthorized");
    }
}
