//! `/explain`.

use serde_json::{Value, json};

use crate::app::App;
use crate::node::spent;

/// Each provider with the reason for which it would not get the request, in order.
fn exclusions(explained: &Value) -> Vec<(String, Value)> {
    let candidates = explained["candidates"].as_array().unwrap();
    candidates.iter().map(|c| (c["provider"].as_str().unwrap().to_owned(), c["excluded"].clone())).collect()
}

fn named(pairs: &[(&str, Option<&str>)]) -> Vec<(String, Value)> {
    pairs.iter().map(|(name, why)| ((*name).to_owned(), json!(why))).collect()
}

pub async fn every_provider_is_named_with_what_speaks_against_it(app: App) {
    let user = app.post("/users", json!({"name": "ada", "providerGroups": ["default"]})).await.ok(201)["id"].clone();
    let explained = app.get(&format!("/explain?userId={user}&model=m1")).await.ok(200);
    assert_eq!(explained["dialect"], "openai_chat", "what the first provider of the model speaks");
    assert_eq!(
        exclusions(&explained),
        named(&[("first", None), ("second", None), ("far", Some("provider_group")), ("other", Some("dialect"))])
    );
    let verdict = json!({"admitted": true, "provider": "first", "code": null, "status": null, "message": null,
        "details": null});
    assert_eq!(explained["verdict"], verdict);
    assert_eq!(explained["modelGroup"], Value::Null);
    let budgets = explained["budgets"].as_array().unwrap();
    assert_eq!(budgets.iter().map(|b| b["axis"].clone()).collect::<Vec<_>>(), ["user", "provider"], "no key was named");
    assert_eq!((&budgets[0]["windows"], &budgets[1]["ownerId"]), (&json!([]), &json!("first")));
    assert!(explained["candidates"][0]["needsUsd"].as_f64().unwrap() > 0.0);
    let anthropic = app.get(&format!("/explain?userId={user}&model=m1&dialect=anthropic")).await.ok(200);
    assert_eq!(anthropic["verdict"]["provider"], "second");
    assert_eq!(exclusions(&anthropic)[1], ("first".to_owned(), json!("dialect")));
    let unpriced = app.get(&format!("/explain?userId={user}&model=free")).await.ok(200);
    assert_eq!(
        (&unpriced["verdict"]["code"], &unpriced["verdict"]["status"]),
        (&json!("model_not_priced"), &json!(400))
    );
    assert_eq!(
        exclusions(&unpriced),
        named(&[
            ("first", Some("model")),
            ("second", Some("model_not_priced")),
            ("far", Some("provider_group")),
            ("other", Some("dialect"))
        ])
    );
    let nobody = app.get(&format!("/explain?userId={user}&model=m1&dialect=openai_embeddings")).await.ok(200);
    assert_eq!(
        (&nobody["verdict"]["code"], &nobody["verdict"]["status"]),
        (&json!("no_provider_available"), &json!(503))
    );
}

pub async fn the_budget_that_pays_is_named_and_so_is_the_refusal(app: App) {
    let user =
        app.post("/users", json!({"name": "ada", "limits": {"daily": {"usd": 100}}})).await.ok(201)["id"].clone();
    let user = user.as_i64().unwrap();
    let (key, _) = app.key(user).await;
    app.patch(&format!("/keys/{key}"), json!({"limits": {"total": {"usd": 100}}})).await.ok(200);
    let group = app.model_group("g", &["m2"]).await;
    app.model_limit("user", user, group, json!({"daily": {"usd": 5}})).await;
    spent(&app.db, user, key, group, 5, (false, true)).await;
    let ask = |model: &str| {
        let (app, path) = (&app, format!("/explain?userId={user}&keyId={key}&model={model}"));
        async move { app.get(&path).await.ok(200) }
    };
    let scopes = |explained: &Value| {
        let budgets = explained["budgets"].as_array().unwrap();
        budgets.iter().map(|b| (b["axis"].clone(), b["scope"].clone())).collect::<Vec<_>>()
    };
    let pair = |axis: &str, scope: &str| (json!(axis), json!(scope));
    let free = ask("m1").await;
    assert_eq!(free["verdict"]["admitted"], true);
    assert_eq!(scopes(&free), [pair("key", "mainline"), pair("user", "mainline"), pair("provider", "mainline")]);
    // h10: the group is that of the model which is sent upstream.
    let refused = ask("alias").await;
    assert_eq!(
        (&refused["candidates"][0]["servedModel"], &refused["modelGroup"]),
        (&json!("m2"), &json!({"id": group, "name": "g"}))
    );
    assert_eq!(scopes(&refused), [pair("key", "mainline"), pair("user", "g"), pair("provider", "mainline")]);
    let verdict = &refused["verdict"];
    assert_eq!(
        (&verdict["admitted"], &verdict["code"], &verdict["status"]),
        (&json!(false), &json!("budget_exceeded"), &json!(402))
    );
    let details = &verdict["details"];
    assert_eq!(
        (&details["axis"], &details["scope"], &details["window"]),
        (&json!("user"), &json!("g"), &json!("daily"))
    );
    assert_eq!((&details["usedUsd"], &details["limitUsd"]), (&json!(5.0), &json!(5.0)));
    assert_eq!(details["source"], json!({"type": "user", "id": user, "name": "ada"}));
    assert!(verdict["message"].as_str().unwrap().contains("budget"), "{verdict}");
    assert_eq!(exclusions(&refused)[0], ("first".to_owned(), json!("budget_exceeded")));
    // h20: with a cap for one window alone the group's budget still pays in place of the mainline one.
    assert_eq!(refused["budgets"][1]["windows"].as_array().unwrap().len(), 1);
    let boost = app.boost(user, group, 5).await;
    assert_eq!(ask("alias").await["verdict"]["admitted"], true, "with a boost");
    app.delete(&format!("/quota-boosts/{boost}")).await.ok(204);
    assert_eq!(ask("alias").await["verdict"]["admitted"], false);
}

pub async fn f16_a_candidate_that_cannot_be_paid_for_is_passed_over(app: App) {
    let user = app.user("ada").await;
    spent(&app.db, user, 1, 0, 50, (true, true)).await;
    let explained = app.get(&format!("/explain?userId={user}&model=m1&dialect=openai_chat")).await.ok(200);
    assert_eq!(exclusions(&explained)[..2], named(&[("first", Some("provider_budget_exceeded")), ("second", None)]));
    assert_eq!(explained["verdict"]["provider"], "second");
    let only = app.get(&format!("/explain?userId={user}&model=m2")).await.ok(200);
    assert_eq!(exclusions(&only)[0], ("first".to_owned(), json!("provider_budget_exceeded")));
    assert_eq!(only["verdict"]["provider"], "far");
}

pub async fn a_user_or_key_that_may_not_is_told_so(app: App) {
    let user =
        app.post("/users", json!({"name": "ada", "allowedModels": ["m1"]})).await.ok(201)["id"].as_i64().unwrap();
    let (key, _) = app.key(user).await;
    let ask = |query: String| {
        let app = &app;
        async move { app.get(&format!("/explain?userId={user}{query}")).await.ok(200)["verdict"].clone() }
    };
    let verdict = ask("&model=m2".to_owned()).await;
    assert_eq!((&verdict["code"], &verdict["status"]), (&json!("model_not_allowed"), &json!(403)));
    app.patch(&format!("/keys/{key}"), json!({"enabled": false})).await.ok(200);
    assert_eq!(ask(format!("&model=m1&keyId={key}")).await["code"], "key_disabled");
    assert_eq!(ask("&model=m1".to_owned()).await["admitted"], true);
    app.patch(&format!("/users/{user}"), json!({"enabled": false})).await.ok(200);
    assert_eq!(ask("&model=m1".to_owned()).await["code"], "user_disabled");
}

pub async fn a_question_that_makes_no_sense_is_refused(app: App) {
    let (ada, grace) = (app.user("ada").await, app.user("grace").await);
    let (key, _) = app.key(grace).await;
    app.get("/explain").await.invalid(&["userId", "model"]);
    app.get(&format!("/explain?userId={ada}&model=")).await.invalid(&["model"]);
    app.get("/explain?userId=x&model=m").await.invalid(&["userId"]);
    app.get("/explain?userId=999&model=m").await.invalid(&["userId"]);
    app.get(&format!("/explain?userId={ada}&model=m&keyId={key}")).await.invalid(&["keyId"]);
    app.get(&format!("/explain?userId={ada}&model=m&dialect=telnet&user=1")).await.invalid(&["dialect", "user"]);
}
