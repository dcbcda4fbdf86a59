//! `/prices`.

use axum::body::Body;
use serde_json::{Value, json};

use crate::app::{App, TOKEN};

pub async fn a_price_is_set_read_replaced_and_taken_away(app: App) {
    app.get("/prices/my-model").await.problem(404, "not_found");
    let price = json!({"inputUsdPerMillion": 3, "outputUsdPerMillion": 15.000_001, "requestUsd": 0.000_000_001,
        "contextTiers": [{"aboveTokens": 200_000, "inputUsdPerMillion": 6}]});
    let set = app.json("PUT", "/prices/my-model", &[], &price).await;
    assert_eq!((set.header("location"), set.header("etag")), ("/api/v1/prices/my%2Dmodel", "\"1\""));
    let set = set.ok(201);
    assert_eq!(app.seen.take(), ["prices"]);
    assert_eq!((&set["model"], &set["source"], &set["version"]), (&json!("my-model"), &json!("rest"), &json!(1)));
    for (field, value) in price.as_object().unwrap() {
        assert_eq!(&set[field], value);
    }
    let read = app.get("/prices/my-model").await;
    assert_eq!(read.header("etag"), "\"1\"");
    assert_eq!(read.ok(200), set);
    let replaced = app.json("PUT", "/prices/my-model", &[], &json!({"inputUsdPerMillion": 1})).await.ok(200);
    assert_eq!(
        (&replaced["version"], &replaced["outputUsdPerMillion"]),
        (&json!(2), &Value::Null),
        "whole, not merged"
    );
    app.delete("/prices/my-model").await.ok(204);
    app.get("/prices/my-model").await.problem(404, "not_found");
    app.delete("/prices/my-model").await.problem(404, "not_found");
    let actions: Vec<_> = app.audit().await.into_iter().map(|row| (row.action, row.object_id)).collect();
    assert_eq!(actions, ["create", "update", "delete"].map(|action| (action.to_owned(), "my-model".to_owned())));

    // A built-in price can be covered and shows again, but not taken away.
    let list = app.get("/prices?limit=100").await.ok(200);
    let builtin = list["items"][0].clone();
    assert_eq!((&builtin["source"], &builtin["version"]), (&json!("builtin"), &json!(0)));
    let path = format!("/prices/{}", builtin["model"].as_str().unwrap());
    app.delete(&path).await.problem(409, "conflict");
    app.json("PUT", &path, &[], &json!({"requestUsd": 5})).await.ok(201);
    assert_eq!(app.get("/prices?limit=1").await.ok(200)["items"][0]["source"], "rest");
    assert!(app.audit().await.last().unwrap().before.as_ref().unwrap().contains("builtin"));
    app.delete(&path).await.ok(204);
    assert_eq!(app.get(&path).await.ok(200), builtin);
}

pub async fn names_with_slashes_work_raw_and_encoded(app: App) {
    let price = json!({"inputUsdPerMillion": 1});
    for name in
        ["gemini/my-pro", "a/b/c", "llama3:8b", "bedrock/anthropic.claude:0", "~x", "with space", "名前", "50%", "/x"]
    {
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let set = app.json("PUT", &format!("/prices/{encoded}"), &[], &price).await;
        let location = set.header("location").to_owned();
        assert_eq!(set.ok(201)["model"], name);
        assert_eq!(app.get(&location).await.ok(200)["model"], name);
        let raw = name.replace('%', "%25").replace(' ', "%20");
        assert_eq!(app.get(&format!("/prices/{raw}")).await.ok(200)["model"], name, "{raw}");
        app.delete(&format!("/prices/{raw}")).await.ok(204);
    }
    for wrong in ["%20", "a%00b", "%0A", &"x".repeat(257), &"é".repeat(129)] {
        app.json("PUT", &format!("/prices/{wrong}"), &[], &price).await.invalid(&["model"]);
    }
    app.get("/prices/%FF").await.problem(400, "invalid_request");
}

pub async fn wrong_prices_are_refused_with_their_paths(app: App) {
    for (path, price) in [
        ("inputUsdPerMillion", json!({"inputUsdPerMillion": -1})),
        ("inputUsdPerMillion", json!({"inputUsdPerMillion": "3"})),
        ("inputUsdPerMillion", json!({"inputUsdPerMillion": 1e300})),
        ("outputUsdPerMillion", json!({"inputUsdPerMillion": 1, "outputUsdPerMillion": 0.000_000_1})),
        ("secretHash", json!({"inputUsdPerMillion": 1, "secretHash": 1})),
        ("model", json!({"inputUsdPerMillion": 1, "model": "x"})),
        ("version", json!({"inputUsdPerMillion": 1, "version": 9})),
        (
            "contextTiers[0].inputUsdPerMillion",
            json!({"inputUsdPerMillion": 1, "contextTiers": [{"aboveTokens": 1, "inputUsdPerMillion": -1}]}),
        ),
        ("", json!([])),
    ] {
        let answer = app.json("PUT", "/prices/m", &[], &price).await;
        let problem = answer.problem(400, "validation_failed");
        assert_eq!(problem["invalidParams"][0]["path"], path, "{problem}");
    }
    app.call("PUT", "/prices/m", TOKEN, &[], Body::from("{}")).await.problem(415, "unsupported_media_type");
    assert_eq!(app.audit().await.len(), 0);
}

pub async fn a_list_is_imported(app: App) {
    let public = json!({"sample_spec": {"mode": "chat"},
        "my/model": {"mode": "chat", "litellm_provider": "x", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6},
        "bad": {"mode": "chat", "litellm_provider": "x", "input_cost_per_token": -1}});
    app.json("PUT", "/prices/my%2Fmodel", &[], &json!({"inputUsdPerMillion": 9})).await.ok(201);
    let key = [("idempotency-key", "k")];
    let answer = app.json("POST", "/prices:import", &key, &public).await;
    assert_eq!(answer.header("idempotency-replayed"), "");
    let report = answer.ok(200);
    assert_eq!(report["imported"], 1, "{report}");
    assert!(report["skipped"].as_array().unwrap().iter().any(|skipped| skipped["model"] == "bad"), "{report}");
    let price = app.get("/prices/my/model").await.ok(200);
    assert_eq!(
        (&price["inputUsdPerMillion"], &price["source"], &price["version"]),
        (&json!(1), &json!("rest"), &json!(2))
    );
    let again = app.json("POST", "/prices:import", &key, &public).await;
    assert_eq!((again.header("idempotency-replayed"), again.json()), ("true", report));
    assert_eq!(app.get("/prices/my/model").await.ok(200)["version"], 2, "carried out once");

    let yaml = "ours:\n  inputUsdPerMillion: 2\n  outputUsdPerMillion: 4\n";
    let types = [("content-type", "application/yaml")];
    app.call("POST", "/prices:import", TOKEN, &types, Body::from(yaml)).await.ok(200);
    assert_eq!(app.get("/prices/ours").await.ok(200)["outputUsdPerMillion"], 4);
    let log = app.audit().await;
    let imports: Vec<_> = log.iter().filter(|row| row.action == "import").map(|row| row.object_id.as_str()).collect();
    assert_eq!(imports, ["my/model", "*", "ours", "*"]);
    app.call("POST", "/prices:import", TOKEN, &types, Body::from(yaml)).await.ok(200);
    assert_eq!(app.get("/prices/ours").await.ok(200)["version"], 1, "it is as it was");
    assert_eq!(app.audit().await.len(), log.len() + 1, "the import alone");

    let bomb = format!("a: &a [x,x,x]\n{}", (0..30).map(|i| format!("b{i}: &b{i} [*a,*a,*a]\n")).collect::<String>());
    for (body, status) in [
        (String::new(), 400),
        ("[1,2]".to_owned(), 400),
        ("\u{0}".to_owned(), 400),
        ("[".repeat(100_000), 400),
        (" ".repeat(17 << 20), 413),
    ] {
        let answer = app.call("POST", "/prices:import", TOKEN, &types, Body::from(body)).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let report = app.call("POST", "/prices:import", TOKEN, &types, Body::from(bomb)).await.ok(200);
    assert_eq!(report["imported"], 0);
    app.call("POST", "/prices:import", TOKEN, &types, Body::from(&b"\xff"[..])).await.problem(400, "invalid_request");
    app.call("POST", "/prices:import", TOKEN, &[("content-type", "text/csv")], Body::from(yaml))
        .await
        .problem(415, "unsupported_media_type");

    // Thousands of models, more than one statement has variables for.
    let many: serde_json::Map<String, Value> =
        (0..9000).map(|i| (format!("many-{i:05}"), json!({"inputUsdPerMillion": i}))).collect();
    let headers = [("content-type", "application/json")];
    let report =
        app.call("POST", "/prices:import", TOKEN, &headers, Body::from(Value::Object(many).to_string())).await.ok(200);
    assert_eq!(report["imported"], 9000);
    assert_eq!(app.get("/prices/many-08999").await.ok(200)["inputUsdPerMillion"], 8999);
}

pub async fn if_match_guards_prices(app: App) {
    let put = |version: &'static str, usd: i32| {
        let app = &app;
        async move { app.json("PUT", "/prices/m", &[("if-match", version)], &json!({"requestUsd": usd})).await }
    };
    put("\"1\"", 1).await.problem(412, "version_mismatch");
    put("*", 1).await.problem(412, "version_mismatch");
    app.get("/prices/m").await.problem(404, "not_found");
    put("\"0\"", 1).await.ok(201);
    let answers = futures::future::join_all([2, 3, 4].map(|usd| put("\"1\"", usd))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
    assert_eq!(app.get("/prices/m").await.ok(200)["version"], 2);
    app.call("DELETE", "/prices/m", TOKEN, &[("if-match", "\"1\"")], Body::empty())
        .await
        .problem(412, "version_mismatch");
    assert_eq!(put("*", 5).await.ok(200)["version"], 3);
    // A price of the built-in list is there to be matched before anything is set over REST.
    let builtin = app.get("/prices?limit=1").await.ok(200)["items"][0]["model"].as_str().unwrap().to_owned();
    app.json("PUT", &format!("/prices/{builtin}"), &[("if-match", "*")], &json!({"requestUsd": 5})).await.ok(201);
    // Created by several at once.
    let app = &app;
    let create =
        |usd: i32| async move { app.json("PUT", "/prices/n", &[], &json!({"requestUsd": usd})).await.status.as_u16() };
    let mut statuses = futures::future::join_all([1, 2, 3, 4].map(create)).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 201]);
}
