//! A conflict says with what.

use serde_json::{Value, json};

use crate::app::{Answer, App};

/// Where objects with unique names are created, what they are called in conflicts, and what they need beside a name.
const NAMED: [(&str, &str); 4] = [
    ("/users", "user"),
    ("/user-groups", "user_group"),
    ("/model-groups", "model_group"),
    ("/admin-tokens", "admin_token"),
];

fn called(path: &str, name: &str) -> Value {
    if path == "/admin-tokens" { json!({"name": name, "role": "viewer"}) } else { json!({"name": name}) }
}

#[track_caller]
fn conflicts(answer: &Answer, kind: &str, id: &Value, name: &str) {
    let problem = answer.problem(409, "conflict");
    assert_eq!(problem["conflictsWith"], json!({"type": kind, "id": id, "name": name}), "{problem}");
    let (detail, id) = (problem["detail"].as_str().unwrap(), id.to_string());
    assert!(*name != *id && (detail.contains(&id) || detail.contains(name)), "{problem}");
}

pub async fn whoever_has_the_name_is_named(app: App) {
    for (path, kind) in NAMED {
        let first = app.post(path, called(path, "taken")).await.ok(201);
        let other = app.post(path, called(path, "other")).await.ok(201);
        conflicts(&app.post(path, called(path, " taken ")).await, kind, &first["id"], "taken");
        let other = format!("{path}/{}", other["id"]);
        if path != "/admin-tokens" {
            conflicts(&app.patch(&other, json!({"name": "taken"})).await, kind, &first["id"], "taken");
            app.patch(&other, json!({"name": "other"})).await.ok(200);
            app.patch(&other, json!({"name": "Taken"})).await.ok(200);
        }
        app.delete(&format!("{path}/{}", first["id"])).await.ok(204);
        let next = app.post(path, called(path, "taken")).await.ok(201);
        conflicts(&app.post(path, called(path, "taken")).await, kind, &next["id"], "taken");
    }
    // Keys may be called alike.
    let user = app.user("ada").await;
    assert_ne!(app.key(user).await.0, app.key(user).await.0);
}

pub async fn of_many_who_take_a_name_at_once_the_losers_name_the_winner(app: App) {
    for (path, kind) in NAMED {
        for round in 0..3 {
            let name = format!("round {round} of many");
            let answers = futures::future::join_all((0..4).map(|_| app.post(path, called(path, &name)))).await;
            let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
            assert_eq!(won.len(), 1, "{answers:?}");
            for lost in lost {
                conflicts(lost, kind, &won[0].json()["id"], &name);
            }
        }
    }
    // So do those who are renamed at once.
    for (path, kind) in NAMED.into_iter().filter(|(path, _)| *path != "/admin-tokens") {
        let mut paths = Vec::new();
        for n in 0..3 {
            let new = app.post(path, called(path, &format!("before {n}"))).await.ok(201);
            paths.push(format!("{path}/{}", new["id"]));
        }
        let answers =
            futures::future::join_all(paths.iter().map(|path| app.patch(path, json!({"name": "after"})))).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!((won.len(), lost.len()), (1, 2), "{answers:?}");
        for lost in lost {
            conflicts(lost, kind, &won[0].json()["id"], "after");
        }
    }
}

pub async fn a_singleton_names_the_model_that_it_has(app: App) {
    let group = app.post("/model-groups", json!({"singleton": true, "models": ["m"]})).await.ok(201);
    let path = format!("/model-groups/{}", group["id"]);
    for answer in
        [app.put(&format!("{path}/models/a"), Value::Null).await, app.patch(&path, json!({"models": ["a", "m"]})).await]
    {
        conflicts(&answer, "model", &Value::Null, "m");
    }
    let both = json!({"singleton": true, "models": ["y", "x"]});
    conflicts(&app.post("/model-groups", both).await, "model", &Value::Null, "x");
    app.patch(&path, json!({"singleton": false, "models": ["b", "c"]})).await.ok(200);
    conflicts(&app.patch(&path, json!({"singleton": true})).await, "model", &Value::Null, "b");
}
