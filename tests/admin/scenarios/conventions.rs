//! What all endpoints have in common.

use std::sync::atomic::Ordering;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::app::{App, NOW, TOKEN};

pub async fn answers_of_the_framework_are_problems_too(app: App) {
    for path in ["/nothing", "/", "/users/", "/users/1/2", "/prices/", "/api/v2/users", "/api/v1"] {
        let problem = app.get(path).await.problem(404, "not_found");
        let asked = if path.starts_with("/api/") { path.to_owned() } else { format!("/api/v1{path}") };
        assert_eq!(problem["instance"], asked);
    }
    for (method, path, allow) in [
        ("PUT", "/users", "GET,HEAD,POST"),
        ("POST", "/users/1", "GET,HEAD,PATCH,DELETE"),
        ("DELETE", "/usage", "GET,HEAD"),
        ("TRACE", "/me", "GET,HEAD"),
        ("OPTIONS", "/settings", "GET,HEAD"),
        ("PATCH", "/prices/m", "GET,HEAD,PUT,DELETE"),
        ("GET", "/prices:import", "POST"),
        ("BREW", "/users", "GET,HEAD,POST"),
        ("POST", "/openapi.json", "GET,HEAD"),
    ] {
        let answer = app.call(method, path, TOKEN, &[], Body::empty()).await;
        answer.problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
    let head = app.call("HEAD", "/users", TOKEN, &[], Body::empty()).await;
    assert_eq!((head.status.as_u16(), head.body.as_str()), (200, ""));
}

pub async fn bodies_have_a_limit_and_a_type(app: App) {
    let json = [("content-type", "application/json")];
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(10 * 1024 * 1024));
    app.call("POST", "/users", TOKEN, &json, Body::from(large.clone())).await.problem(413, "too_large");
    // Without a length: it is counted as it comes.
    let chunks = futures::stream::iter((0..200).map(|_| Ok::<_, std::io::Error>("x".repeat(64 * 1024))));
    app.call("POST", "/users", TOKEN, &json, Body::from_stream(chunks)).await.problem(413, "too_large");
    let announced = [("content-type", "application/json"), ("content-length", "99999999999")];
    app.call("POST", "/users", TOKEN, &announced, Body::empty()).await.problem(413, "too_large");
    let within = format!("{{\"name\":\"{}\"}}", "x".repeat(1024 * 1024 - 11));
    app.call("POST", "/users", TOKEN, &json, Body::from(within.clone())).await.invalid(&["name"]);
    app.call("POST", "/users", TOKEN, &json, Body::from(within + " ")).await.problem(413, "too_large");

    for headers in [
        vec![],
        vec![("content-type", "text/plain")],
        vec![("content-type", "application/merge-patch+json")],
        vec![("content-type", "")],
    ] {
        let answer = app.call("POST", "/users", TOKEN, &headers, Body::from(r#"{"name":"a"}"#)).await;
        answer.problem(415, "unsupported_media_type");
    }
    let broken = futures::stream::iter([Ok("{\"name\":"), Err(std::io::Error::other("gone"))]);
    app.call("POST", "/users", TOKEN, &json, Body::from_stream(broken)).await.problem(400, "invalid_request");
    let charset = [("content-type", "Application/JSON; charset=utf-8")];
    app.call("POST", "/users", TOKEN, &charset, Body::from(r#"{"name":"a"}"#)).await.ok(201);
}

pub async fn absurd_bodies_are_refused(app: App) {
    let json = [("content-type", "application/json")];
    let deep = format!("{{\"name\":{}{}}}", "[".repeat(400_000), "]".repeat(400_000));
    for body in ["", "{", "{\"name\":\"a\"} x", "\u{feff}{}", "{'name':'a'}", "NaN", "{\"name\":\"\\ud800\"}", &deep] {
        let answer = app.call("POST", "/users", TOKEN, &json, Body::from(body.to_owned())).await;
        answer.problem(400, "invalid_request");
    }
    app.call("POST", "/users", TOKEN, &json, Body::from(&b"{\"name\":\"\xff\"}"[..]))
        .await
        .problem(400, "invalid_request");
    let nested = format!("{{\"name\":{}1{}}}", "[".repeat(100), "]".repeat(100));
    app.call("POST", "/users", TOKEN, &json, Body::from(nested)).await.invalid(&["name"]);
    for body in ["[]", "null", "3", "\"x\""] {
        app.call("POST", "/users", TOKEN, &json, Body::from(body)).await.invalid(&[""]);
    }
    assert_eq!(app.audit().await.len(), 0);
}

pub async fn a_panic_is_a_problem(app: App) {
    app.clock.store(-1, Ordering::SeqCst);
    app.post("/users", json!({"name": "a"})).await.problem(500, "internal");
    app.clock.store(NOW, Ordering::SeqCst);
    app.post("/users", json!({"name": "a"})).await.ok(201);
}

pub async fn pages_go_through_everything_once(app: App) {
    let mut all = Vec::new();
    for i in 0..23 {
        all.push(app.user(&format!("u{i}")).await);
    }
    for limit in [1, 7, 23, 100] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = app.get(&format!("/users?limit={limit}{cursor}")).await.ok(200);
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            assert_eq!(page["pageInfo"]["limit"], limit);
            found.extend(items.iter().map(|user| user["id"].as_i64().unwrap()));
            let next = &page["pageInfo"]["nextCursor"];
            assert_eq!(page["pageInfo"]["hasMore"], !next.is_null());
            let Some(next) = next.as_str() else { break };
            assert!(next.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_'), "{next}");
            cursor = format!("&cursor={next}");
        }
        assert_eq!(found, all);
    }
    for limit in ["0", "101", "-1", "1e1", "9223372036854775808", "", "+5", "5.0", "a"] {
        app.get(&format!("/users?limit={}", limit.replace('+', "%2B"))).await.invalid(&["limit"]);
    }
}

pub async fn what_has_a_name_is_found_by_it(app: App) {
    app.user("ada").await;
    app.user("Ada, 100%_").await;
    app.user_group("ada", &[]).await;
    app.model_group("ada", &["m"]).await;
    for list in ["/users", "/user-groups", "/model-groups"] {
        let names = async |name: &str| {
            let page = app.get(&format!("{list}?name={name}")).await.ok(200);
            page["items"].as_array().unwrap().iter().map(|item| item["name"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(names("ada").await, ["ada"], "{list}");
        assert_eq!(names("%20ada%20").await, ["ada"], "{list}: trimmed, as when it was written");
        for none in ["ad", "ADA", "a%25", "ad_", "%27%20OR%201%3D1"] {
            assert_eq!(names(none).await, [""; 0], "{list}: {none}");
        }
        for wrong in ["", "%20", "%00", &"x".repeat(129)] {
            app.get(&format!("{list}?name={wrong}")).await.invalid(&["name"]);
        }
    }
    let found = app.get("/users?name=Ada,%20100%25_").await.ok(200);
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
}

pub async fn forged_cursors_are_refused(app: App) {
    for i in 0..3 {
        app.user(&format!("u{i}")).await;
    }
    let cursor = app.get("/users?limit=1").await.ok(200)["pageInfo"]["nextCursor"].as_str().unwrap().to_owned();
    let forged = |value: &str| URL_SAFE_NO_PAD.encode(value);
    for wrong in [
        "x".to_owned(),
        format!("{cursor}="),
        format!("{cursor}A"),
        cursor[..cursor.len() - 1].to_owned(),
        forged("[\"user\",\"1 OR 1=1\"]"),
        forged("[\"user\",1e400]"),
        forged("[\"user\",99999999999999999999]"),
        forged("[\"user\",null]"),
        forged("[\"user\"]"),
        forged(&"[".repeat(500)),
        STANDARD.encode("[\"user\",1?>]"),
        "A".repeat(60_000),
        "%00".to_owned(),
    ] {
        app.get(&format!("/users?cursor={wrong}")).await.invalid(&["cursor"]);
    }
    // Of another list.
    app.get(&format!("/audit-logs?cursor={cursor}")).await.invalid(&["cursor"]);
    app.get(&format!("/usage?cursor={cursor}")).await.invalid(&["cursor"]);
    // One that was made up but is well-formed reaches nothing that the list would not show anyway.
    let page = app.get(&format!("/users?cursor={}", forged("[\"user\",-5]"))).await.ok(200);
    assert_eq!(page["items"].as_array().map(Vec::len), Some(3));
}

pub async fn unknown_and_repeated_parameters_are_refused(app: App) {
    app.get("/users?page=2&limit=0").await.invalid(&["limit", "page"]);
    app.get("/users?limit=1&limit=2").await.invalid(&["limit"]);
    app.get("/usage?user_id=1").await.invalid(&["user_id"]);
    app.get("/usage?userId=1%20OR%201=1&from=yesterday&outcome=lost&model=a%00b&modelGroupId=0").await.invalid(&[
        "userId",
        "model",
        "modelGroupId",
        "outcome",
        "from",
    ]);
    app.get("/usage/summary?groupBy=userId,userId").await.invalid(&["groupBy"]);
    app.get("/usage/summary?groupBy=userId,keyId,model").await.invalid(&["groupBy"]);
    app.get("/usage/summary?groupBy=secret_hash").await.invalid(&["groupBy"]);
    app.get(&format!("/usage/summary?groupBy={}", "a,".repeat(30_000))).await.invalid(&["groupBy"]);
    app.get("/usage/summary?counted=none&limit=1").await.invalid(&["counted", "limit"]);
    app.get("/usage/summary?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z").await.invalid(&["to"]);
    app.get("/usage?from=2026-01-02T00:00:00+02:00").await.ok(200);
    let problem = app.get("/users?x").await.problem(400, "validation_failed");
    assert_eq!(
        problem["invalidParams"],
        json!([{"path": "x", "code": "unknown", "message": "there is no such parameter"}])
    );
}

pub async fn health_is_told_without_a_credential(app: App) {
    let get = |path: &'static str| {
        let request = axum::http::Request::get(path).body(Body::empty()).unwrap();
        app.send(request)
    };
    let live = get("/healthz").await;
    assert_eq!((live.status.as_u16(), live.body.as_str()), (200, "ok"));
    assert_eq!(get("/readyz").await.status, 200);
    app.clock.store(NOW - 1, Ordering::SeqCst);
    assert_eq!(get("/readyz").await.status, 503);
    assert_eq!(get("/healthz").await.status, 200);
    get("/nothing").await.problem(404, "not_found");
    let document = get("/api/v1/openapi.json").await;
    assert_eq!(serde_json::from_str::<Value>(&document.body).unwrap(), tollgate::admin::openapi());
    let page = get("/api/v1/docs").await;
    assert!(page.header("content-type").starts_with("text/html"));
    for path in ["/api/v1/docs.js", "/api/v1/docs.css"] {
        assert!(page.body.contains(&format!("=\"{}\"", &path[8..])), "{path}");
        let file = get(path).await;
        assert_eq!(file.status, 200);
        assert!(!file.body.contains("http:") && !file.body.contains("https:"), "it brings everything with it");
        assert!(!file.body.contains("localStorage") && !file.body.contains("sessionStorage"), "a token is not kept");
    }
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    for way in ["<script>", "style=", "onclick", "//cdn"] {
        assert!(!page.body.contains(way), "the policy would not let {way} be");
    }
}
