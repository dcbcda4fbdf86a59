//! A client of the REST API.

use std::sync::{Arc, Mutex};

use reqwest::Method;
use serde_json::{Value, json};

use super::{client, eventually};

/// The admin address of a gateway and a token for it.
#[derive(Clone)]
pub struct Admin {
    base: Arc<str>,
    token: Arc<str>,
    http: reqwest::Client,
    /// What was made through it, and through its clones.
    secrets: Arc<Mutex<Vec<String>>>,
}

/// A user with a key.
#[derive(Clone, Debug)]
pub struct Caller {
    pub user_id: i64,
    pub key_id: i64,
    pub secret: String,
}

impl Admin {
    pub fn new(base: &str, token: &str) -> Self {
        Self { base: base.into(), token: token.into(), http: client(), secrets: Arc::default() }
    }

    /// The address without a path.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request under `/api/v1` and gives back the status and the body, null when there is none.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut request = self.http.request(method, format!("{}/api/v1{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.bytes().await.unwrap();
        let answer = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if let Some(secret) = answer["secret"].as_str() {
            self.secrets.lock().unwrap().push(secret.to_owned());
        }
        (status, answer)
    }

    /// The token, and each secret that was in an answer.
    pub fn secrets(&self) -> Vec<String> {
        let made = self.secrets.lock().unwrap();
        made.iter().cloned().chain([self.token.to_string()]).collect()
    }

    /// Sends a request that must succeed.
    pub async fn ok(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.call(method.clone(), path, body).await;
        assert!((200..300).contains(&status), "{method} {path} answered {status}: {answer}");
        answer
    }

    pub async fn get(&self, path: &str) -> Value {
        self.ok(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Value {
        self.ok(Method::POST, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Value {
        self.ok(Method::PATCH, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Value {
        self.ok(Method::PUT, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) {
        self.ok(Method::DELETE, path, None).await;
    }

    /// A user with these fields and a key with those.
    pub async fn caller(&self, user: Value, key: Value) -> Caller {
        let user_id = self.user(user).await;
        let (key_id, secret) = self.key(user_id, key).await;
        Caller { user_id, key_id, secret }
    }

    pub async fn user(&self, mut fields: Value) -> i64 {
        // Names are unique.
        default(&mut fields, "name", &format!("somebody {}", rand::random::<u64>()));
        self.post("/users", &fields).await["id"].as_i64().unwrap()
    }

    pub async fn key(&self, user_id: i64, mut fields: Value) -> (i64, String) {
        default(&mut fields, "name", "laptop");
        let key = self.post(&format!("/users/{user_id}/keys"), &fields).await;
        (key["id"].as_i64().unwrap(), key["secret"].as_str().unwrap().to_owned())
    }

    /// Every row of the ledger, newest first.
    pub async fn usage(&self) -> Vec<Value> {
        self.get("/usage?limit=100").await["items"].as_array().unwrap().clone()
    }

    /// The rows of one request.
    pub async fn rows_of(&self, request_id: &str) -> Vec<Value> {
        self.usage().await.into_iter().filter(|row| row["requestId"] == request_id).collect()
    }

    /// The one row of a request, as soon as it is there.
    pub async fn row_of(&self, request_id: &str) -> Value {
        let rows = eventually(&format!("a ledger row of request {request_id}"), async || {
            Some(self.rows_of(request_id).await).filter(|rows| !rows.is_empty())
        })
        .await;
        let [row] = rows.as_slice() else { panic!("more than one row of {request_id}: {rows:#?}") };
        row.clone()
    }

    /// The attempts of a request, in order, as soon as its detail is there.
    pub async fn attempts_of(&self, request_id: &str) -> Vec<Value> {
        let path = format!("/requests/{request_id}");
        eventually("the request's detail", async || {
            let (status, detail) = self.call(Method::GET, &path, None).await;
            (status == 200).then(|| detail["detail"]["attempts"].as_array().expect("attempts").clone())
        })
        .await
    }

    /// Why each of them ended.
    pub async fn reasons_of(&self, request_id: &str) -> Vec<Value> {
        self.attempts_of(request_id).await.into_iter().map(|mut attempt| attempt["reason"].take()).collect()
    }

    /// The newest row, as soon as there are `count` of them in all.
    pub async fn newest_of(&self, count: usize) -> Value {
        eventually(&format!("{count} ledger rows"), async || {
            let rows = self.usage().await;
            assert!(rows.len() <= count, "more than {count} rows: {rows:#?}");
            (rows.len() == count).then(|| rows[0].clone())
        })
        .await
    }
}

fn default(fields: &mut Value, name: &str, value: &str) {
    let fields = fields.as_object_mut().unwrap();
    fields.entry(name).or_insert_with(|| json!(value));
}
