//! Who may do what.

use std::sync::atomic::Ordering;

use axum::body::Body;
use sea_orm::EntityTrait;
use serde_json::json;

use super::lists::all;
use crate::app::{App, NOW};

pub async fn roles_are_what_they_say(app: App) {
    let viewer = app.post("/admin-tokens", json!({"name": "eye", "role": "viewer"})).await.ok(201);
    let viewer = viewer["secret"].as_str().unwrap().to_owned();
    let admin = app.post("/admin-tokens", json!({"name": "root", "role": "admin"})).await.ok(201);
    let admin = admin["secret"].as_str().unwrap().to_owned();
    for path in ["/users", "/usage", "/usage/summary", "/prices", "/providers", "/settings", "/audit-logs"] {
        app.call("GET", path, &viewer, &[], Body::empty()).await.ok(200);
        app.call("GET", path, &admin, &[], Body::empty()).await.ok(200);
    }
    app.call("GET", "/admin-tokens", &viewer, &[], Body::empty()).await.problem(403, "forbidden");
    let headers = [("content-type", "application/json")];
    app.call("POST", "/users", &admin, &headers, Body::from(r#"{"name":"ada"}"#)).await.ok(201);
    assert_eq!(app.audit().await.last().unwrap().actor, "root");
    app.post("/admin-tokens", json!({"name": "x", "role": "owner"})).await.invalid(&["role"]);
    app.post("/admin-tokens", json!({"name": "x"})).await.invalid(&["role"]);
    app.post("/admin-tokens", json!({"name": "eye", "role": "admin"})).await.problem(409, "conflict");
    let past = json!({"name": "x", "role": "admin", "expiresAt": "2020-01-01T00:00:00Z"});
    app.post("/admin-tokens", past).await.invalid(&["expiresAt"]);
    assert_eq!(app.get("/admin-tokens").await.ok(200)["items"][0]["expiresAt"], json!(null));
}

pub async fn a_revoked_token_is_refused_at_once(app: App) {
    let created = app.post("/admin-tokens", json!({"name": "t", "role": "admin"})).await.ok(201);
    let (id, secret) = (created["id"].clone(), created["secret"].as_str().unwrap().to_owned());
    app.call("GET", "/users", &secret, &[], Body::empty()).await.ok(200);
    let page = app.get("/admin-tokens").await;
    assert!(!page.body.contains(&secret) && !page.body.to_lowercase().contains("hash"));
    let read = app.get(&format!("/admin-tokens/{id}")).await.ok(200);
    assert_eq!((&read["name"], &read["role"], &read["version"]), (&json!("t"), &json!("admin"), &json!(1)));
    app.delete(&format!("/admin-tokens/{id}")).await.ok(204);
    app.call("GET", "/users", &secret, &[], Body::empty()).await.problem(401, "unauthorized");
    app.delete(&format!("/admin-tokens/{id}")).await.problem(404, "not_found");

    // One that another node has revoked is refused a second later.
    let other = app.post("/admin-tokens", json!({"name": "u", "role": "admin"})).await.ok(201);
    let secret = other["secret"].as_str().unwrap();
    app.call("GET", "/users", secret, &[], Body::empty()).await.ok(200);
    entity::admin_tokens::Entity::delete_many().exec(&app.db).await.unwrap();
    app.clock.fetch_add(1000, Ordering::SeqCst);
    app.call("GET", "/users", secret, &[], Body::empty()).await.problem(401, "unauthorized");
}

pub async fn the_guard_stops_guessing_but_nobody_with_a_token(app: App) {
    let token = app.post("/admin-tokens", json!({"name": "t", "role": "admin"})).await.ok(201);
    let token = token["secret"].as_str().unwrap();
    let user = app.user("ada").await;
    let (_, key) = app.key(user).await;
    for guess in 0..20 {
        let path = if guess % 2 == 0 { "/users" } else { "/me" };
        app.call("GET", path, &format!("guess-{guess}"), &[], Body::empty()).await.problem(401, "unauthorized");
    }
    let stopped = app.call("GET", "/users", "guess-20", &[], Body::empty()).await;
    stopped.problem(429, "too_many_auth_failures");
    assert_eq!(stopped.header("retry-after"), "300");
    app.call("GET", "/me", "guess-21", &[], Body::empty()).await.problem(429, "too_many_auth_failures");
    app.call("GET", "/users", token, &[], Body::empty()).await.ok(200);
    app.call("GET", "/me", &key, &[], Body::empty()).await.ok(200);
    app.get("/users").await.ok(200);
    app.clock.store(NOW + 300_000, Ordering::SeqCst);
    app.call("GET", "/users", "guess-22", &[], Body::empty()).await.problem(401, "unauthorized");
}

pub async fn nobody_can_take_a_name_that_stands_for_another_in_the_audit_log(app: App) {
    app.user("ada").await;
    let actor = app.audit().await[0].actor.clone();
    let alike =
        [actor.to_lowercase(), "Command line".to_owned(), "command\u{a0}line".to_owned(), " command  LINE".to_owned()];
    for name in [actor.as_str(), "command line"].into_iter().chain(alike.iter().map(String::as_str)) {
        app.post("/admin-tokens", json!({"name": name, "role": "admin"})).await.problem(409, "conflict");
    }
    let hidden = format!("{actor}\u{200b}");
    app.post("/admin-tokens", json!({"name": hidden, "role": "admin"})).await.invalid(&["name"]);
    assert!(app.get("/admin-tokens").await.ok(200)["items"].as_array().unwrap().is_empty());
}

pub async fn tokens_are_sorted_and_searched(app: App) {
    for (n, name) in ["b", "a b", "B", "a"].into_iter().enumerate() {
        app.clock.store(NOW + i64::try_from(n / 2).unwrap(), Ordering::SeqCst);
        app.post("/admin-tokens", json!({"name": name, "role": "viewer"})).await.ok(201);
    }
    let names = async |query: &str| {
        let found = all(&app, &format!("/admin-tokens?{query}"), 3).await;
        found.iter().map(|token| token["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["b", "a b", "B", "a"]);
    assert_eq!(names("sort=-id").await, ["a", "B", "a b", "b"]);
    assert_eq!(names("sort=name").await, ["B", "a", "a b", "b"]);
    assert_eq!(names("sort=-name").await, ["b", "a b", "a", "B"]);
    assert_eq!(names("sort=-createdAt").await, ["a", "B", "a b", "b"]);
    assert_eq!(
        (names("q=a").await, names("name=b").await),
        (vec!["a".to_owned(), "a b".to_owned()], vec!["b".to_owned()])
    );
    for wrong in ["sort=role", "sort=expiresAt", "q=a&sort=id"] {
        app.get(&format!("/admin-tokens?{wrong}")).await.invalid(&["sort"]);
    }
}
