//! `Idempotency-Key`.

use std::sync::atomic::Ordering;

use axum::body::Body;
use sea_orm::EntityTrait;
use serde_json::json;

use crate::app::{App, NOW};

const KEY: [(&str, &str); 1] = [("idempotency-key", "3f1c")];

pub async fn a_repeated_post_is_carried_out_once(app: App) {
    let body = json!({"name": "ada"});
    let first = app.json("POST", "/users", &KEY, &body).await;
    let second = app.json("POST", "/users", &KEY, &body).await;
    assert_eq!((first.header("idempotency-replayed"), second.header("idempotency-replayed")), ("", "true"));
    assert_eq!((first.status, &first.body), (second.status, &second.body));
    for header in ["location", "etag", "content-type"] {
        assert_eq!(first.header(header), second.header(header));
    }
    assert_eq!(app.audit().await.len(), 1);
    app.post("/users", body).await.problem(409, "conflict");
    for wrong in ["", "\u{e9}", &"k".repeat(256)] {
        app.json("POST", "/users", &[("idempotency-key", wrong)], &json!({"name": "x"})).await.invalid(&["Idempotency-Key"]);
    }
}

pub async fn a_repeated_answer_has_no_secret(app: App) {
    let user = app.user("ada").await;
    let keys = format!("/users/{user}/keys");
    let (id, _) = app.key(user).await;
    for (path, body) in [
        (keys, json!({"name": "k"})),
        ("/admin-tokens".to_owned(), json!({"name": "t", "role": "viewer"})),
        (format!("/keys/{id}:rotate"), json!({})),
    ] {
        let first = app.json("POST", &path, &KEY, &body).await;
        let second = app.json("POST", &path, &KEY, &body).await;
        assert_eq!(second.header("idempotency-replayed"), "true");
        assert_eq!(first.status, second.status);
        let (mut first, second) = (first.json(), second.json());
        let secret = first.as_object_mut().unwrap().remove("secret").unwrap();
        assert_eq!(first, second);
        let kept = entity::idempotency_keys::Entity::find().all(&app.db).await.unwrap();
        assert!(!format!("{kept:?}").contains(secret.as_str().unwrap()));
    }
}

pub async fn another_body_is_refused(app: App) {
    app.json("POST", "/users", &KEY, &json!({"name": "ada"})).await.ok(201);
    app.json("POST", "/users", &KEY, &json!({"name": "grace"})).await.problem(422, "idempotency_key_reused");
    app.json("POST", "/users", &KEY, &json!({"name": ""})).await.invalid(&["name"]);
    assert_eq!(app.audit().await.len(), 1);
}

pub async fn a_refusal_is_not_remembered(app: App) {
    let id = app.user("ada").await;
    app.json("POST", "/users", &KEY, &json!({"name": "ada"})).await.problem(409, "conflict");
    app.delete(&format!("/users/{id}")).await.ok(204);
    app.json("POST", "/users", &KEY, &json!({"name": "ada"})).await.ok(201);
}

pub async fn the_same_key_of_another_actor_or_path_is_another_key(app: App) {
    let token = app.post("/admin-tokens", json!({"name": "t", "role": "admin"})).await.ok(201);
    let token = token["secret"].as_str().unwrap();
    let user = app.json("POST", "/users", &KEY, &json!({"name": "k"})).await.ok(201)["id"].clone();
    app.json("POST", &format!("/users/{user}/keys"), &KEY, &json!({"name": "k"})).await.ok(201);
    let headers = [("content-type", "application/json"), KEY[0]];
    let other = app.call("POST", "/users", token, &headers, Body::from(r#"{"name":"k"}"#)).await;
    other.problem(409, "conflict");
}

pub async fn of_many_at_once_one_is_carried_out(app: App) {
    let user = app.user("ada").await;
    let keys = format!("/users/{user}/keys");
    for round in 0..5 {
        let key = round.to_string();
        let post = |_| {
            let (app, keys, key) = (&app, &keys, &key);
            async move { app.json("POST", keys, &[("idempotency-key", key)], &json!({"name": "k"})).await }
        };
        let answers = futures::future::join_all((0..8).map(post)).await;
        let ids: std::collections::BTreeSet<_> = answers.iter().map(|a| a.json()["id"].as_i64().unwrap()).collect();
        assert_eq!(ids.len(), 1, "{answers:?}");
        assert!(answers.iter().all(|answer| answer.status == 201));
        assert_eq!(answers.iter().filter(|answer| answer.header("idempotency-replayed").is_empty()).count(), 1);
    }
    assert_eq!(app.get(&keys).await.ok(200)["items"].as_array().unwrap().len(), 5);
}

pub async fn a_day_later_it_is_forgotten(app: App) {
    app.json("POST", "/users", &KEY, &json!({"name": "ada"})).await.ok(201);
    app.clock.store(NOW + 86_399_999, Ordering::SeqCst);
    app.json("POST", "/users", &KEY, &json!({"name": "ada"})).await.ok(201);
    app.clock.store(NOW + 86_400_000, Ordering::SeqCst);
    app.json("POST", "/users", &KEY, &json!({"name": "grace"})).await.ok(201);
}
