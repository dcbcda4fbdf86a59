//! `/users`.

use axum::body::Body;
use sea_orm::EntityTrait;
use serde_json::{Value, json};

use crate::app::{App, NOW, TOKEN};

pub async fn a_user_is_created_read_changed_listed_and_deleted(app: App) {
    let fields = json!({
        "name": " Ada ", "note": "first\nline", "enabled": false, "expiresAt": "2026-01-31T13:30:00+01:30", "rpm": 60.0,
        "maxConcurrentRequests": 1_000_000, "allowedModels": ["claude-*", "claude-*", "gpt-[45]"], "providerGroups": ["eu"],
        "limits": {"daily": {"usd": 2.5}}, "userGroupIds": [],
    });
    let created = app.post("/users", fields).await;
    assert_eq!((created.header("etag"), created.header("cache-control")), ("\"1\"", "no-store"));
    let location = created.header("location").to_owned();
    let created = created.ok(201);
    let id = created["id"].as_i64().unwrap();
    assert_eq!(location, format!("/api/v1/users/{id}"));
    assert_eq!(
        created,
        json!({
            "id": id, "name": "Ada", "note": "first\nline", "enabled": false, "expiresAt": "2026-01-31T12:00:00.000Z",
            "rpm": 60, "maxConcurrentRequests": 1_000_000, "allowedModels": ["claude-*", "gpt-[45]"],
            "providerGroups": ["eu"], "limits": {"daily": {"usd": 2.5, "reset": "fixed", "at": "00:00"}},
            "userGroupIds": [], "version": 1, "createdAt": "2026-09-21T14:13:20.000Z",
            "updatedAt": "2026-09-21T14:13:20.000Z",
        })
    );
    assert_eq!(app.seen.take(), [format!("user {id}")]);
    let read = app.get(&location).await;
    assert_eq!(read.header("etag"), "\"1\"");
    assert_eq!(read.ok(200), created);

    app.clock.store(NOW + 1500, std::sync::atomic::Ordering::SeqCst);
    let changed = app.patch(&location, json!({"enabled": true})).await.ok(200);
    assert_eq!((&changed["enabled"], &changed["version"]), (&json!(true), &json!(2)));
    assert_eq!(changed["updatedAt"], "2026-09-21T14:13:21.500Z");
    assert_eq!(app.seen.take(), [format!("user {id}")]);
    let page = app.get("/users").await.ok(200);
    assert_eq!(page, json!({"items": [changed], "pageInfo": {"nextCursor": null, "limit": 50, "hasMore": false}}));

    let deleted = app.delete(&location).await;
    assert_eq!((deleted.status.as_u16(), deleted.body.as_str()), (204, ""));
    assert_eq!(app.seen.take(), ["limits".to_owned(), format!("user {id}")]);
    app.get(&location).await.problem(404, "not_found");
    app.delete(&location).await.problem(404, "not_found");
    app.patch(&location, json!({})).await.problem(404, "not_found");
    assert!(app.user("Grace").await > id, "ids are never reused");
}

pub async fn every_wrong_field_is_named_at_once(app: App) {
    let many: Vec<String> = (0..101).map(|i| format!("g{i}")).collect();
    let wrong = json!({
        "name": "  ", "note": "a\u{0}b", "rpm": 0, "maxConcurrentRequests": 1_000_001,
        "allowedModels": ["ok", "[", ""], "providerGroups": many,
    });
    app.post("/users", wrong).await.invalid(&[
        "name",
        "note",
        "rpm",
        "maxConcurrentRequests",
        "allowedModels[1]",
        "allowedModels[2]",
        "providerGroups",
    ]);
    for (path, fields) in [
        ("name", json!({})),
        ("name", json!({"name": null})),
        ("name", json!({"name": 1})),
        ("name", json!({"name": "x".repeat(129)})),
        ("name", json!({"name": "tab\there"})),
        ("enabled", json!({"name": "a", "enabled": null})),
        ("enabled", json!({"name": "a", "enabled": "yes"})),
        ("expiresAt", json!({"name": "a", "expiresAt": "tomorrow"})),
        ("expiresAt", json!({"name": "a", "expiresAt": 1_790_000_000})),
        ("rpm", json!({"name": "a", "rpm": -1})),
        ("rpm", json!({"name": "a", "rpm": 1.5})),
        ("rpm", json!({"name": "a", "rpm": 1e300})),
        ("rpm", json!({"name": "a", "rpm": u64::MAX})),
        ("rpm", json!({"name": "a", "rpm": "60"})),
        ("allowedModels", json!({"name": "a", "allowedModels": "claude-*"})),
        ("allowedModels[0]", json!({"name": "a", "allowedModels": [null]})),
        ("note", json!({"name": "a", "note": "n".repeat(2001)})),
    ] {
        app.post("/users", fields).await.invalid(&[path]);
    }
    app.user(&"ü".repeat(128)).await;
    assert_eq!(app.audit().await.len(), 1, "what is refused leaves no trace");
}

pub async fn unknown_fields_and_those_of_the_server_are_refused(app: App) {
    let id = app.user("ada").await;
    for field in [
        "id",
        "version",
        "createdAt",
        "era",
        "sinceEras",
        "stamp",
        "boosts",
        "modelGroups",
        "isAdmin",
        "expires_at",
        "",
    ] {
        let mut body = json!({"name": "eve"});
        body[field] = Value::Null;
        app.post("/users", body.clone()).await.invalid(&[field]);
        body[field] = json!(7);
        app.patch(&format!("/users/{id}"), body).await.invalid(&[field]);
    }
    let user = app.get(&format!("/users/{id}")).await.ok(200);
    assert_eq!((&user["name"], &user["version"]), (&json!("ada"), &json!(1)));
}

pub async fn a_name_is_unique(app: App) {
    let ada = app.user("ada").await;
    let grace = app.user("grace").await;
    app.post("/users", json!({"name": " ada"})).await.problem(409, "conflict");
    app.patch(&format!("/users/{grace}"), json!({"name": "ada"})).await.problem(409, "conflict");
    app.patch(&format!("/users/{ada}"), json!({"name": "ada"})).await.ok(200);
    app.user("Ada").await;
}

pub async fn a_patch_changes_only_what_it_names(app: App) {
    let id =
        app.post("/users", json!({"name": "ada", "note": "n", "rpm": 5, "allowedModels": ["a"]})).await.ok(201)["id"]
            .clone();
    let path = format!("/users/{id}");
    let headers = [("content-type", "application/merge-patch+json; charset=utf-8")];
    let changed = app.call("PATCH", &path, TOKEN, &headers, Body::from(r#"{"allowedModels":["b","c"]}"#)).await.ok(200);
    assert_eq!(changed["allowedModels"], json!(["b", "c"]), "arrays are replaced, not merged");
    assert_eq!((&changed["note"], &changed["rpm"]), (&json!("n"), &json!(5)));
    for body in ["[]", "null", "1", "\"x\""] {
        app.call("PATCH", &path, TOKEN, &headers, Body::from(body)).await.invalid(&[""]);
    }
    app.patch(&path, json!({"rpm": 0})).await.invalid(&["rpm"]);
}

pub async fn null_takes_away_only_what_may_be_absent(app: App) {
    let fields = json!({"name": "a", "note": "n", "rpm": 5, "maxConcurrentRequests": 5, "expiresAt": "2030-01-01T00:00:00Z",
        "allowedModels": ["a"], "providerGroups": ["b"]});
    let id = app.post("/users", fields).await.ok(201)["id"].clone();
    let path = format!("/users/{id}");
    let nothing = json!({"note": null, "rpm": null, "maxConcurrentRequests": null, "expiresAt": null, "allowedModels": null,
        "providerGroups": null});
    let changed = app.patch(&path, nothing.clone()).await.ok(200);
    for field in ["note", "rpm", "maxConcurrentRequests", "expiresAt"] {
        assert_eq!(changed[field], Value::Null);
    }
    assert_eq!((&changed["allowedModels"], &changed["providerGroups"]), (&json!([]), &json!([])));
    app.patch(&path, json!({"name": null})).await.invalid(&["name"]);
    app.patch(&path, json!({"enabled": null})).await.invalid(&["enabled"]);
    let row = entity::users::Entity::find_by_id(changed["id"].as_i64().unwrap());
    let row = row.one(&app.db).await.unwrap().unwrap();
    assert_eq!((row.allowed_models, row.provider_groups), (None, None), "all is kept as nothing");
}

pub async fn of_two_patches_with_the_same_version_one_is_refused(app: App) {
    let id = app.user("ada").await;
    let path = format!("/users/{id}");
    for round in 1..=10 {
        let version = format!("\"{round}\"");
        let headers = [("if-match", version.as_str())];
        let patch = |rpm: i32| {
            let (app, path, headers) = (&app, &path, &headers);
            async move { app.json("PATCH", path, headers, &json!({"rpm": rpm})).await }
        };
        let answers = futures::future::join_all([1, 2, 3, 4].map(patch)).await;
        let won = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(won, 1, "{answers:?}");
        for lost in answers.iter().filter(|answer| answer.status != 200) {
            lost.problem(412, "version_mismatch");
        }
    }
    // Without a precondition all of them are carried out, one after the other.
    let path = &path;
    let all = (0..8).map(|rpm| {
        let app = &app;
        async move { app.patch(path, json!({"rpm": rpm + 1})).await.ok(200) }
    });
    futures::future::join_all(all).await;
    assert_eq!(app.get(path).await.ok(200)["version"], 19);
}

pub async fn a_stale_if_match_is_refused(app: App) {
    let id = app.user("ada").await;
    let path = format!("/users/{id}");
    app.patch(&path, json!({"rpm": 1})).await.ok(200);
    for (header, status) in [
        ("\"1\"", 412),
        ("\"1\", \"3\"", 412),
        ("W/\"2\"", 412),
        ("*", 200),
        ("3", 200),
        ("\"9\",\"4\"", 200),
        ("x", 400),
        ("", 400),
    ] {
        let answer = app.json("PATCH", &path, &[("if-match", header)], &json!({"rpm": 1})).await;
        assert_eq!(answer.status, status, "{header}: {answer:?}");
    }
    app.call("DELETE", &path, TOKEN, &[("if-match", "\"4\"")], Body::empty()).await.problem(412, "version_mismatch");
    app.call("DELETE", &path, TOKEN, &[("if-match", "\"5\"")], Body::empty()).await.ok(204);
}

pub async fn ids_out_of_range_are_refused(app: App) {
    for id in ["0", "-1", "+1", "1.0", "abc", "9007199254740992", "99999999999999999999", "1%00", "%31%20", "1;DROP"] {
        app.get(&format!("/users/{id}")).await.invalid(&["id"]);
    }
    app.get("/users/9007199254740991").await.problem(404, "not_found");
    app.get("/users/%FF").await.problem(400, "invalid_request");
}

pub async fn hostile_text_is_kept_or_refused_but_never_run(app: App) {
    for name in ["'; DROP TABLE users; --", "%", "_", "<script>alert(1)</script>", "\\", "${jndi:ldap://x}", "名前"] {
        let id = app.user(name).await;
        assert_eq!(app.get(&format!("/users/{id}")).await.ok(200)["name"], name);
    }
    app.post("/users", json!({"name": "a\u{0}"})).await.invalid(&["name"]);
    assert_eq!(app.get("/users").await.ok(200)["items"].as_array().unwrap().len(), 7);
}

pub async fn what_nobody_sees_is_in_no_name(app: App) {
    let user = app.user("ada").await;
    let keys = format!("/users/{user}/keys");
    for path in ["/users", "/user-groups", "/model-groups", "/admin-tokens", &keys] {
        for name in ["\u{200b}", "ada\u{200b}", "a\u{202e}b", "a\u{2028}b", "a\u{ad}b", "\u{feff}a", "a\u{e0041}"] {
            let mut body = json!({"name": name});
            if path == "/admin-tokens" {
                body["role"] = json!("viewer");
            }
            app.post(path, body).await.invalid(&["name"]);
        }
    }
    app.patch(&format!("/users/{user}"), json!({"name": "ada\u{200b}"})).await.invalid(&["name"]);
    assert_eq!(app.audit().await.len(), 1, "nothing was written");
}
