//! `/budgets/{axis}/{id}` and `/me/budgets`.

use axum::body::Body;
use sea_orm::{ConnectionTrait, EntityTrait};
use serde_json::{Value, json};
use tollgate::budget::Plan;
use tollgate::clock::now_ms;
use tollgate::directory::{owner_of_key, owner_of_user};
use tollgate::money::Usd;

use crate::app::App;
use crate::node::spent;

/// The budgets of an owner, each by the name of its scope.
async fn budgets(app: &App, path: &str) -> Vec<(String, Value)> {
    let found = app.get(path).await.ok(200);
    let items = found["items"].as_array().unwrap();
    items.iter().map(|item| (item["scope"].as_str().unwrap().to_owned(), item.clone())).collect()
}

pub async fn budgets_tell_caps_sources_use_and_what_is_left(app: App) {
    let user =
        app.post("/users", json!({"name": "ada", "limits": {"total": {"usd": 10}, "monthly": {"usd": 8}}})).await;
    let user = user.ok(201)["id"].as_i64().unwrap();
    let (key, _) = app.key(user).await;
    let group = app.model_group("fast", &["m1"]).await;
    let (low, high) = (app.user_group("low", &[user]).await, app.user_group("high", &[user]).await);
    app.model_limit("user", user, group, json!({"daily": {"usd": 2, "reset": "rolling"}})).await;
    app.model_limit("user_group", low, group, json!({"daily": {"usd": 2}, "5h": {"usd": 5}})).await;
    app.model_limit("user_group", high, group, json!({"5h": {"usd": 6, "reset": "fixed"}})).await;
    app.boost(user, group, 3).await;
    spent(&app.db, user, key, 0, 12, (true, true)).await;
    spent(&app.db, user, key, group, 1, (false, true)).await;
    let found = budgets(&app, &format!("/budgets/user/{user}")).await;
    let scopes: Vec<_> = found.iter().map(|(scope, _)| scope.as_str()).collect();
    assert_eq!(scopes, ["mainline", "fast"]);
    let mainline = &found[0].1;
    assert_eq!((&mainline["axis"], &mainline["ownerId"]), (&json!("user"), &json!(user)));
    assert_eq!(mainline["modelGroupId"], Value::Null);
    let ada = json!({"type": "user", "id": user, "name": "ada"});
    assert_eq!(
        mainline["windows"][0],
        json!({"window": "total", "reset": "fixed", "limitUsd": 10, "boostUsd": 0, "source": ada, "usedUsd": 12,
            "reservedUsd": 0, "remainingUsd": 0, "startsAt": null, "resetsAt": null}),
        "a budget that is overspent has nothing left, not less"
    );
    let monthly = &mainline["windows"][1];
    assert!(monthly["startsAt"].as_str().unwrap().ends_with("-01T00:00:00.000Z"), "{monthly}");
    assert!(monthly["resetsAt"].as_str().unwrap() > monthly["startsAt"].as_str().unwrap(), "{monthly}");
    let fast = &found[1].1;
    assert_eq!(fast["modelGroupId"], group);
    let brief = |window: &Value| {
        ["window", "reset", "limitUsd", "boostUsd", "usedUsd", "remainingUsd"].map(|name| window[name].clone())
    };
    // f21: how a window resets comes with the cap that wins; a tie goes to the user's own row.
    assert_eq!(brief(&fast["windows"][0]), [json!("5h"), json!("fixed"), json!(6), json!(0), json!(1), json!(5)]);
    assert_eq!(fast["windows"][0]["source"], json!({"type": "user_group", "id": high, "name": "high"}));
    assert_eq!(brief(&fast["windows"][1]), [json!("daily"), json!("rolling"), json!(5), json!(3), json!(1), json!(4)]);
    assert_eq!(fast["windows"][1]["source"], ada);
    assert_eq!(budgets(&app, &format!("/budgets/key/{key}")).await, []);
}

pub async fn what_running_requests_have_set_aside_is_told_apart(app: App) {
    let user = app.post("/users", json!({"name": "ada", "limits": {"daily": {"usd": 10}}})).await.ok(201)["id"].clone();
    let user = user.as_i64().unwrap();
    let (key, _) = app.key(user).await;
    let row = entity::users::Entity::find_by_id(user).one(&app.db).await.unwrap().unwrap();
    let of_key = entity::keys::Entity::find_by_id(key).one(&app.db).await.unwrap().unwrap();
    let (owner, of_key) = (owner_of_user(&row), owner_of_key(&of_key));
    let live = app.node.live.load();
    let provider = live.catalogue.iter().next().unwrap().budget.clone();
    let plan = Plan::new(&app.node.limits.snapshot().resolve(&owner, &of_key, "m1"), &owner, &of_key, provider);
    let dollars = |n: i64| Usd::from_nanos(n * 1_000_000_000);
    let reservation = app.node.budgets.reserve(&plan, dollars(4), now_ms()).await.unwrap();
    let window = || async { budgets(&app, &format!("/budgets/user/{user}")).await[0].1["windows"][0].clone() };
    let held = window().await;
    assert_eq!((&held["usedUsd"], &held["reservedUsd"], &held["remainingUsd"]), (&json!(0), &json!(4), &json!(6)));
    let of_provider = budgets(&app, "/budgets/provider/first").await[0].1.clone();
    assert_eq!(of_provider["windows"][0]["reservedUsd"], 4);
    drop(reservation);
    let free = window().await;
    assert_eq!((&free["reservedUsd"], &free["remainingUsd"]), (&json!(0), &json!(10)));
}

pub async fn a_provider_goes_by_its_name(app: App) {
    spent(&app.db, 1, 1, 0, 7, (true, true)).await;
    let found = budgets(&app, "/budgets/provider/first").await;
    let window = &found[0].1["windows"][0];
    assert_eq!((&found[0].1["axis"], &found[0].1["ownerId"]), (&json!("provider"), &json!("first")));
    assert_eq!((&window["limitUsd"], &window["usedUsd"]), (&json!(50), &json!(7)));
    assert_eq!(window["source"], json!({"type": "provider", "id": "first", "name": "first"}));
    assert_eq!(budgets(&app, "/budgets/provider/second").await, [], "no cap, no budget");
    app.get("/budgets/provider/nobody").await.problem(404, "not_found");
    app.get("/budgets/user/999").await.problem(404, "not_found");
    app.get("/budgets/key/999").await.problem(404, "not_found");
    app.get("/budgets/user/first").await.invalid(&["id"]);
    app.get("/budgets/team/1").await.invalid(&["axis"]);
}

pub async fn a_budget_that_cannot_be_found_out_is_unavailable(app: App) {
    let user = app.post("/users", json!({"name": "ada", "limits": {"daily": {"usd": 10}}})).await.ok(201)["id"].clone();
    app.db.execute_unprepared("ALTER TABLE usage_rollup_span RENAME TO elsewhere").await.unwrap();
    let answer = app.get(&format!("/budgets/user/{user}")).await;
    answer.problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "1");
}

pub async fn f06_f19_f23_every_write_counts_on_this_node_before_it_is_answered(app: App) {
    let user = app.user("ada").await;
    let path = format!("/budgets/user/{user}");
    let limits = || async {
        let found = budgets(&app, &path).await;
        found.into_iter().map(|(scope, budget)| (scope, budget["windows"][0]["limitUsd"].clone())).collect::<Vec<_>>()
    };
    let is = |usd: i64| vec![("g".to_owned(), json!(usd))];
    let group = app.model_group("g", &["m1"]).await;
    let team = app.user_group("team", &[]).await;
    app.model_limit("user_group", team, group, json!({"daily": {"usd": 5}})).await;
    assert_eq!(limits().await, []);
    app.put(&format!("/user-groups/{team}/members/{user}"), Value::Null).await.ok(200);
    assert_eq!(limits().await, is(5), "a member came");
    let own = app.model_limit("user", user, group, json!({"daily": {"usd": 7}})).await;
    assert_eq!(limits().await, is(7), "a limit came");
    let boost = app.boost(user, group, 2).await;
    assert_eq!(limits().await, is(9), "a boost came");
    app.delete(&format!("/quota-boosts/{boost}")).await.ok(204);
    assert_eq!(limits().await, is(7), "a boost was revoked");
    app.delete(&format!("/model-limits/{own}")).await.ok(204);
    assert_eq!(limits().await, is(5), "a limit went");
    app.patch(&format!("/users/{user}"), json!({"userGroupIds": []})).await.ok(200);
    assert_eq!(limits().await, [], "a membership went");
    app.patch(&format!("/users/{user}"), json!({"userGroupIds": [team]})).await.ok(200);
    app.patch(&format!("/model-groups/{group}"), json!({"name": "h"})).await.ok(200);
    assert_eq!(limits().await, [("h".to_owned(), json!(5))], "a group was renamed");
    app.delete(&format!("/user-groups/{team}")).await.ok(204);
    assert_eq!(limits().await, [], "a user group went");
    app.model_limit("user", user, group, json!({"daily": {"usd": 1}})).await;
    app.delete(&format!("/model-groups/{group}")).await.ok(204);
    assert_eq!(limits().await, [], "a model group went");
}

pub async fn h16_a_boost_without_a_cap_makes_no_budget(app: App) {
    let user = app.user("ada").await;
    let group = app.model_group("g", &["m1"]).await;
    app.boost(user, group, 5).await;
    assert_eq!(budgets(&app, &format!("/budgets/user/{user}")).await, []);
    app.model_limit("user", user, group, json!({"weekly": {"usd": 5}})).await;
    let found = budgets(&app, &format!("/budgets/user/{user}")).await;
    let windows: Vec<_> = found[0].1["windows"].as_array().unwrap().iter().map(|w| w["window"].clone()).collect();
    assert_eq!(windows, ["weekly"]);
}

pub async fn a_key_owner_sees_his_budgets_and_no_others(app: App) {
    let ada = app.post("/users", json!({"name": "ada", "limits": {"daily": {"usd": 3}}})).await.ok(201)["id"].clone();
    let (key, secret) = app.key(ada.as_i64().unwrap()).await;
    let (other, _) = app.key(ada.as_i64().unwrap()).await;
    for (key, usd) in [(key, 1), (other, 2)] {
        app.patch(&format!("/keys/{key}"), json!({"limits": {"total": {"usd": usd}}})).await.ok(200);
    }
    let mine = app.call("GET", "/me/budgets", &secret, &[], Body::empty()).await.ok(200);
    let owners: Vec<_> = mine["items"].as_array().unwrap().iter().map(|b| (&b["axis"], &b["ownerId"])).collect();
    assert_eq!(owners, [(&json!("user"), &ada), (&json!("key"), &json!(key))]);
    assert_eq!(mine["items"][1]["windows"][0]["source"], json!({"type": "key", "id": key, "name": "k"}));
    app.call("GET", &format!("/budgets/user/{ada}"), &secret, &[], Body::empty()).await.problem(401, "unauthorized");
}
