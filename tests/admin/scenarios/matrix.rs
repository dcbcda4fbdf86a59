//! Every operation of the document against every credential.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{HeaderValue, Request};
use serde_json::json;

use crate::app::{App, NOW, TOKEN};
use crate::operations::{self, Operation};
use crate::scenarios::usage::{insert, row};

impl App {
    /// Asks for an operation with whatever a client may write as its credentials. The guard has its own scenario: each
    /// request comes when all failures are forgotten.
    async fn with_headers(&self, operation: &Operation, headers: &[(&str, &str)]) -> crate::app::Answer {
        self.clock.fetch_add(301_000, Ordering::SeqCst);
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.call(&operation.method(), &operation.filled(), "", &headers, Body::from("{}")).await
    }
}

pub async fn every_operation_refuses_every_wrong_credential(app: App) {
    let user = app.user("ada").await;
    let (key_id, key) = app.key(user).await;
    let (disabled_id, disabled) = app.key(user).await;
    app.patch(&format!("/keys/{disabled_id}"), json!({"enabled": false})).await.ok(200);
    let (expired_id, expired) = app.key(user).await;
    app.patch(&format!("/keys/{expired_id}"), json!({"expiresAt": "2020-01-01T00:00:00Z"})).await.ok(200);
    let late = app.user("late").await;
    let (_, of_expired_user) = app.key(late).await;
    app.patch(&format!("/users/{late}"), json!({"expiresAt": "2020-01-01T00:00:00Z"})).await.ok(200);
    let rotated = app.key(user).await;
    app.post(&format!("/keys/{}:rotate", rotated.0), json!({})).await.ok(200);
    let gone = app.key(user).await;
    app.delete(&format!("/keys/{}", gone.0)).await.ok(204);
    let mut revoked = Vec::new();
    for role in ["admin", "viewer"] {
        let token = app.post("/admin-tokens", json!({"name": role, "role": role})).await.ok(201);
        app.delete(&format!("/admin-tokens/{}", token["id"])).await.ok(204);
        revoked.push(token["secret"].as_str().unwrap().to_owned());
    }
    let soon = json!({"name": "soon", "role": "admin", "expiresAt": jiff::Timestamp::from_millisecond(NOW + 1_000).unwrap().to_string()});
    let expired_token = app.post("/admin-tokens", soon).await.ok(201)["secret"].as_str().unwrap().to_owned();
    app.call("GET", "/users", &expired_token, &[], Body::empty()).await.ok(200);
    let bearer = |secret: &str| format!("Bearer {secret}");
    let before = app.audit().await.len();
    for operation in operations::all() {
        let (right, of_the_other_kind) =
            if operation.is_mine() { (key.as_str(), TOKEN) } else { (TOKEN, key.as_str()) };
        let mut wrong = vec![
            ("none", vec![]),
            ("another's kind", vec![("authorization", bearer(of_the_other_kind))]),
            ("made up", vec![("authorization", bearer("wrong"))]),
            ("shaped like a key", vec![("authorization", bearer(&format!("tg-{}", "A".repeat(43))))]),
            ("shaped like a token", vec![("authorization", bearer(&format!("tgadm-{}", "A".repeat(43))))]),
            ("a hash", vec![("authorization", bearer(&"ab".repeat(32)))]),
            ("cut off", vec![("authorization", bearer(&right[..right.len() - 1]))]),
            ("too long", vec![("authorization", bearer(&format!("{right}x")))]),
            ("huge", vec![("authorization", bearer(&"x".repeat(100_000)))]),
            ("in upper case", vec![("authorization", bearer(&right.to_uppercase()))]),
            ("twice in one", vec![("authorization", format!("Bearer {right}, Bearer {right}"))]),
            ("another scheme", vec![("authorization", format!("Basic {right}"))]),
            ("no scheme", vec![("authorization", right.to_owned())]),
            ("no token", vec![("authorization", "Bearer ".to_owned())]),
            ("only the scheme", vec![("authorization", "Bearer".to_owned())]),
            ("a tab", vec![("authorization", format!("Bearer\t{right}"))]),
            ("empty", vec![("authorization", String::new())]),
            ("two that agree", vec![("authorization", bearer(right)), ("authorization", bearer(right))]),
            ("a wrong one behind", vec![("authorization", bearer(right)), ("authorization", bearer("wrong"))]),
            ("a wrong one before", vec![("authorization", bearer("wrong")), ("authorization", bearer(right))]),
            ("another header", vec![("x-api-key", right.to_owned()), ("cookie", format!("token={right}"))]),
            ("a proxy's", vec![("proxy-authorization", bearer(right))]),
            ("of a key that is disabled", vec![("authorization", bearer(&disabled))]),
            ("of a key that has expired", vec![("authorization", bearer(&expired))]),
            ("of a user who has expired", vec![("authorization", bearer(&of_expired_user))]),
            ("rotated away", vec![("authorization", bearer(&rotated.1))]),
            ("of a token that has expired", vec![("authorization", bearer(&expired_token))]),
            ("of a key that is gone", vec![("authorization", bearer(&gone.1))]),
        ];
        wrong.extend(revoked.iter().map(|token| ("revoked", vec![("authorization", bearer(token))])));
        for (what, headers) in &wrong {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let answer = app.with_headers(&operation, &headers).await;
            let problem = answer.problem(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{what}: {operation:?}");
            assert!(!problem.to_string().contains(right), "{what}: {operation:?}");
        }
        // In the query it is no credential either, and nothing says that it would have been a right one.
        let path = format!("{}?key={right}&token={right}&access_token={right}", operation.filled());
        app.clock.fetch_add(301_000, Ordering::SeqCst);
        app.call(&operation.method(), &path, "", &[], Body::empty()).await.problem(401, "unauthorized");
    }
    assert_eq!(app.audit().await.len(), before, "nothing was written");
    app.call("GET", "/me", &key, &[], Body::empty()).await.ok(200);
    app.get(&format!("/keys/{key_id}")).await.ok(200);
}

pub async fn every_operation_takes_a_right_credential_however_it_is_spelled(app: App) {
    let user = app.user("ada").await;
    let (_, key) = app.key(user).await;
    for operation in operations::all().into_iter().filter(Operation::reads) {
        let right = if operation.is_mine() { &key } else { TOKEN };
        for spelled in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            for token in [right.to_owned(), format!(" {right}"), format!("{right} "), format!("{right}\t ")] {
                let answer = app.with_headers(&operation, &[("authorization", &format!("{spelled} {token}"))]).await;
                assert!(!matches!(answer.status.as_u16(), 401 | 403 | 429 | 500..), "{operation:?}: {answer:?}");
            }
        }
    }
    // A line break cannot be in a header: whoever sends one sends something else.
    assert!(HeaderValue::from_str(&format!("Bearer {TOKEN}\n")).is_err());
    assert!(HeaderValue::from_str(&format!("Bearer {TOKEN}\r\nx-evil: 1")).is_err());
    let not_ascii = HeaderValue::from_bytes(&[b"Bearer ".as_slice(), &[0xff], TOKEN.as_bytes()].concat()).unwrap();
    let request = Request::get("/api/v1/users").header("authorization", not_ascii).body(Body::empty()).unwrap();
    app.send(request).await.problem(401, "unauthorized");
}

pub async fn a_viewer_reads_everything_but_tokens_and_writes_nothing(app: App) {
    let user = app.user("ada").await;
    app.key(user).await;
    let viewer = app.post("/admin-tokens", json!({"name": "eye", "role": "viewer"})).await.ok(201);
    let viewer = format!("Bearer {}", viewer["secret"].as_str().unwrap());
    let before = app.audit().await.len();
    let (mut read, mut refused) = (0, 0);
    for operation in operations::all().into_iter().filter(|operation| !operation.is_mine()) {
        let answer = app.with_headers(&operation, &[("authorization", &viewer)]).await;
        if operation.reads() && !operation.path.starts_with("/admin-tokens") {
            assert!(matches!(answer.status.as_u16(), 200 | 400 | 404 | 503), "{operation:?}: {answer:?}");
            read += 1;
        } else {
            answer.problem(403, "forbidden");
            refused += 1;
        }
    }
    assert!(read > 20 && refused > 25, "{read} read, {refused} refused");
    assert_eq!(app.audit().await.len(), before, "nothing was written");
}

pub async fn a_key_sees_nothing_of_anybody_else(app: App) {
    let (ada, grace) = (app.user("ada lovelace").await, app.user("grace hopper").await);
    let (ada_key, secret) = app.key(ada).await;
    let (grace_key, of_grace) = app.key(grace).await;
    app.patch(&format!("/users/{grace}"), json!({"note": "of grace", "limits": {"daily": {"usd": 77.125}}}))
        .await
        .ok(200);
    app.patch(&format!("/users/{ada}"), json!({"note": "about ada"})).await.ok(200);
    let mine = entity::usage_ledger::Model { user_id: ada, key_id: ada_key, ..row(1) };
    let hers = entity::usage_ledger::Model { user_id: grace, key_id: grace_key, ..row(2) };
    insert(&app, vec![mine.clone(), hers.clone()]).await;
    let hidden = [of_grace.as_str(), &of_grace[..9], "grace", "77.125", hers.request_id.as_str(), "about ada", &secret];
    for operation in operations::all() {
        for query in ["", &format!("?userId={grace}"), &format!("?keyId={grace_key}"), &format!("?id={grace}")] {
            app.clock.fetch_add(301_000, Ordering::SeqCst);
            let path = format!("{}{query}", operation.filled().replace("/1", &format!("/{grace}")));
            let answer = app.call(&operation.method(), &path, &secret, &[], Body::empty()).await;
            if operation.is_mine() {
                assert!(matches!(answer.status.as_u16(), 200 | 400), "{operation:?}: {answer:?}");
            } else {
                answer.problem(401, "unauthorized");
            }
            for what in hidden {
                assert!(!answer.body.contains(what), "{what} is in the answer to {operation:?}: {}", answer.body);
            }
        }
    }
    let usage = app.call("GET", "/me/usage", &secret, &[("accept", "text/csv")], Body::empty()).await;
    assert!(usage.body.contains(&mine.request_id) && !usage.body.contains(&hers.request_id));
}

pub async fn head_is_get_without_a_body_and_options_tells_nothing(app: App) {
    let user = app.user("ada").await;
    let (_, key) = app.key(user).await;
    let ask = async |method: &str, path: &str, token: &str| {
        app.clock.fetch_add(301_000, Ordering::SeqCst);
        let request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        let request = request.header("authorization", format!("Bearer {token}"));
        app.send(request.body(Body::empty()).unwrap()).await
    };
    let mut paths: BTreeMap<&str, Vec<Operation>> = BTreeMap::new();
    for operation in operations::all() {
        paths.entry(operation.path).or_default().push(operation);
    }
    for operations in paths.values() {
        let (filled, get) = (operations[0].filled(), operations.iter().find(|operation| operation.reads()));
        ask("OPTIONS", &filled, "").await.problem(405, "method_not_allowed");
        let head = ask("HEAD", &filled, "wrong").await;
        let Some(get) = get else {
            assert_eq!(head.status, 405, "{filled}");
            continue;
        };
        // The body of a problem is left out where the answer is sent.
        assert_eq!(head.status, 401, "{filled}");
        let right = if get.is_mine() { &key } else { TOKEN };
        let (get, head) = (ask("GET", &filled, right).await, ask("HEAD", &filled, right).await);
        assert_eq!(head.status, get.status, "{filled}");
        assert!(head.body.is_empty() || !get.status.is_success(), "{filled}");
        assert_eq!(head.header("etag"), get.header("etag"), "{filled}");
    }
}

pub async fn a_credential_is_counted_wherever_it_comes_from_and_locks_out_nobody_with_a_right_one(app: App) {
    let token = app.post("/admin-tokens", json!({"name": "t", "role": "admin"})).await.ok(201);
    let token = token["secret"].as_str().unwrap().to_owned();
    let from = async |address: [u8; 4], credential: &str| {
        let request = Request::get("/api/v1/users").header("authorization", format!("Bearer {credential}"));
        let request = request.extension(axum::extract::ConnectInfo(std::net::SocketAddr::from((address, 1))));
        app.send(request.body(Body::empty()).unwrap()).await
    };
    for n in 0..20 {
        from([198, 51, 100, n], "leaked").await.problem(401, "unauthorized");
    }
    let stopped = from([203, 0, 113, 1], "leaked").await;
    stopped.problem(429, "too_many_auth_failures");
    assert_eq!(stopped.header("retry-after"), "300");
    from([203, 0, 113, 1], "another").await.problem(401, "unauthorized");
    // Whoever guesses from an administrator's address, or guesses what begins like his token, keeps him out of nothing.
    for n in 0..40 {
        from([192, 0, 2, 7], &format!("{token}{n}")).await;
        from([192, 0, 2, 7], &token[..token.len() - 1]).await;
    }
    from([192, 0, 2, 7], "one more").await.problem(429, "too_many_auth_failures");
    for right in [token.as_str(), TOKEN] {
        for _ in 0..25 {
            from([192, 0, 2, 7], right).await.ok(200);
        }
    }
    // A key that is known but may not be used counts as no guess.
    let user = app.user("ada").await;
    let (id, key) = app.key(user).await;
    app.patch(&format!("/keys/{id}"), json!({"enabled": false})).await.ok(200);
    for _ in 0..30 {
        app.call("GET", "/me", &key, &[], Body::empty()).await.problem(401, "unauthorized");
    }
    app.patch(&format!("/keys/{id}"), json!({"enabled": true})).await.ok(200);
    app.call("GET", "/me", &key, &[], Body::empty()).await.ok(200);
    // A right one that was presented where it is not one has failed as often as it may; it is no worse off where it is.
    for _ in 0..40 {
        app.call("GET", "/users", &key, &[], Body::empty()).await;
        app.call("GET", "/me", &token, &[], Body::empty()).await;
    }
    app.call("GET", "/me", &key, &[], Body::empty()).await.ok(200);
    app.call("GET", "/users", &token, &[], Body::empty()).await.ok(200);
}
