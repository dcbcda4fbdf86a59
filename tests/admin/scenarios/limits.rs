//! `limits` and `userGroupIds` of users and keys, and `:resetLimits`.

use axum::body::Body;
use sea_orm::EntityTrait;
use serde_json::{Value, json};

use crate::app::{App, TOKEN};
use crate::node::spent;

async fn windows(app: &App, path: &str) -> Vec<Value> {
    let budgets = app.get(path).await.ok(200);
    budgets["items"][0]["windows"].as_array().cloned().unwrap_or_default()
}

pub async fn limits_are_merged_window_by_window(app: App) {
    let user = app.user("ada").await;
    let (key, _) = app.key(user).await;
    for path in [format!("/users/{user}"), format!("/keys/{key}")] {
        assert_eq!(app.get(&path).await.ok(200)["limits"], json!({}));
        let set = json!({"limits": {"5h": {"usd": 1.5, "reset": "fixed"}, "daily": {"usd": 2, "at": "06:30"},
            "weekly": {"usd": "8388607.000000001"}, "total": {"usd": 9_000_000}}});
        let all = json!({
            "5h": {"usd": 1.5, "reset": "fixed"}, "daily": {"usd": 2, "reset": "fixed", "at": "06:30"},
            "weekly": {"usd": 8_388_607.000_000_001}, "total": {"usd": 9_000_000},
        });
        let answer = app.patch(&path, set).await;
        assert!(answer.body.contains(r#""weekly":{"usd":8388607.000000001}"#), "to the nano-dollar: {answer:?}");
        assert_eq!(answer.ok(200)["limits"], all);
        assert_eq!(app.patch(&path, json!({"rpm": 5})).await.ok(200)["limits"], all, "untouched");
        let one = app.patch(&path, json!({"limits": {"daily": {"usd": 3}, "total": null}})).await.ok(200);
        assert_eq!(one["limits"]["daily"], json!({"usd": 3, "reset": "fixed", "at": "06:30"}));
        assert_eq!((&one["limits"]["5h"], one["limits"].get("total")), (&all["5h"], None));
        assert!(app.get(&path).await.body.contains("8388607.000000001"), "a patch elsewhere rounds nothing");
        let rolling =
            app.patch(&path, json!({"limits": {"daily": {"reset": "rolling"}, "weekly": null}})).await.ok(200);
        assert_eq!(rolling["limits"]["daily"], json!({"usd": 3, "reset": "rolling"}));
        let default = json!({"limits": {"5h": {"reset": null}, "daily": {"reset": null, "at": null}}});
        let default = app.patch(&path, default).await.ok(200);
        let expected =
            json!({"5h": {"usd": 1.5, "reset": "rolling"}, "daily": {"usd": 3, "reset": "fixed", "at": "00:00"}});
        assert_eq!(default["limits"], expected);
        assert_eq!(app.patch(&path, json!({"limits": null})).await.ok(200)["limits"], json!({}));
    }
    assert_eq!(entity::users::Entity::find_by_id(user).one(&app.db).await.unwrap().unwrap().limits, None);
    let created = app.post("/users", json!({"name": "b", "limits": {"monthly": {"usd": 1e-9}}})).await;
    assert!(created.body.contains(r#""monthly":{"usd":0.000000001}"#), "{created:?}");
}

pub async fn wrong_limits_are_named_with_their_paths(app: App) {
    let user = app.user("ada").await;
    let (key, _) = app.key(user).await;
    let wrong = json!({"limits": {"5h": {"usd": 0}, "daily": {"usd": -1, "at": "24:00", "reset": "monthly"}, "hourly": {"usd": 1},
        "monthly": {"usd": 9_000_000.1}, "total": {"usd": 1, "reset": "fixed"}, "weekly": {}}});
    for path in [format!("/users/{user}"), format!("/keys/{key}")] {
        app.patch(&path, wrong.clone()).await.invalid(&[
            "limits.5h.usd",
            "limits.daily.usd",
            "limits.daily.reset",
            "limits.daily.at",
            "limits.hourly",
            "limits.monthly.usd",
            "limits.total.reset",
            "limits.weekly.usd",
        ]);
        for (invalid, limits) in [
            ("limits", json!([])),
            ("limits", json!(5)),
            ("limits.daily", json!({"daily": 5})),
            ("limits.daily.usd", json!({"daily": {"usd": null}})),
            ("limits.daily.usd", json!({"daily": {"usd": [1]}})),
            ("limits.daily.usd", json!({"daily": {"usd": 1e-10}})),
            ("limits.daily.usd", json!({"daily": {"usd": 1e300}})),
            ("limits.daily.usd", json!({"daily": {"usd": "1; DROP TABLE users"}})),
            ("limits.daily.at", json!({"daily": {"usd": 1, "reset": "rolling", "at": "06:30"}})),
            ("limits.5h.at", json!({"5h": {"usd": 1, "at": "00:00"}})),
            ("limits.daily.usd", json!({"daily": {"at": "01:00"}})),
        ] {
            app.patch(&path, json!({"limits": limits})).await.invalid(&[invalid]);
        }
        assert_eq!(app.get(&path).await.ok(200)["version"], 1);
    }
    let problem = app.patch(&format!("/users/{user}"), json!({"limits": {"daily": {"usd": 9_000_001}}})).await;
    let problem = problem.problem(400, "validation_failed");
    assert!(problem["detail"].as_str().unwrap().contains("9000000"), "says what would be right: {problem}");
}

pub async fn a_user_names_its_groups(app: App) {
    let (a, b) = (app.user_group("a", &[]).await, app.user_group("b", &[]).await);
    let created = app.post("/users", json!({"name": "ada", "userGroupIds": [b, a, b]})).await.ok(201);
    assert_eq!(created["userGroupIds"], json!([a, b]));
    let id = created["id"].as_i64().unwrap();
    app.seen.take();
    let path = format!("/users/{id}");
    assert_eq!(app.patch(&path, json!({"userGroupIds": [b]})).await.ok(200)["userGroupIds"], json!([b]));
    assert_eq!(app.seen.take(), ["limits".to_owned(), format!("user {id}")]);
    app.patch(&path, json!({"userGroupIds": [a, 999]})).await.invalid(&["userGroupIds"]);
    app.patch(&path, json!({"userGroupIds": [0, -1]})).await.invalid(&["userGroupIds[0]", "userGroupIds[1]"]);
    app.patch(&path, json!({"userGroupIds": ["a"]})).await.invalid(&["userGroupIds[0]"]);
    let listed = app.get("/users").await.ok(200);
    assert_eq!(listed["items"][0]["userGroupIds"], json!([b]), "what was refused has changed nothing");
    assert_eq!(app.patch(&path, json!({"userGroupIds": null})).await.ok(200)["userGroupIds"], json!([]));
    assert_eq!(app.get(&format!("/user-groups/{b}")).await.ok(200)["memberCount"], 0);
}

pub async fn users_are_listed_with_their_groups_in_a_fixed_number_of_queries(app: App) {
    let group = app.user_group("g", &[]).await;
    let mut counts = Vec::new();
    for n in 0..20 {
        app.post("/users", json!({"name": format!("u{n}"), "userGroupIds": [group]})).await.ok(201);
        let before = app.statements.load(std::sync::atomic::Ordering::SeqCst);
        app.get("/users").await.ok(200);
        counts.push(app.statements.load(std::sync::atomic::Ordering::SeqCst) - before);
    }
    assert!(counts.iter().all(|count| *count == counts[0] && *count > 0), "{counts:?}");
}

pub async fn h23_a_users_reset_starts_all_its_budgets_anew_and_none_of_its_keys(app: App) {
    let user = app.user("ada").await;
    let (key, _) = app.key(user).await;
    let group = app.model_group("g", &["m1"]).await;
    let caps = json!({"daily": {"usd": 20}, "total": {"usd": 100}});
    for path in [format!("/users/{user}"), format!("/keys/{key}")] {
        app.patch(&path, json!({"limits": caps})).await.ok(200);
    }
    app.model_limit("user", user, group, caps.clone()).await;
    app.model_limit("key", key, group, caps).await;
    spent(&app.db, user, key, 0, 3, (true, true)).await;
    spent(&app.db, user, key, group, 4, (false, false)).await;
    let used = |path: String| {
        let app = &app;
        async move {
            let budgets = app.get(&path).await.ok(200);
            let windows = |budget: &Value| budget["windows"].as_array().unwrap().clone();
            let items = budgets["items"].as_array().unwrap();
            items.iter().flat_map(windows).map(|w| w["usedUsd"].as_i64().unwrap()).collect::<Vec<_>>()
        }
    };
    let (of_user, of_key) = (format!("/budgets/user/{user}"), format!("/budgets/key/{key}"));
    // Mainline and the model group; of each the total and the day.
    assert_eq!((used(of_user.clone()).await, used(of_key.clone()).await), (vec![3, 3, 4, 4], vec![3, 3, 4, 4]));
    let version = app.get(&format!("/users/{user}")).await.ok(200)["version"].as_i64().unwrap();
    app.seen.take();
    let answer = app.post(&format!("/users/{user}:resetLimits"), json!({"window": "daily"})).await;
    assert_eq!(answer.header("etag"), format!("\"{}\"", version + 1));
    assert_eq!(answer.ok(200)["version"], version + 1);
    assert_eq!(app.seen.take(), [format!("user {user}")]);
    assert_eq!((used(of_user.clone()).await, used(of_key.clone()).await), (vec![3, 0, 4, 0], vec![3, 3, 4, 4]));
    app.call("POST", &format!("/users/{user}:resetLimits"), TOKEN, &[], Body::empty()).await.ok(200);
    assert_eq!((used(of_user.clone()).await, used(of_key.clone()).await), (vec![0; 4], vec![3, 3, 4, 4]));
    app.post(&format!("/keys/{key}:resetLimits"), json!({"window": "total"})).await.ok(200);
    assert_eq!(used(of_key.clone()).await, [0, 3, 0, 4]);
    app.post(&format!("/keys/{key}:resetLimits"), json!({"window": null})).await.ok(200);
    assert_eq!(used(of_key).await, [0; 4]);
    let last = app.audit().await.pop().unwrap();
    assert_eq!((last.action.as_str(), last.object_type.as_str()), ("reset_limits", "key"));
}

pub async fn a_reset_that_makes_no_sense_is_refused(app: App) {
    let user = app.user("ada").await;
    let (key, _) = app.key(user).await;
    for path in [format!("/users/{user}:resetLimits"), format!("/keys/{key}:resetLimits")] {
        app.post(&path, json!({"window": "hourly"})).await.invalid(&["window"]);
        app.post(&path, json!({"windows": []})).await.invalid(&["windows"]);
        app.post(&path, json!([])).await.invalid(&[""]);
        app.json("POST", &path, &[("if-match", "\"9\"")], &json!({})).await.problem(412, "version_mismatch");
        let repeated = [("idempotency-key", "once")];
        let first = app.json("POST", &path, &repeated, &json!({})).await;
        let second = app.json("POST", &path, &repeated, &json!({})).await;
        assert_eq!((second.header("idempotency-replayed"), &second.body), ("true", &first.body));
    }
    app.post("/users/999:resetLimits", json!({})).await.problem(404, "not_found");
    app.post("/keys/999:resetLimits", json!({})).await.problem(404, "not_found");
    let row = entity::users::Entity::find_by_id(user).one(&app.db).await.unwrap().unwrap();
    assert_eq!(row.era, 1, "what was refused or repeated began no era");
}

pub async fn a_new_cap_is_in_force_on_this_node_at_once(app: App) {
    let user = app.user("ada").await;
    let path = format!("/budgets/user/{user}");
    assert_eq!(app.get(&path).await.ok(200)["items"], json!([]));
    for usd in [5, 3, 7] {
        app.patch(&format!("/users/{user}"), json!({"limits": {"daily": {"usd": usd}}})).await.ok(200);
        let windows = windows(&app, &path).await;
        assert_eq!((&windows[0]["limitUsd"], &windows[0]["remainingUsd"]), (&json!(usd), &json!(usd)));
    }
    app.patch(&format!("/users/{user}"), json!({"limits": {"daily": null}})).await.ok(200);
    assert_eq!(app.get(&path).await.ok(200)["items"], json!([]));
}
