//! `/user-groups` and `/model-groups`.

use std::sync::atomic::Ordering;

use axum::body::Body;
use entity::{keys, user_groups, users};
use sea_orm::{EntityTrait, PaginatorTrait};
use serde_json::{Value, json};

use crate::app::{App, NOW, TOKEN};

pub async fn a_user_group_is_created_read_changed_listed_and_deleted(app: App) {
    let created = app.post("/user-groups", json!({"name": " team ", "description": "d"})).await;
    let location = created.header("location").to_owned();
    let created = created.ok(201);
    let id = created["id"].as_i64().unwrap();
    assert_eq!(location, format!("/api/v1/user-groups/{id}"));
    assert_eq!(
        created,
        json!({"id": id, "name": "team", "description": "d", "memberCount": 0, "version": 1,
            "createdAt": "2026-09-21T14:13:20.000Z", "updatedAt": "2026-09-21T14:13:20.000Z"})
    );
    assert_eq!(app.seen.take(), ["limits"]);
    let ada = app.user("ada").await;
    let member = format!("/user-groups/{id}/members/{ada}");
    app.seen.take();
    let with_ada = app.put(&member, Value::Null).await;
    assert_eq!(with_ada.header("etag"), "\"2\"");
    assert_eq!(with_ada.ok(200)["memberCount"], 1);
    assert_eq!(app.seen.take(), ["limits".to_owned(), format!("user {ada}")]);
    let again = app.put(&member, Value::Null).await.ok(200);
    assert_eq!(again["version"], json!(2), "nothing was written");
    let told = app.seen.take();
    assert_eq!(told, ["limits".to_owned(), format!("user {ada}")], "whoever wrote it may not have told");
    let user = app.get(&format!("/users/{ada}")).await.ok(200);
    assert_eq!((&user["userGroupIds"], &user["version"]), (&json!([id]), &json!(2)));
    let stale = app.json("PATCH", &location, &[("if-match", "\"1\"")], &json!({"name": "x"})).await;
    stale.problem(412, "version_mismatch");
    let changed = app.patch(&location, json!({"description": null})).await.ok(200);
    assert_eq!((&changed["name"], &changed["description"]), (&json!("team"), &Value::Null));
    assert_eq!(app.get("/user-groups").await.ok(200)["items"], json!([changed]));
    app.delete(&member).await.ok(204);
    app.delete(&member).await.problem(404, "not_found");
    assert_eq!(app.get(&location).await.ok(200)["memberCount"], 0);
    app.put(&member, Value::Null).await.ok(200);
    app.seen.take();
    app.delete(&location).await.ok(204);
    assert_eq!(app.seen.take(), ["limits".to_owned(), format!("user {ada}")]);
    let user = app.get(&format!("/users/{ada}")).await.ok(200);
    assert_eq!((&user["userGroupIds"], &user["version"]), (&json!([]), &json!(5)), "its members see it");
    assert!(app.user_group("team", &[]).await > id, "ids are never reused");
    let log = app.audit().await;
    let actions: Vec<_> = log.iter().filter(|row| row.object_type == "user_group").map(|row| &row.action).collect();
    assert_eq!(actions, ["create", "add_member", "update", "remove_member", "add_member", "delete", "create"]);
}

pub async fn a_groups_version_follows_its_members_however_they_come_and_go(app: App) {
    let (a, b, c) = (app.user_group("a", &[]).await, app.user_group("b", &[]).await, app.user_group("c", &[]).await);
    let user = app.post("/users", json!({"name": "ada", "userGroupIds": [a, b]})).await.ok(201)["id"].clone();
    let mut seen = std::collections::BTreeMap::from([(a, (1, 0)), (b, (1, 0)), (c, (1, 0))]);
    let groups = [("createUser", a, 1), ("createUser", b, 1), ("createUser", c, 0)];
    // What a group shows is new exactly when its ETag is, and so is the time of its last write.
    let mut check = async |app: &App, counts: [(&'static str, i64, i64); 3]| {
        for (what, group, count) in counts {
            let shown = app.get(&format!("/user-groups/{group}")).await;
            let etag = shown.header("etag").to_owned();
            let shown = shown.ok(200);
            let (version, before) = seen[&group];
            let now = version + i64::from(count != before);
            assert_eq!((&shown["memberCount"], &shown["version"]), (&json!(count), &json!(now)), "{what}: {group}");
            assert_eq!(etag, format!("\"{now}\""), "{what}");
            seen.insert(group, (now, count));
        }
    };
    check(&app, groups).await;
    app.clock.store(NOW + 60_000, Ordering::SeqCst);
    let path = format!("/users/{user}");
    app.patch(&path, json!({"userGroupIds": [b, c]})).await.ok(200);
    check(&app, [("updateUser", a, 0), ("updateUser", b, 1), ("updateUser", c, 1)]).await;
    let joined = app.get(&format!("/user-groups/{c}")).await.ok(200);
    assert_eq!(joined["updatedAt"], "2026-09-21T14:14:20.000Z");
    app.patch(&path, json!({"note": "stays in its groups"})).await.ok(200);
    check(&app, [("another field", a, 0), ("another field", b, 1), ("another field", c, 1)]).await;
    app.patch(&path, json!({"userGroupIds": [a, 999]})).await.invalid(&["userGroupIds"]);
    check(&app, [("refused", a, 0), ("refused", b, 1), ("refused", c, 1)]).await;
    let stale = app.json("PATCH", &format!("/user-groups/{c}"), &[("if-match", "\"1\"")], &json!({})).await;
    stale.problem(412, "version_mismatch");
    app.delete(&path).await.ok(204);
    check(&app, [("deleteUser", a, 0), ("deleteUser", b, 0), ("deleteUser", c, 0)]).await;
}

pub async fn f05_a_group_that_does_not_exist_is_not_found(app: App) {
    let user = app.user("ada").await;
    let group = app.user_group("g", &[]).await;
    for path in ["/user-groups/999", "/model-groups/999"] {
        app.get(path).await.problem(404, "not_found");
        app.patch(path, json!({"name": "x"})).await.problem(404, "not_found");
        app.delete(path).await.problem(404, "not_found");
    }
    for path in [
        format!("/user-groups/999/members/{user}"),
        format!("/user-groups/{group}/members/999"),
        "/model-groups/999/models/m".to_owned(),
    ] {
        app.put(&path, Value::Null).await.problem(404, "not_found");
        app.delete(&path).await.problem(404, "not_found");
    }
    app.put(&format!("/user-groups/{group}/members/x"), Value::Null).await.invalid(&["userId"]);
    app.put(&format!("/user-groups/x/members/{user}"), Value::Null).await.invalid(&["id"]);
}

pub async fn f10_statuses_do_not_depend_on_words(app: App) {
    for name in ["not found", "permission denied", "409 already exists", "服务器错误", "未找到"] {
        for (path, body) in [("/user-groups", json!({"name": name})), ("/model-groups", json!({"name": name}))] {
            let id = app.post(path, body.clone()).await.ok(201)["id"].clone();
            app.post(path, body.clone()).await.problem(409, "conflict");
            let other = app.post(path, json!({"name": format!("{name}!")})).await.ok(201)["id"].clone();
            app.patch(&format!("{path}/{other}"), body).await.problem(409, "conflict");
            app.call("PATCH", &format!("{path}/{id}"), "wrong", &[], Body::empty()).await.problem(401, "unauthorized");
            app.delete(&format!("{path}/{other}")).await.ok(204);
            app.delete(&format!("{path}/{other}")).await.problem(404, "not_found");
        }
    }
    let viewer = app.post("/admin-tokens", json!({"name": "eye", "role": "viewer"})).await.ok(201);
    let viewer = viewer["secret"].as_str().unwrap().to_owned();
    let json = [("content-type", "application/json")];
    let refused = app.call("POST", "/user-groups", &viewer, &json, Body::from(r#"{"name":"not found"}"#)).await;
    refused.problem(403, "forbidden");
    app.clock.store(-1, Ordering::SeqCst);
    app.post("/user-groups", json!({"name": "not found"})).await.problem(500, "internal");
    app.clock.store(NOW, Ordering::SeqCst);
}

pub async fn f11_members_are_counted_in_one_query_however_many_groups_there_are(app: App) {
    let (ada, grace) = (app.user("ada").await, app.user("grace").await);
    let mut counts = Vec::new();
    for n in 0..30 {
        app.user_group(&format!("g{n}"), &[ada]).await;
        app.model_group(&format!("g{n}"), &[&format!("m{n}")]).await;
        let before = app.statements.load(Ordering::SeqCst);
        let groups = app.get("/user-groups?limit=100").await.ok(200);
        let between = app.statements.load(Ordering::SeqCst);
        app.get("/model-groups?limit=100").await.ok(200);
        counts.push((between - before, app.statements.load(Ordering::SeqCst) - between));
        assert!(groups["items"].as_array().unwrap().iter().all(|group| group["memberCount"] == 1));
    }
    assert_eq!(counts[0], (2, 2), "one for the groups, one for what is in them");
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    // Twice in is in once, and who is gone does not count.
    let group = app.user_group("more", &[ada, ada, grace]).await;
    let path = format!("/user-groups/{group}");
    assert_eq!(app.get(&path).await.ok(200)["memberCount"], 2);
    app.delete(&format!("/users/{grace}")).await.ok(204);
    assert_eq!(app.get(&path).await.ok(200)["memberCount"], 1);
}

pub async fn a_model_group_is_created_read_changed_listed_and_deleted(app: App) {
    let body = json!({"name": "fast", "models": ["m2", " m1 ", "m2"]});
    let created = app.post("/model-groups", body).await.ok(201);
    let id = created["id"].as_i64().unwrap();
    assert_eq!(
        created,
        json!({"id": id, "name": "fast", "description": null, "models": ["m1", "m2"], "singleton": false, "version": 1,
            "createdAt": "2026-09-21T14:13:20.000Z", "updatedAt": "2026-09-21T14:13:20.000Z"})
    );
    assert_eq!(app.seen.take(), ["limits"]);
    let path = format!("/model-groups/{id}");
    // Names are exact, and may have anything in them.
    for model in ["M1", "org/model:8b", "a b", "ü", "x:resetLimits", "models/x"] {
        let encoded = model.replace(' ', "%20").replace('ü', "%C3%BC");
        let group = app.put(&format!("{path}/models/{encoded}"), Value::Null).await.ok(200);
        assert!(group["models"].as_array().unwrap().contains(&json!(model)), "{group}");
        app.put(&format!("{path}/models/{encoded}"), Value::Null).await.ok(200);
        app.delete(&format!("{path}/models/{encoded}")).await.ok(204);
        app.delete(&format!("{path}/models/{encoded}")).await.problem(404, "not_found");
    }
    app.put(&format!("{path}/models/%20"), Value::Null).await.invalid(&["model"]);
    app.put(&format!("{path}/models/{}", "x".repeat(257)), Value::Null).await.invalid(&["model"]);
    let group = app.get(&path).await;
    assert_eq!(group.header("etag"), "\"13\"", "six came and six went");
    let changed = app.patch(&path, json!({"models": ["m3"], "name": "slow"})).await.ok(200);
    assert_eq!((&changed["models"], &changed["name"]), (&json!(["m3"]), &json!("slow")));
    assert_eq!(app.get("/model-groups").await.ok(200)["items"], json!([changed]));
    app.json("DELETE", &path, &[("if-match", "\"1\"")], &Value::Null).await.problem(412, "version_mismatch");
    app.seen.take();
    app.delete(&path).await.ok(204);
    assert_eq!(app.seen.take(), ["limits"]);
    app.model_group("again", &["m3"]).await;
    app.post("/model-groups", json!({"name": "", "models": ["", "a\tb"]})).await.invalid(&[
        "models[0]",
        "models[1]",
        "name",
    ]);
    app.post("/model-groups", json!({"models": ["m9"]})).await.invalid(&["name"]);
    app.patch(&format!("/model-groups/{id}"), json!({})).await.problem(404, "not_found");
}

pub async fn f04_a_model_of_another_group_is_refused_and_the_group_named(app: App) {
    let a = app.model_group("A", &["m"]).await;
    let b = app.model_group("B", &["n"]).await;
    for answer in [
        app.post("/model-groups", json!({"singleton": true, "models": ["m"]})).await,
        app.post("/model-groups", json!({"name": "C", "models": ["x", "m"]})).await,
        app.put(&format!("/model-groups/{b}/models/m"), Value::Null).await,
        app.patch(&format!("/model-groups/{b}"), json!({"models": ["n", "m"]})).await,
    ] {
        let problem = answer.problem(409, "model_in_other_group");
        assert_eq!(problem["conflictsWith"], json!({"type": "model_group", "id": a, "name": "A"}));
        assert!(problem["detail"].as_str().unwrap().contains("\"A\""), "{problem}");
    }
    let groups = app.get("/model-groups").await.ok(200);
    let models: Vec<_> = groups["items"].as_array().unwrap().iter().map(|group| &group["models"]).collect();
    assert_eq!(models, [&json!(["m"]), &json!(["n"])], "nothing was made or moved");
    app.delete(&format!("/model-groups/{a}/models/m")).await.ok(204);
    app.put(&format!("/model-groups/{b}/models/m"), Value::Null).await.ok(200);
}

pub async fn f04_of_several_creations_at_once_one_succeeds(app: App) {
    for round in 0..5 {
        let model = format!("m{round}");
        let create = |n: usize| {
            let (app, model) = (&app, &model);
            let body = if n == 0 {
                json!({"singleton": true, "models": [model]})
            } else {
                json!({"name": format!("{model} {n}"), "models": [format!("{model} {n}"), model]})
            };
            async move { app.post("/model-groups", body).await }
        };
        let answers = futures::future::join_all((0..4).map(create)).await;
        let won: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        let won = won[0].json();
        for lost in answers.iter().filter(|answer| answer.status != 201) {
            let problem = lost.problem(409, "model_in_other_group");
            assert_eq!(problem["conflictsWith"], json!({"type": "model_group", "id": won["id"], "name": won["name"]}));
        }
    }
    assert_eq!(app.get("/model-groups").await.ok(200)["items"].as_array().unwrap().len(), 5);
    // Two groups that want each other's model do not wait for each other for ever.
    let (a, b) = (app.model_group("a", &["x"]).await, app.model_group("b", &["y"]).await);
    let (xs, ys) = (json!({"models": ["x", "y"]}), json!({"models": ["y", "x"]}));
    let (path_a, path_b) = (format!("/model-groups/{a}"), format!("/model-groups/{b}"));
    let (of_a, of_b) = tokio::join!(app.patch(&path_a, xs), app.patch(&path_b, ys));
    of_a.problem(409, "model_in_other_group");
    of_b.problem(409, "model_in_other_group");
}

pub async fn a_singleton_has_one_model(app: App) {
    let created = app.post("/model-groups", json!({"singleton": true, "models": ["m"]})).await.ok(201);
    assert_eq!((&created["name"], &created["singleton"]), (&json!("m"), &json!(true)));
    let path = format!("/model-groups/{}", created["id"]);
    app.put(&format!("{path}/models/n"), Value::Null).await.problem(409, "conflict");
    app.patch(&path, json!({"models": ["m", "n"]})).await.problem(409, "conflict");
    app.post("/model-groups", json!({"singleton": true, "models": ["a", "b"]})).await.problem(409, "conflict");
    app.post("/model-groups", json!({"singleton": true})).await.invalid(&["models", "name"]);
    app.put(&format!("{path}/models/m"), Value::Null).await.ok(200);
    assert_eq!(app.get("/model-groups").await.ok(200)["items"], json!([created]));
    app.patch(&path, json!({"singleton": false})).await.ok(200);
    app.put(&format!("{path}/models/n"), Value::Null).await.ok(200);
    app.patch(&path, json!({"singleton": true})).await.problem(409, "conflict");
    app.post("/model-groups", json!({"singleton": null, "name": "x"})).await.invalid(&["singleton"]);
}

/// The stamps of a user, a key and a user group.
async fn stamps(app: &App, user: i64, key: i64, group: i64) -> (i64, i64, i64) {
    let user = users::Entity::find_by_id(user).one(&app.db).await.unwrap().unwrap();
    let key = keys::Entity::find_by_id(key).one(&app.db).await.unwrap().unwrap();
    let group = user_groups::Entity::find_by_id(group).one(&app.db).await.unwrap().unwrap();
    (user.stamp, key.stamp, group.stamp)
}

pub async fn what_is_deleted_leaves_a_later_stamp_with_whoever_had_it(app: App) {
    let (ada, grace) = (app.user("ada").await, app.user("grace").await);
    let (key, _) = app.key(ada).await;
    let (other_key, _) = app.key(grace).await;
    let team = app.user_group("team", &[grace]).await;
    let other = app.user_group("other", &[]).await;
    let model_group = app.model_group("g", &["m1"]).await;
    let now = || stamps(&app, ada, key, team);
    let daily = json!({"daily": {"usd": 1}});
    let untouched = stamps(&app, grace, other_key, other).await;
    for (subject, id) in [("user", ada), ("key", key), ("user_group", team)] {
        let limit = app.model_limit(subject, id, model_group, daily.clone()).await;
        let before = now().await;
        app.delete(&format!("/model-limits/{limit}")).await.ok(204);
        let after = now().await;
        let rose = [after.0 > before.0, after.1 > before.1, after.2 > before.2];
        assert_eq!(rose, [subject == "user", subject == "key", subject == "user_group"], "{subject}");
    }
    let boost = app.boost(ada, model_group, 5).await;
    let before = now().await;
    app.delete(&format!("/quota-boosts/{boost}")).await.ok(204);
    assert!(now().await.0 > before.0, "a boost");
    let before = now().await;
    app.put(&format!("/user-groups/{team}/members/{ada}"), Value::Null).await.ok(200);
    let joined = now().await;
    assert!(joined.0 > before.0, "who joins has other limits too");
    app.delete(&format!("/user-groups/{team}/members/{ada}")).await.ok(204);
    assert!(now().await.0 > joined.0, "a membership");
    for (subject, id) in [("key", key), ("user_group", team)] {
        app.model_limit(subject, id, model_group, daily.clone()).await;
    }
    app.boost(ada, model_group, 5).await;
    let before = now().await;
    app.seen.take();
    app.delete(&format!("/model-groups/{model_group}")).await.ok(204);
    let after = now().await;
    assert!(after.0 > before.0 && after.1 > before.1 && after.2 > before.2, "a model group: {before:?} {after:?}");
    assert_eq!(app.seen.take(), ["limits".to_owned(), format!("owners [{ada}] [{key}]")]);
    assert_eq!(stamps(&app, grace, other_key, other).await, untouched, "whoever had nothing keeps his");
    app.put(&format!("/user-groups/{other}/members/{ada}"), Value::Null).await.ok(200);
    app.put(&format!("/user-groups/{other}/members/{grace}"), Value::Null).await.ok(200);
    let (of_ada, of_grace) = (now().await.0, stamps(&app, grace, other_key, team).await.0);
    let before = app.statements.load(Ordering::SeqCst);
    app.seen.take();
    app.delete(&format!("/user-groups/{other}")).await.ok(204);
    let few = app.statements.load(Ordering::SeqCst) - before;
    assert!(now().await.0 > of_ada && stamps(&app, grace, other_key, team).await.0 > of_grace, "a user group");
    assert_eq!(app.seen.take(), ["limits".to_owned(), format!("owners [{ada}, {grace}] []")]);
    let many = app.user_group("many", &[]).await;
    for n in 0..30 {
        app.post("/users", json!({"name": format!("u{n}"), "userGroupIds": [many]})).await.ok(201);
    }
    let before = app.statements.load(Ordering::SeqCst);
    app.call("DELETE", &format!("/user-groups/{many}"), TOKEN, &[], Body::empty()).await.ok(204);
    assert_eq!(app.statements.load(Ordering::SeqCst) - before, few, "however many members there are");
    assert_eq!(users::Entity::find().count(&app.db).await.unwrap(), 32);
}
