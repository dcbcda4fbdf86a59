//! `/users/{id}/keys`, `/keys/{id}`.

use axum::body::Body;
use entity::keys::Entity;
use sea_orm::EntityTrait;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::lists::all;
use crate::app::{App, TOKEN};

pub async fn a_secret_is_shown_once_and_only_its_hash_is_kept(app: App) {
    let user = app.user("ada").await;
    let created = app.post(&format!("/users/{user}/keys"), json!({"name": "laptop", "rpm": 10})).await;
    let location = created.header("location").to_owned();
    let mut created = created.ok(201);
    let secret = created.as_object_mut().unwrap().remove("secret").unwrap();
    let secret = secret.as_str().unwrap();
    assert!(secret.starts_with("tg-") && secret.len() == 46, "{secret}");
    assert_eq!(created["prefix"], secret[..9]);
    assert_eq!((&created["userId"], &created["version"]), (&json!(user), &json!(1)));
    let id = created["id"].as_i64().unwrap();
    assert_eq!(location, format!("/api/v1/keys/{id}"));
    assert_eq!(app.seen.take(), [format!("user {user}"), format!("key {id}")]);

    let read = app.get(&format!("/keys/{id}")).await.ok(200);
    assert_eq!(read, created);
    let page = app.get(&format!("/users/{user}/keys")).await.ok(200);
    assert_eq!(page["items"], json!([created]));
    let row = Entity::find_by_id(id).one(&app.db).await.unwrap().unwrap();
    let hash: String = Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(row.secret_hash, hash);
    let everything = format!("{row:?} {:?}", app.audit().await);
    assert!(!everything.contains(secret));
    assert!(!format!("{:?}", app.audit().await).contains(&hash), "not even the hash");

    for field in ["secret", "secretHash", "prefix", "userId", "id", "version", "note", "era", "userGroupIds"] {
        app.patch(&format!("/keys/{id}"), json!({field: "tg-mine"})).await.invalid(&[field]);
    }
    let changed = app.patch(&format!("/keys/{id}"), json!({"name": "desk", "rpm": null})).await.ok(200);
    assert_eq!((&changed["name"], &changed["rpm"], &changed["version"]), (&json!("desk"), &json!(null), &json!(2)));
}

pub async fn rotation_replaces_the_secret(app: App) {
    let user = app.user("ada").await;
    let (id, old) = app.key(user).await;
    app.call("GET", "/me", &old, &[], Body::empty()).await.ok(200);
    app.seen.take();
    let path = format!("/keys/{id}:rotate");
    let stale = [("if-match", "\"7\"")];
    app.call("POST", &path, TOKEN, &stale, Body::empty()).await.problem(412, "version_mismatch");
    assert_eq!(app.seen.take().len(), 0);
    let answer = app.call("POST", &path, TOKEN, &[], Body::empty()).await;
    assert_eq!(answer.header("etag"), "\"2\"");
    let rotated = answer.ok(200);
    let new = rotated["secret"].as_str().unwrap();
    assert_eq!((&rotated["id"], &rotated["version"]), (&json!(id), &json!(2)));
    assert_eq!(app.seen.take(), [format!("key {id}"), format!("key {id}")], "told of both hashes");
    app.call("GET", "/me", &old, &[], Body::empty()).await.problem(401, "unauthorized");
    app.call("GET", "/me", new, &[], Body::empty()).await.ok(200);
    app.json("POST", &path, &[], &json!({})).await.ok(200);
    app.json("POST", &path, &[], &json!({"secret": "tg-mine"})).await.invalid(&["secret"]);
    app.post("/keys/999:rotate", json!({})).await.problem(404, "not_found");
    assert_eq!(app.audit().await.last().unwrap().action, "rotate");
}

pub async fn keys_go_with_their_user(app: App) {
    let (ada, grace) = (app.user("ada").await, app.user("grace").await);
    let (first, secret) = app.key(ada).await;
    let (second, _) = app.key(ada).await;
    let (other, _) = app.key(grace).await;
    app.seen.take();
    app.delete(&format!("/users/{ada}")).await.ok(204);
    assert_eq!(
        app.seen.take(),
        ["limits".to_owned(), format!("user {ada}"), format!("key {first}"), format!("key {second}")]
    );
    app.get(&format!("/keys/{first}")).await.problem(404, "not_found");
    app.get(&format!("/users/{ada}/keys")).await.problem(404, "not_found");
    app.call("GET", "/me", &secret, &[], Body::empty()).await.problem(401, "unauthorized");
    app.delete(&format!("/keys/{other}")).await.ok(204);
    assert_eq!(app.get(&format!("/users/{grace}/keys")).await.ok(200)["items"], json!([]));
}

pub async fn keys_of_all_users_are_listed_by_user_and_name(app: App) {
    let (ada, grace) = (app.user("ada").await, app.user("grace").await);
    let (first, second, other) = (app.key(ada).await.0, app.key(ada).await.0, app.key(grace).await.0);
    app.patch(&format!("/keys/{second}"), json!({"name": "laptop & co"})).await.ok(200);
    let ids = async |query: &str| {
        let page = app.get(&format!("/keys{query}")).await.ok(200);
        page["items"].as_array().unwrap().iter().map(|key| key["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ids("").await, [first, second, other]);
    assert_eq!(ids("?limit=1").await, [first]);
    assert_eq!(ids(&format!("?userId={ada}")).await, [first, second]);
    assert_eq!(ids("?name=k").await, [first, other]);
    assert_eq!(ids(&format!("?name=k&userId={grace}")).await, [other]);
    assert_eq!(ids("?name=laptop%20%26%20co").await, [second]);
    for none in ["?name=K", "?name=laptop", "?userId=99"] {
        assert_eq!(ids(none).await, [0; 0], "{none}");
    }
    app.get("/keys?userId=0&name=").await.invalid(&["userId", "name"]);
}

pub async fn keys_of_all_users_are_sorted_and_searched(app: App) {
    let (ada, grace) = (app.user("ada").await, app.user("grace").await);
    for (n, name) in ["b", "B", "a", "ä", "a b", "b"].into_iter().enumerate() {
        app.clock.fetch_add(i64::try_from(n % 2).unwrap(), std::sync::atomic::Ordering::SeqCst);
        let user = if n % 2 == 0 { ada } else { grace };
        app.post(&format!("/users/{user}/keys"), json!({"name": name})).await.ok(201);
    }
    let keys = all(&app, "/keys", 100).await;
    assert_eq!(keys.len(), 6);
    for word in ["id", "name", "createdAt"] {
        let mut expected = keys.clone();
        // Ids are no texts: there nothing but they themselves are compared.
        expected.sort_by_key(|key| (key[word].as_str().map(str::to_owned), key["id"].as_i64()));
        for (sort, expected) in
            [(word.to_owned(), expected.clone()), (format!("-{word}"), expected.into_iter().rev().collect())]
        {
            for limit in [1, 4, 100] {
                assert_eq!(all(&app, &format!("/keys?sort={sort}"), limit).await, expected, "by {sort}");
                let of_ada: Vec<_> = expected.iter().filter(|key| key["userId"] == ada).cloned().collect();
                let found = all(&app, &format!("/keys?userId={ada}&sort={sort}"), limit).await;
                assert_eq!(found, of_ada, "of one, by {sort}");
            }
        }
    }
    let names = async |query: &str| {
        let found = all(&app, &format!("/keys?{query}"), 2).await;
        found.iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("q=a").await, ["a", "a b"]);
    assert_eq!(names("q=b&sort=-name").await, ["b", "b"]);
    assert_eq!(names(&format!("name=b&userId={grace}")).await, ["b"]);
    for wrong in ["sort=prefix", "sort=userId", "name=b&sort=id", "q=b&sort=-createdAt"] {
        app.get(&format!("/keys?{wrong}")).await.invalid(&["sort"]);
    }
    let page = app.get("/keys?sort=name&limit=1").await.ok(200);
    let cursor = page["pageInfo"]["nextCursor"].as_str().unwrap();
    app.get(&format!("/keys?sort=-name&cursor={cursor}")).await.invalid(&["cursor"]);
    app.get(&format!("/keys?cursor={cursor}")).await.invalid(&["cursor"]);
}

pub async fn a_key_of_a_missing_user_is_not_found(app: App) {
    app.post("/users/7/keys", json!({"name": "k"})).await.problem(404, "not_found");
    app.get("/users/7/keys").await.problem(404, "not_found");
    assert_eq!(Entity::find().all(&app.db).await.unwrap(), []);
    // A key that is made while its user is deleted is either refused or goes with it.
    for round in 0..5 {
        let user = app.user(&format!("u{round}")).await;
        let (keys, path) = (format!("/users/{user}/keys"), format!("/users/{user}"));
        let (created, deleted) = tokio::join!(app.post(&keys, json!({"name": "k"})), app.delete(&path));
        assert!(created.status == 201 || created.status == 404, "{created:?}");
        deleted.ok(204);
        assert_eq!(Entity::find().all(&app.db).await.unwrap(), []);
    }
}

pub async fn only_the_verbs_that_exist_are_found(app: App) {
    let user = app.user("ada").await;
    let (id, _) = app.key(user).await;
    for path in [
        format!("/keys/{id}:explode"),
        format!("/keys/{id}/~rotate"),
        format!("/keys/{id}:"),
        format!("/users/{user}:rotate"),
        "/prices:export".to_owned(),
        "/:".to_owned(),
    ] {
        app.post(&path, json!({})).await.problem(404, "not_found");
    }
    let answer = app.get(&format!("/keys/{id}:rotate")).await;
    let problem = answer.problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), "POST");
    assert_eq!(problem["instance"], format!("/api/v1/keys/{id}:rotate"), "as it was asked for");
    app.post(&format!("/keys/{id}%3Arotate"), json!({})).await.ok(200);
    app.post("/keys/x:rotate", json!({})).await.invalid(&["id"]);
}
