//! `/model-limits` and `/quota-boosts`.

use std::sync::atomic::Ordering;

use entity::{model_group_limits, quota_boost_grants, user_group_members};
use sea_orm::{EntityTrait, PaginatorTrait};
use serde_json::{Value, json};

use crate::app::{App, NOW};

/// Kind and id of the subject, id of the model group, and of the limit.
type Row = (&'static str, i64, i64, i64);

fn limit(subject: &str, id: i64, model_group: i64, limits: Value) -> Value {
    let mut limit = json!({"subjectType": subject, "subjectId": id, "modelGroupId": model_group});
    limit["limits"] = limits;
    limit
}

pub async fn a_limit_is_set_replaced_changed_listed_and_deleted(app: App) {
    let user = app.user("ada").await;
    let group = app.model_group("g", &["m1"]).await;
    app.seen.take();
    let created = app.put("/model-limits", limit("user", user, group, json!({"5h": {"usd": 5}}))).await;
    let location = created.header("location").to_owned();
    assert_eq!(created.header("etag"), "\"1\"");
    let created = created.ok(201);
    assert_eq!(
        created,
        json!({"id": created["id"], "subjectType": "user", "subjectId": user, "modelGroupId": group,
            "limits": {"5h": {"usd": 5, "reset": "rolling"}}, "version": 1,
            "createdAt": "2026-09-21T14:13:20.000Z", "updatedAt": "2026-09-21T14:13:20.000Z"})
    );
    assert_eq!(app.seen.take(), ["limits"]);
    let all = json!({"5h": {"usd": 1, "reset": "fixed"}, "daily": {"usd": 2, "reset": "fixed", "at": "23:59"},
        "weekly": {"usd": 3}, "monthly": {"usd": 4}, "total": {"usd": 0.000_000_001}});
    let replaced = app.put("/model-limits", limit("user", user, group, all.clone())).await.ok(200);
    assert_eq!((&replaced["id"], &replaced["limits"], &replaced["version"]), (&created["id"], &all, &json!(2)));
    let patched = app.patch(&location, json!({"limits": {"daily": {"reset": "rolling"}, "5h": null}})).await.ok(200);
    assert_eq!(patched["limits"]["daily"], json!({"usd": 2, "reset": "rolling"}));
    assert_eq!((patched["limits"].get("5h"), &patched["limits"]["weekly"]), (None, &json!({"usd": 3})));
    assert_eq!(app.get(&location).await.ok(200), patched);
    let only = app.put("/model-limits", limit("user", user, group, json!({"weekly": {"usd": 3}}))).await.ok(200);
    assert_eq!(only["limits"], json!({"weekly": {"usd": 3}}), "it is replaced, not merged");
    let stale = [("if-match", "\"2\"")];
    let again = limit("user", user, group, json!({"weekly": {"usd": 9}}));
    app.json("PUT", "/model-limits", &stale, &again).await.problem(412, "version_mismatch");
    let absent = limit("user", user, app.model_group("h", &[]).await, json!({"weekly": {"usd": 9}}));
    app.json("PUT", "/model-limits", &stale, &absent).await.problem(412, "version_mismatch");
    let any = [("if-match", "*")];
    app.json("PUT", "/model-limits", &any, &absent).await.problem(412, "version_mismatch");
    let left = app.json("PUT", "/model-limits", &any, &limit("user", user, group, json!({"weekly": {"usd": 4}}))).await;
    assert_eq!(left.ok(200)["limits"], json!({"weekly": {"usd": 4}}));
    app.json("DELETE", &location, &stale, &Value::Null).await.problem(412, "version_mismatch");
    app.delete(&location).await.ok(204);
    app.get(&location).await.problem(404, "not_found");
    app.delete(&location).await.problem(404, "not_found");
    app.patch(&location, json!({})).await.problem(404, "not_found");
    let log = app.audit().await;
    let actions: Vec<_> = log.iter().filter(|row| row.object_type == "model_limit").map(|row| &row.action).collect();
    assert_eq!(actions, ["create", "update", "update", "update", "update", "delete"]);
}

pub async fn limits_are_filtered_by_subject_and_group(app: App) {
    let user = app.user("ada").await;
    let (key, _) = app.key(user).await;
    let team = app.user_group("team", &[]).await;
    let (g, h) = (app.model_group("g", &[]).await, app.model_group("h", &[]).await);
    let daily = json!({"daily": {"usd": 1}});
    let mut all = Vec::new();
    for group in [g, h] {
        for (subject, id) in [("user", user), ("user_group", team), ("key", key)] {
            all.push((subject, id, group, app.model_limit(subject, id, group, daily.clone()).await));
        }
    }
    let ids = |query: String| {
        let app = &app;
        async move {
            let page = app.get(&format!("/model-limits?{query}")).await.ok(200);
            page["items"].as_array().unwrap().iter().map(|item| item["id"].as_i64().unwrap()).collect::<Vec<_>>()
        }
    };
    let expected =
        |keep: &dyn Fn(&Row) -> bool| -> Vec<i64> { all.iter().filter(|row| keep(row)).map(|row| row.3).collect() };
    assert_eq!(ids(String::new()).await, expected(&|_| true));
    assert_eq!(ids("subjectType=user_group".to_owned()).await, expected(&|row| row.0 == "user_group"));
    assert_eq!(ids(format!("subjectType=key&subjectId={key}")).await, expected(&|row| row.0 == "key"));
    assert_eq!(ids(format!("subjectId={team}")).await, expected(&|row| row.1 == team));
    assert_eq!(ids(format!("modelGroupId={h}&subjectType=user")).await, expected(&|row| row.2 == h && row.0 == "user"));
    assert!(ids("modelGroupId=999".to_owned()).await.is_empty());
    app.get("/model-limits?subjectType=users&subjectId=0&modelGroupId=x&window=5h").await.invalid(&[
        "subjectType",
        "subjectId",
        "modelGroupId",
        "window",
    ]);
}

pub async fn f22_a_limit_has_at_least_one_cap(app: App) {
    let user = app.user("ada").await;
    let group = app.model_group("g", &[]).await;
    for limits in [json!({}), json!({"daily": null}), json!(null)] {
        app.put("/model-limits", limit("user", user, group, limits)).await.invalid(&["limits"]);
    }
    let bare = json!({"subjectType": "user", "subjectId": user, "modelGroupId": group});
    app.put("/model-limits", bare).await.invalid(&["limits"]);
    app.put("/model-limits", limit("user", user, group, json!({"daily": {"usd": 0}})))
        .await
        .invalid(&["limits.daily.usd"]);
    assert_eq!(model_group_limits::Entity::find().count(&app.db).await.unwrap(), 0);
    let id = app.model_limit("user", user, group, json!({"daily": {"usd": 1}, "total": {"usd": 5}})).await;
    let path = format!("/model-limits/{id}");
    app.patch(&path, json!({"limits": {"daily": null}})).await.ok(200);
    app.patch(&path, json!({"limits": {"total": null}})).await.invalid(&["limits"]);
    app.patch(&path, json!({"limits": null})).await.invalid(&["limits"]);
    app.patch(&path, json!({"limits": {"total": null, "weekly": {"usd": 2}}})).await.ok(200);
    assert_eq!(app.get(&path).await.ok(200)["limits"], json!({"weekly": {"usd": 2}}));
}

pub async fn a_limit_of_nobody_is_refused(app: App) {
    let user = app.user("ada").await;
    let group = app.model_group("g", &[]).await;
    let daily = json!({"daily": {"usd": 1}});
    for subject in ["user", "user_group", "key"] {
        app.put("/model-limits", limit(subject, 999, 998, daily.clone())).await.invalid(&["subjectId", "modelGroupId"]);
    }
    app.put("/model-limits", limit("user", user, 998, daily.clone())).await.invalid(&["modelGroupId"]);
    app.put("/model-limits", limit("provider", user, group, daily.clone())).await.invalid(&["subjectType"]);
    app.put("/model-limits", limit("user", 0, -1, daily.clone())).await.invalid(&["subjectId", "modelGroupId"]);
    let mut extra = limit("user", user, group, daily);
    extra["window"] = json!("daily");
    app.put("/model-limits", extra).await.invalid(&["window"]);
    let id = app.model_limit("user", user, group, json!({"daily": {"usd": 1}})).await;
    app.patch(&format!("/model-limits/{id}"), json!({"subjectId": 2})).await.invalid(&["subjectId"]);
}

pub async fn of_many_settings_of_one_limit_at_once_one_creates_it(app: App) {
    let user = app.user("ada").await;
    let group = app.model_group("g", &[]).await;
    let put = |usd: i64| {
        let app = &app;
        async move { app.put("/model-limits", limit("user", user, group, json!({"daily": {"usd": usd + 1}}))).await }
    };
    let answers = futures::future::join_all((0..8).map(put)).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 7, "{answers:?}");
    let page = app.get("/model-limits").await.ok(200);
    assert_eq!((&page["items"][0]["version"], page["items"].as_array().unwrap().len()), (&json!(8), 1));
}

pub async fn a_boost_is_granted_listed_and_revoked(app: App) {
    let user = app.user("ada").await;
    let group = app.model_group("g", &["m1"]).await;
    let boost = json!({"userId": user, "modelGroupId": group, "window": "5h", "usd": 2.5, "reason": "a release",
        "startsAt": "2020-01-01T00:00:00+01:00", "expiresAt": "2026-09-21T14:13:20.001Z"});
    app.seen.take();
    let key = [("idempotency-key", "b")];
    let created = app.json("POST", "/quota-boosts", &key, &boost).await;
    let location = created.header("location").to_owned();
    let created = created.ok(201);
    assert_eq!(
        created,
        json!({"id": created["id"], "userId": user, "modelGroupId": group, "window": "5h", "usd": 2.5,
            "startsAt": "2019-12-31T23:00:00.000Z", "expiresAt": "2026-09-21T14:13:20.001Z", "reason": "a release",
            "version": 1, "createdAt": "2026-09-21T14:13:20.000Z"})
    );
    assert_eq!(app.seen.take(), ["limits"]);
    let later = json!({"userId": user, "modelGroupId": group, "window": "total", "usd": 1,
        "startsAt": "2026-09-21T14:13:21Z", "expiresAt": "2030-01-01T00:00:00Z"});
    let later = app.post("/quota-boosts", later).await.ok(201);
    let active = |active: bool| {
        let app = &app;
        async move { app.get(&format!("/quota-boosts?active={active}&userId={user}")).await.ok(200)["items"].clone() }
    };
    assert_eq!((active(true).await, active(false).await), (json!([created]), json!([later])));
    app.clock.store(NOW + 1, Ordering::SeqCst);
    assert_eq!(active(true).await, json!([]), "it ends to the millisecond");
    let again = app.json("POST", "/quota-boosts", &key, &boost).await;
    assert_eq!((again.header("idempotency-replayed"), again.json()), ("true", created), "also when it is over");
    app.clock.store(NOW + 1_000, Ordering::SeqCst);
    assert_eq!(active(true).await, json!([later]));
    assert_eq!(app.get("/quota-boosts?modelGroupId=999").await.ok(200)["items"], json!([]));
    app.get("/quota-boosts?active=1&userId=x").await.invalid(&["active", "userId"]);
    app.seen.take();
    app.delete(&location).await.ok(204);
    assert_eq!(app.seen.take(), ["limits".to_owned(), format!("user {user}")]);
    app.get(&location).await.problem(404, "not_found");
    app.delete(&location).await.problem(404, "not_found");
}

pub async fn a_boost_that_makes_no_sense_is_refused(app: App) {
    let user = app.user("ada").await;
    let group = app.model_group("g", &[]).await;
    let with = |field: &str, value: Value| {
        let mut boost = json!({"userId": user, "modelGroupId": group, "window": "daily", "usd": 1,
            "expiresAt": "2030-01-01T00:00:00Z"});
        boost[field] = value;
        boost
    };
    for (field, value) in [
        ("userId", json!(999)),
        ("modelGroupId", json!(999)),
        ("window", json!("hourly")),
        ("window", json!(null)),
        ("usd", json!(0)),
        ("usd", json!(-1)),
        ("usd", json!(9_000_001)),
        ("usd", json!(null)),
        ("expiresAt", json!("2026-09-21T14:13:20Z")),
        ("expiresAt", json!("tomorrow")),
        ("expiresAt", json!(null)),
        ("startsAt", json!(5)),
        ("reason", json!("r".repeat(2001))),
        ("active", json!(true)),
    ] {
        app.post("/quota-boosts", with(field, value)).await.invalid(&[field]);
    }
    app.post("/quota-boosts", with("startsAt", json!("2030-01-01T00:00:00Z"))).await.invalid(&["expiresAt"]);
    assert_eq!(quota_boost_grants::Entity::find().count(&app.db).await.unwrap(), 0);
}

pub async fn f15_whoever_is_deleted_leaves_no_limit_boost_or_membership(app: App) {
    let keeper = app.user("keeper").await;
    let model_group = app.model_group("g", &["m1"]).await;
    let daily = json!({"daily": {"usd": 1}});
    app.model_limit("user", keeper, model_group, daily.clone()).await;
    let rows = || async {
        let limits = model_group_limits::Entity::find().count(&app.db).await.unwrap();
        let boosts = quota_boost_grants::Entity::find().count(&app.db).await.unwrap();
        (limits, boosts, user_group_members::Entity::find().count(&app.db).await.unwrap())
    };
    let start = rows().await;
    let mut ids = Vec::new();
    for n in 0..10 {
        let user = app.user(&format!("u{n}")).await;
        let (key, _) = app.key(user).await;
        let (other_key, _) = app.key(user).await;
        let team = app.user_group(&format!("t{n}"), &[user]).await;
        for (subject, id) in [("user", user), ("key", key), ("key", other_key), ("user_group", team)] {
            app.model_limit(subject, id, model_group, daily.clone()).await;
        }
        app.boost(user, model_group, 1).await;
        ids.push((user, key, team));
    }
    assert_eq!(rows().await, (start.0 + 40, start.1 + 10, start.2 + 10));
    for (user, key, team) in &ids {
        app.delete(&format!("/keys/{key}")).await.ok(204);
        app.delete(&format!("/users/{user}")).await.ok(204);
        app.delete(&format!("/user-groups/{team}")).await.ok(204);
    }
    assert_eq!(rows().await, start);
    let reused = ids.iter().map(|(user, ..)| *user).max().unwrap();
    assert!(app.user("another").await > reused, "and nobody inherits what is left somewhere under their id");
    app.delete(&format!("/model-groups/{model_group}")).await.ok(204);
    assert_eq!(rows().await.0, 0);
}

pub async fn f15_a_thousand_keys_that_come_and_go_leave_nothing_behind(app: App) {
    let user = app.user("ada").await;
    let model_group = app.model_group("g", &["m1"]).await;
    // Ids and stamps grow: what is in it is the same without them.
    let snapshot = || format!("{:?}", app.node.limits.snapshot()).replace(|c: char| c.is_ascii_digit(), "");
    let start = snapshot();
    for round in 0..10 {
        let mut ids = Vec::new();
        for _ in 0..100 {
            let (key, _) = app.key(user).await;
            app.model_limit("key", key, model_group, json!({"daily": {"usd": 1}})).await;
            ids.push(key);
        }
        assert_eq!(model_group_limits::Entity::find().count(&app.db).await.unwrap(), 100);
        assert!(snapshot().len() > start.len());
        if round == 9 {
            app.delete(&format!("/users/{user}")).await.ok(204);
        } else {
            for id in ids {
                app.delete(&format!("/keys/{id}")).await.ok(204);
            }
        }
        assert_eq!(model_group_limits::Entity::find().count(&app.db).await.unwrap(), 0);
    }
    assert_eq!(snapshot(), start, "the snapshot is what it was");
}
