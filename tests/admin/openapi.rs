//! The OpenAPI document says what the API does.

use std::collections::BTreeSet;

use serde_json::Value;

fn document() -> Value {
    tollgate::admin::openapi()
}

/// Each operation with its path and method.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((path.clone(), method.clone(), operation.clone()));
        }
    }
    found
}

#[test]
fn the_committed_document_is_the_one_of_the_code() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    let committed: Option<Value> = serde_json::from_str(&committed).ok();
    assert!(
        committed == Some(document()),
        "docs/openapi.json is not what the code says: run `cargo run -- openapi > docs/openapi.json`"
    );
}

#[test]
fn what_an_operation_does_not_have_is_left_out() {
    // `null` is no list of parameters, nor anything else that the document has a place for.
    fn walk(path: &str, node: &Value) {
        match node {
            Value::Null => panic!("{path} is null"),
            Value::Object(fields) => fields.iter().for_each(|(name, value)| walk(&format!("{path}/{name}"), value)),
            _ => {}
        }
    }
    for (path, method, operation) in operations(&document()) {
        walk(&format!("{method} {path}"), &operation);
    }
}

#[test]
fn it_is_openapi_3_1_below_api_v1() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"], serde_json::json!([{"url": "/api/v1"}]));
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
    let known = [
        "/users",
        "/users/{id}",
        "/users/{id}/keys",
        "/keys",
        "/keys/{id}",
        "/keys/{id}:rotate",
        "/prices",
        "/prices/{model}",
        "/prices:import",
        "/usage",
        "/usage/summary",
        "/refusals",
        "/requests/{requestId}",
        "/providers",
        "/providers/{name}:resetCircuit",
        "/providers/{name}:openCircuit",
        "/settings",
        "/audit-logs",
        "/admin-tokens",
        "/admin-tokens/{id}",
        "/me",
        "/me/usage",
        "/me/budgets",
        "/users/{id}:resetLimits",
        "/keys/{id}:resetLimits",
        "/user-groups",
        "/user-groups/{id}",
        "/user-groups/{id}/members/{userId}",
        "/model-groups",
        "/model-groups/{id}",
        "/model-groups/{id}/models/{model}",
        "/model-limits",
        "/model-limits/{id}",
        "/quota-boosts",
        "/quota-boosts/{id}",
        "/budgets/{axis}/{id}",
        "/explain",
    ];
    for path in known {
        assert!(paths.iter().any(|found| *found == path), "{path} is missing");
    }
    assert_eq!(paths.len(), known.len(), "{paths:?}");
}

#[test]
fn operation_ids_are_unique() {
    let document = document();
    let operations = operations(&document);
    let ids: BTreeSet<_> =
        operations.iter().map(|(.., operation)| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), operations.len());
}

#[test]
fn every_reference_leads_somewhere() {
    fn references(node: &Value, found: &mut Vec<String>) {
        match node {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100);
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

#[test]
fn every_operation_documents_the_answers_of_the_framework() {
    for (path, method, operation) in operations(&document()) {
        let mut statuses = vec!["400", "401", "405", "414", "429", "431", "500", "503"];
        if method != "get" {
            statuses.push("403");
        }
        if path.contains("/{") {
            statuses.push("404");
        }
        if operation.get("requestBody").is_some() {
            statuses.extend(["413", "415"]);
        }
        if method == "post" {
            statuses.push("422");
        }
        for status in statuses {
            assert!(operation["responses"].get(status).is_some(), "{method} {path}: {status}");
        }
        assert!(operation["security"].is_array(), "{method} {path}");
    }
}

#[test]
fn what_is_written_has_no_unknown_fields() {
    let document = document();
    for name in [
        "UserFields",
        "UserPatch",
        "KeyFields",
        "KeyPatch",
        "AdminTokenFields",
        "Price",
        "UserGroupFields",
        "UserGroupPatch",
        "ModelGroupFields",
        "ModelGroupPatch",
        "ModelLimitFields",
        "ModelLimitCapsPatch",
        "QuotaBoostFields",
        "ResetFields",
        "OpenCircuitFields",
    ] {
        assert_eq!(document["components"]["schemas"][name]["additionalProperties"], false, "{name}");
    }
    assert_eq!(document["components"]["schemas"]["UserFields"]["required"], serde_json::json!(["name"]));
    assert_eq!(document["components"]["schemas"]["UserPatch"].get("required"), None);
    let limits = |schema: &str| document["components"]["schemas"][schema]["properties"]["limits"].clone();
    for window in ["5h", "daily", "weekly", "monthly", "total"] {
        let cap = |schema: &str| limits(schema)["properties"][window].clone();
        assert_eq!(cap("UserFields")["required"], serde_json::json!(["usd"]), "{window}");
        assert_eq!(cap("KeyPatch").get("required"), None, "{window}: a patch may change the time of day alone");
        assert_eq!(cap("ModelLimitFields")["additionalProperties"], false, "{window}");
    }
}
