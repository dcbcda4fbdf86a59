//! Holds every exchange of every scenario against the OpenAPI document.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use axum::http::HeaderMap;
use jsonschema::Validator;
use parking_lot::Mutex;
use serde_json::{Value, json};

static DOCUMENT: LazyLock<Value> = LazyLock::new(tollgate::admin::openapi);

/// Asserts that the document knows this answer, and this body if it was accepted.
pub fn check(method: &str, path: &str, sent: Option<&Value>, status: u16, headers: &HeaderMap, body: &str) {
    let media_type = headers.get("content-type").map_or("", |value| value.to_str().unwrap());
    let path = path.split('?').next().unwrap();
    let Some(operation) = operation(method, path) else {
        assert!(matches!(status, 404 | 405 | 400 | 200), "{method} {path}: {status} of what is not documented");
        return;
    };
    let response = resolved(&operation["responses"][status.to_string()]);
    assert!(!response.is_null(), "{method} {path}: {status} is not documented");
    has_its_headers(&response["headers"], headers, &format!("{status} to {method} {path}"));
    let media_type = media_type.split(';').next().unwrap();
    if body.is_empty() && response.get("content").is_none() {
        return;
    }
    let content = &response["content"][media_type];
    assert!(!content.is_null(), "{method} {path}: {status} as {media_type} is not documented");
    if media_type == "application/json" || media_type.ends_with("+json") {
        conforms(
            &content["schema"],
            &serde_json::from_str(body).unwrap(),
            &format!("answer {status} to {method} {path}"),
        );
    }
    if let Some(sent) = sent.filter(|_| (200..300).contains(&status))
        && let Some(content) = operation["requestBody"]["content"].get("application/json")
    {
        conforms(&content["schema"], sent, &format!("body of {method} {path}"));
    }
}

/// Headers that say something about the object of the answer, and are sent only where the document says so.
const TOLD: [&str; 3] = ["ETag", "Location", "Idempotency-Replayed"];

fn has_its_headers(documented: &Value, sent: &HeaderMap, what: &str) {
    let empty = serde_json::Map::new();
    let documented = documented.as_object().unwrap_or(&empty);
    for (name, header) in documented {
        assert!(header["required"] == false || sent.contains_key(name), "{what}: {name} is documented, and not sent");
    }
    for name in TOLD {
        let known = documented.contains_key(name);
        assert!(known || !sent.contains_key(name), "{what}: {name} is sent, and not documented");
    }
}

fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let path = path.strip_prefix("/api/v1")?.replace("%3A", ":");
    let matches = |template: &str| {
        let mut rest = path.as_str();
        let mut template = template;
        loop {
            let Some((before, after)) = template.split_once('{') else { return template == rest };
            let Some(inside) = rest.strip_prefix(before) else { return false };
            let (name, after) = after.split_once('}').unwrap();
            // Names of models may have slashes and colons in them, and are last.
            if name == "model" {
                return !inside.is_empty();
            }
            let end = inside.find(['/', ':']).unwrap_or(inside.len());
            if end == 0 {
                return false;
            }
            (rest, template) = (&inside[end..], after);
        }
    };
    let (_, item) = DOCUMENT["paths"].as_object().unwrap().iter().find(|(template, _)| matches(template))?;
    item.get(method.to_lowercase())
}

fn resolved(node: &'static Value) -> &'static Value {
    match node["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(reference.trim_start_matches('#')).unwrap(),
        None => node,
    }
}

fn conforms(schema: &Value, instance: &Value, what: &str) {
    let validator = validator(schema);
    let errors: Vec<_> = validator.iter_errors(instance).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{what} is not as documented: {errors:#?}\n{instance}");
}

/// Made once for each schema: making one takes longer than all that it is used for.
fn validator(schema: &Value) -> Arc<Validator> {
    static MADE: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let make = || {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "components": DOCUMENT["components"],
            "allOf": [schema],
        });
        Arc::new(jsonschema::validator_for(&schema).unwrap())
    };
    Arc::clone(MADE.lock().entry(schema.to_string()).or_insert_with(make))
}
