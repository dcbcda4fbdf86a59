//! What scenarios begin with.

use serde_json::{Value, json};

use crate::app::App;

impl App {
    /// A new user's id.
    pub async fn user(&self, name: &str) -> i64 {
        self.post("/users", json!({"name": name})).await.ok(201)["id"].as_i64().unwrap()
    }

    /// A new key's id and secret.
    pub async fn key(&self, user: i64) -> (i64, String) {
        let key = self.post(&format!("/users/{user}/keys"), json!({"name": "k"})).await.ok(201);
        (key["id"].as_i64().unwrap(), key["secret"].as_str().unwrap().to_owned())
    }

    /// A new user group's id.
    pub async fn user_group(&self, name: &str, members: &[i64]) -> i64 {
        let id = self.post("/user-groups", json!({"name": name})).await.ok(201)["id"].as_i64().unwrap();
        for member in members {
            self.put(&format!("/user-groups/{id}/members/{member}"), Value::Null).await.ok(200);
        }
        id
    }

    /// A new model group's id.
    pub async fn model_group(&self, name: &str, models: &[&str]) -> i64 {
        self.post("/model-groups", json!({"name": name, "models": models})).await.ok(201)["id"].as_i64().unwrap()
    }

    /// A new limit's id.
    pub async fn model_limit(&self, subject: &str, id: i64, model_group: i64, limits: Value) -> i64 {
        let limit = json!({"subjectType": subject, "subjectId": id, "modelGroupId": model_group, "limits": limits});
        let answer = self.put("/model-limits", limit).await;
        assert!(answer.status == 200 || answer.status == 201, "{answer:?}");
        answer.json()["id"].as_i64().unwrap()
    }

    /// A new boost's id: so many dollars a day, for years.
    pub async fn boost(&self, user: i64, model_group: i64, usd: i64) -> i64 {
        let boost = json!({"userId": user, "modelGroupId": model_group, "window": "daily", "usd": usd,
            "expiresAt": "2100-01-01T00:00:00Z"});
        self.post("/quota-boosts", boost).await.ok(201)["id"].as_i64().unwrap()
    }
}
