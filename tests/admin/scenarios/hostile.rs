//! What attackers send, to every operation of the document.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::body::Body;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::{Value, json};

use crate::app::{Answer, App, TOKEN};
use crate::operations;

const INJECTIONS: [&str; 12] = [
    "'; DROP TABLE users; --",
    "1; DELETE FROM keys",
    "1 OR 1=1",
    "' OR ''='",
    "\" OR \"\"=\"",
    "1) UNION SELECT secret_hash FROM keys --",
    "$1",
    "?1",
    "%' OR name LIKE '%",
    "\\'; TRUNCATE usage_ledger; --",
    "a\r\nx-evil: 1\r\n\r\n<script>alert(1)</script>",
    "a\u{0}b",
];

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

impl App {
    /// How many rows each table has.
    async fn tables(&self) -> BTreeMap<String, i64> {
        let backend = self.db.get_database_backend();
        let names = match backend {
            DbBackend::Postgres => "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'",
            _ => "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        };
        let mut counts = BTreeMap::new();
        for row in self.db.query_all_raw(Statement::from_string(backend, names)).await.unwrap() {
            let name: String = row.try_get("", "name").unwrap();
            let count = Statement::from_string(backend, format!("SELECT COUNT(*) FROM \"{name}\""));
            let count = self.db.query_one_raw(count).await.unwrap().unwrap().try_get_by_index(0).unwrap();
            counts.insert(name, count);
        }
        assert!(counts.len() > 15);
        counts
    }

    async fn hostile(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.clock.fetch_add(1, Ordering::SeqCst);
        let headers = [("content-type", "application/json")];
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let token = if path.starts_with("/me") { self.mine.lock().clone() } else { TOKEN.to_owned() };
        let answer = self.call(method, path, &token, &headers, body).await;
        assert!(answer.status.as_u16() < 500, "{method} {path}: {answer:?}");
        assert!(answer.headers.get("x-evil").is_none(), "{method} {path}: {answer:?}");
        answer
    }
}

pub async fn what_is_sent_is_never_run(app: App) {
    let user = app.user("canary").await;
    let (key, secret) = app.key(user).await;
    app.mine.lock().clone_from(&secret);
    let group = app.model_group("canaries", &["m1"]).await;
    app.model_limit("user", user, group, json!({"total": {"usd": 1}})).await;
    let before = app.tables().await;
    let mut sent = 0;
    for operation in operations::all().into_iter().filter(operations::Operation::reads) {
        for text in INJECTIONS {
            for name in operation.parameters("path") {
                app.hostile("GET", &operation.filled_but(&name, &encoded(text)), None).await;
                sent += 1;
            }
            for name in operation.parameters("query").iter().map(String::as_str).chain([text, "toString"]) {
                let path = format!("{}?{}={}", operation.filled(), encoded(name), encoded(text));
                app.hostile("GET", &path, None).await;
                sent += 1;
            }
        }
    }
    assert!(sent > 1_000, "{sent}");
    assert_eq!(app.tables().await, before, "reading changes nothing");

    // Writes may write what they were told to; all else is as it was, and so is what they had no business with.
    for operation in operations::all().into_iter().filter(|operation| !operation.reads()) {
        for text in INJECTIONS {
            for name in operation.parameters("path") {
                let body = operation.body("x");
                app.hostile(&operation.method(), &operation.filled_but(&name, &encoded(text)), body.as_ref()).await;
            }
            // Not on the canary: that is what would be changed.
            let path = operation.filled().replace("/1", "/999");
            if let Some(body) = operation.body(text) {
                app.hostile(&operation.method(), &path, Some(&body)).await;
                if let Some(fields) = body.as_object() {
                    for name in fields.keys() {
                        app.hostile(&operation.method(), &path, Some(&json!({name: text}))).await;
                    }
                }
                app.hostile(&operation.method(), &path, Some(&json!({text: text}))).await;
            }
            for header in ["if-match", "idempotency-key", "accept", "content-type", "x-forwarded-for", "host"] {
                let headers = [(header, text)];
                if axum::http::HeaderValue::from_str(text).is_ok() {
                    let answer = app.call(&operation.method(), &path, TOKEN, &headers, Body::empty()).await;
                    assert!(answer.status.as_u16() < 500, "{header}: {operation:?}: {answer:?}");
                }
            }
        }
    }
    let after = app.tables().await;
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    for (table, count) in before {
        assert!(after[&table] >= count, "{table} has lost rows: {count}, {}", after[&table]);
    }
    assert_eq!(app.get(&format!("/users/{user}")).await.ok(200)["name"], "canary");
    assert_eq!(app.get(&format!("/keys/{key}")).await.ok(200)["prefix"], secret[..9]);
    app.call("GET", "/me", &secret, &[], Body::empty()).await.ok(200);
}

pub async fn no_header_can_be_made_to_hold_another(app: App) {
    let group = app.model_group("g", &[]).await;
    for (method, path) in [
        ("PUT", "/prices/a%0d%0ax-evil:%201".to_owned()),
        ("PUT", format!("/model-groups/{group}/models/a%0d%0ax-evil:%201")),
        ("POST", "/providers/a%0d%0ax-evil:%201:resetCircuit".to_owned()),
        ("GET", "/budgets/user/a%0d%0ax-evil:%201".to_owned()),
        ("GET", "/nothing%0d%0ax-evil:%201".to_owned()),
    ] {
        let answer = app.hostile(method, &path, Some(&json!({"requestUsd": 1}))).await;
        assert!(answer.status.is_client_error(), "{method} {path}: {answer:?}");
    }
    // What does come back in a header is written so that it is one.
    let created = app.put("/prices/a%20%22b%22%3B%20%C3%A9", json!({"requestUsd": 1})).await;
    assert_eq!(created.header("location"), "/api/v1/prices/a%20%22b%22%3B%20%C3%A9");
    created.ok(201);
}

pub async fn paths_lead_nowhere_else(app: App) {
    app.user("ada").await;
    for path in [
        "/api/v1/../users",
        "/api/v1/../../etc/passwd",
        "/api/v1/%2e%2e/users",
        "/api/v1/users/%2e%2e/%2e%2e/users",
        "/api/v1/users/..%2f..%2fetc%2fpasswd",
        "/api/v1//users",
        "//api/v1/users",
        "/api/v1/users//",
        "/api/v1/users/1/",
        "/api/v1/./users",
        "/api/v1/users;x=1",
        "/api/v1/users%3f",
        "/api/v1/users%00",
        "/api/v1/users/%00",
        "/api/v1/users/1%2fkeys",
        "/api/v1/users\\1",
        "/API/V1/users",
        "/api/v1/Users",
        "/docs/../api/v1/users",
    ] {
        let request = axum::http::Request::get(path).header("authorization", format!("Bearer {TOKEN}"));
        let Ok(request) = request.body(Body::empty()) else { continue };
        let answer = app.send(request).await;
        assert!(matches!(answer.status.as_u16(), 400 | 404), "{path}: {answer:?}");
        assert!(!answer.body.contains("ada"), "{path}");
    }
}

pub async fn a_body_that_does_not_come_is_not_waited_for(app: App) {
    let stalled = || {
        let start = futures::stream::iter([Ok::<_, std::io::Error>("{\"name\":")]);
        Body::from_stream(futures::StreamExt::chain(start, futures::stream::pending()))
    };
    let json = [("content-type", "application/json")];
    let start = Instant::now();
    let user = app.user("ada").await;
    let (users, imported, key) = tokio::join!(
        app.call("POST", "/users", TOKEN, &json, stalled()),
        app.call("POST", "/prices:import", TOKEN, &json, stalled()),
        app.call("PATCH", "/users/1", TOKEN, &json, stalled()),
    );
    for answer in [users, imported, key] {
        answer.problem(408, "request_timeout");
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    // Nothing was held meanwhile: not even whoever has no credential is waited for.
    app.call("POST", "/users", "", &json, stalled()).await.problem(401, "unauthorized");
    app.get(&format!("/users/{user}")).await.ok(200);
}

pub async fn odd_json_is_refused_or_read_as_it_says(app: App) {
    let json = [("content-type", "application/json")];
    let post = async |body: String| app.call("POST", "/users", TOKEN, &json, Body::from(body)).await;
    // The last of two fields of one name counts, as in most readers: whoever checks what he sends sees the same.
    assert_eq!(post(r#"{"name":"a","name":"b"}"#.to_owned()).await.ok(201)["name"], "b");
    for number in ["1e999", "-1e999", "1e400000", "1".repeat(400_000).as_str()] {
        let answer = post(format!("{{\"name\":\"n\",\"rpm\":{number}}}")).await;
        assert_eq!(answer.status, 400, "{:.60} {}", number, answer.body);
        let answer = post(format!("{{\"name\":\"n\",\"limits\":{{\"total\":{{\"usd\":{number}}}}}}}")).await;
        assert_eq!(answer.status, 400, "{:.60} {}", number, answer.body);
    }
    let exact = format!("{{\"name\":\"exact\",\"limits\":{{\"total\":{{\"usd\":0.{}1}}}}}}", "0".repeat(100_000));
    assert_eq!(post(exact).await.status, 400);
    for operation in operations::all().into_iter().filter(operations::Operation::has_body) {
        for body in [
            "[".repeat(100_000),
            "{\"a\":".repeat(100_000),
            format!("{{\"name\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000)),
            r#"{"name":"\ud800"}"#.to_owned(),
            r#"{"name":"\udc00\ud800"}"#.to_owned(),
            "\u{feff}{}".to_owned(),
            "{\"name\":1e5000}".to_owned(),
        ] {
            let answer = app.call(&operation.method(), &operation.filled(), TOKEN, &json, Body::from(body)).await;
            assert!(answer.status.is_client_error(), "{operation:?}: {answer:?}");
        }
        let not_utf8 = Body::from(&b"{\"name\":\"\xff\xfe\"}"[..]);
        let answer = app.call(&operation.method(), &operation.filled(), TOKEN, &json, not_utf8).await;
        assert!(answer.status.is_client_error(), "{operation:?}: {answer:?}");
    }
}

pub async fn no_page_of_another_origin_gets_anything(app: App) {
    let evil = ("origin", "https://evil.example");
    for operation in operations::all() {
        let path = operation.filled();
        let preflight =
            [evil, ("access-control-request-method", "POST"), ("access-control-request-headers", "authorization")];
        let asked = app.call("OPTIONS", &path, "", &preflight, Body::empty()).await;
        asked.problem(405, "method_not_allowed");
        let answer =
            if operation.reads() { app.call("GET", &path, TOKEN, &[evil], Body::empty()).await } else { asked };
        for name in answer.headers.keys() {
            assert!(!name.as_str().starts_with("access-control-"), "{operation:?}: {answer:?}");
        }
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    // What a form of another page can send without being asked is refused, whatever its body looks like.
    let before = app.tables().await;
    for operation in operations::all().into_iter().filter(operations::Operation::has_body) {
        let body = operation.body("x").unwrap().to_string();
        for kind in
            ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain;application/json"]
        {
            let headers = [evil, ("content-type", kind)];
            let answer = app.call(&operation.method(), &operation.filled(), TOKEN, &headers, body.clone().into()).await;
            assert!(matches!(answer.status.as_u16(), 415 | 404), "{operation:?}: {answer:?}");
        }
        let answer = app.call(&operation.method(), &operation.filled(), TOKEN, &[evil], body.into()).await;
        assert!(matches!(answer.status.as_u16(), 415 | 404), "{operation:?}: {answer:?}");
    }
    assert_eq!(app.tables().await, before, "nothing was written");
}

/// What `serde_json` takes for another text of JSON, as deep as one likes.
pub async fn json_in_json_is_refused(app: App) {
    let mut deep = "0".to_owned();
    for _ in 0..12 {
        let text = format!("{}{deep}{}", "[".repeat(120), "]".repeat(120));
        deep = json!({"$serde_json::private::RawValue": text}).to_string();
    }
    let smuggled = json!({"$serde_json::private::RawValue": "{\"name\": \"smuggled\"}"}).to_string();
    let before = app.tables().await;
    let mut sent = 0;
    for operation in operations::all().into_iter().filter(|operation| !operation.reads()) {
        let Some(mut fields) = operation.body("x") else { continue };
        let Some(first) = fields.as_object_mut().and_then(|fields| fields.values_mut().next()) else { continue };
        *first = json!("hidden");
        let hidden = fields.to_string().replacen("\"hidden\"", &deep, 1);
        for body in [smuggled.clone(), deep.clone(), deep.replace('$', "\\u0024"), hidden] {
            let headers = [("content-type", "application/json")];
            let answer = app.call(&operation.method(), &operation.filled(), TOKEN, &headers, Body::from(body)).await;
            assert!((400..500).contains(&answer.status.as_u16()), "{}: {answer:?}", operation.filled());
            sent += 1;
        }
    }
    assert!(sent > 40, "{sent}");
    assert_eq!(app.tables().await, before);
}
