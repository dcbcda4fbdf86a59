//! The OpenAPI document; [`page`] shows it.
//!
//! Handlers say what is their own; what all of them have in common (credentials, preconditions, the answers of the
//! framework) is added here, so that it cannot be forgotten for one of them.

mod page;

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::idempotency;
use super::problem::ProblemDocument;
use super::validate;
pub(super) use page::routes;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tollgate",
        description = "Administration of a Tollgate node. Whatever is refused is answered with a problem document \
            (`application/problem+json`), but for what the HTTP layer does not read as a request at all: a URL that is \
            too long (414), headers that are too many or too large (431) and what is not HTTP/1.1 (400) are answered \
            without a body."
    ),
    servers((url = "/api/v1")),
    tags(
        (name = "users", description = "Who pays."),
        (name = "keys", description = "The secrets that clients send."),
        (name = "groups", description = "Sets of users and of models."),
        (name = "budgets", description = "Limits, boosts, and what is left."),
        (name = "prices", description = "What models cost."),
        (name = "usage", description = "What was spent."),
        (name = "providers", description = "Where requests go."),
        (name = "administration", description = "Tokens, audit log, configuration."),
        (name = "me", description = "What a key's owner may see."),
    ),
    components(schemas(ProblemDocument))
)]
struct Frame;

/// The document before any endpoint is added.
pub(super) fn frame() -> utoipa::openapi::OpenApi {
    Frame::openapi()
}

/// Adds to the document what endpoints have in common.
pub(super) fn finish(document: utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    let problems = json!({
        "400": problem("The request cannot be read, or fields or parameters are wrong; invalidParams names them."),
        "401": problem("No credential, or one that is not known."),
        "403": problem("A viewer's token may only read."),
        "404": problem("There is no such object."),
        "405": problem("The path has no such method; Allow names those that it has."),
        "408": problem("The body did not come within server.timeouts.body."),
        "409": problem("Another object stands in the way."),
        "412": problem("The object has changed: If-Match is not its version, or there is none to match."),
        "413": problem("The body is too large."),
        "414": bare("The path and query of the URL have more than 65 534 bytes."),
        "415": problem("The body is of another type than those that are read here."),
        "422": problem("The Idempotency-Key was used with another body."),
        "429": problem("This address has presented too many wrong credentials; Retry-After says when to try again."),
        "431": bare("There are more than 100 headers, or they are too large."),
        "500": problem("The gateway failed; its log says why."),
        "503": problem("The database cannot be reached now, or (of budgets) what is left cannot be found out."),
    });
    document["components"]["responses"] = problems;
    document["components"]["securitySchemes"] = json!({
        "adminToken": {"type": "http", "scheme": "bearer", "description": "An admin token."},
        "userKey": {"type": "http", "scheme": "bearer", "description": "A user's key."},
    });
    for name in ["User", "Key", "UserGroup", "ModelGroup", "ModelLimitCaps"] {
        let mut patch = document["components"]["schemas"][format!("{name}Fields")].clone();
        all_optional(&mut patch);
        document["components"]["schemas"][format!("{name}Patch")] = patch;
    }
    flatten(&mut document["components"]["schemas"]);
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, item) in paths {
            for method in METHODS {
                if let Some(operation) = item.get_mut(method) {
                    complete(path, method, operation);
                }
            }
        }
    }
    document
}

/// Makes one schema of several that all hold where one of them allows no other properties: that one would refuse the
/// properties of the others.
fn flatten(node: &mut Value) {
    match node {
        Value::Object(fields) => fields.values_mut().for_each(flatten),
        Value::Array(items) => items.iter_mut().for_each(flatten),
        _ => return,
    }
    let Some(parts) = node["allOf"].as_array().filter(|parts| parts.iter().any(|p| p["additionalProperties"] == false))
    else {
        return;
    };
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for part in parts {
        properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
        required.extend(part["required"].as_array().cloned().unwrap_or_default());
    }
    let description = node["description"].take();
    *node = json!({"type": "object", "additionalProperties": false, "properties": properties, "required": required});
    if description.is_string() {
        node["description"] = description;
    }
}

/// A patch may leave everything out, and what it leaves out has no default.
fn all_optional(schema: &mut Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), json!("A JSON Merge Patch (RFC 7396): null takes a value away."));
    }
    loosen(schema);
}

fn loosen(schema: &mut Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("required");
        schema.remove("default");
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(loosen);
    }
}

fn complete(path: &str, method: &str, operation: &mut Value) {
    let has_body = operation.get("requestBody").is_some();
    let object = path.contains("/{");
    let verb = path.contains(':');
    let mut statuses = vec!["400", "401", "405", "414", "429", "431", "500", "503"];
    if method != "get" {
        statuses.push("403");
    }
    if path.starts_with("/admin-tokens") {
        statuses.push("403");
    }
    if object {
        statuses.push("404");
    }
    if has_body || verb {
        statuses.extend(["408", "413", "415"]);
    }
    if method == "post" {
        statuses.push("422");
        parameter(
            operation,
            idempotency::HEADER.as_str(),
            "A POST that is repeated with the same key is carried out once.",
            &json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}),
        );
    }
    if matches!(method, "put" | "patch" | "delete") || is_versioned_verb(path) {
        statuses.push("412");
        parameter(
            operation,
            "if-match",
            "The version that the object must have, in quotation marks; *: any, but it must exist.",
            &json!({"type": "string", "pattern": "^([*]|\"[0-9]{1,18}\"|[0-9]{1,18})$"}),
        );
    }
    if operation.get("security").is_none() {
        operation["security"] = json!([{"adminToken": []}]);
    }
    if method == "patch" {
        let name =
            operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str().unwrap_or_default();
        let schema = json!({"schema": {"$ref": name.replace("Fields", "Patch")}});
        operation["requestBody"]["content"] =
            json!({"application/merge-patch+json": schema, "application/json": schema});
    }
    parameters(operation);
    answers(operation, path, method, &statuses);
}

/// Whether a verb of an object that has a version is meant. Providers have none: they are the configuration's.
fn is_versioned_verb(path: &str) -> bool {
    path.contains("}:") && !path.starts_with("/providers/")
}

/// Whether an answer that succeeds has the object's version.
fn has_etag(path: &str, method: &str, status: &str) -> bool {
    let one = path.ends_with("/{id}") || path.ends_with("/{model}");
    match method {
        "get" => one && !path.starts_with("/budgets/"),
        "post" => status == "201" || is_versioned_verb(path),
        _ => true,
    }
}

fn answers(operation: &mut Value, path: &str, method: &str, statuses: &[&str]) {
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    // What a handler says about a problem is its description; the document is always the same.
    for (status, response) in responses.iter_mut() {
        if status.starts_with('4') || status.starts_with('5') {
            let description = response["description"].as_str().unwrap_or_default().to_owned();
            *response = problem(&description);
        }
    }
    for status in statuses {
        let common = || json!({"$ref": format!("#/components/responses/{status}")});
        responses.entry(*status).or_insert_with(common);
    }
    let header = |description: &str, always: bool| json!({"description": description, "required": always, "schema": {"type": "string"}});
    for status in ["200", "201"] {
        let Some(response) = responses.get_mut(status).and_then(Value::as_object_mut) else { continue };
        let mut headers = Map::new();
        if status == "201" {
            headers.insert("Location".to_owned(), header("The path of the new object.", true));
        }
        if has_etag(path, method, status) {
            headers.insert("ETag".to_owned(), header("The version of the object, for If-Match.", true));
        }
        if method == "post" {
            headers.insert("Idempotency-Replayed".to_owned(), header("true: this answer was given before.", false));
        }
        if !headers.is_empty() {
            response.insert("headers".to_owned(), Value::Object(headers));
        }
    }
}

fn parameter(operation: &mut Value, name: &str, description: &str, schema: &Value) {
    let parameter =
        json!({"name": name, "in": "header", "required": false, "description": description, "schema": schema});
    match operation.get_mut("parameters").and_then(Value::as_array_mut) {
        Some(parameters) => parameters.push(parameter),
        None => operation["parameters"] = Value::Array(vec![parameter]),
    }
}

/// Ids in a path have a form and a range, and an optional query parameter is left out rather than null.
fn parameters(operation: &mut Value) {
    let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) else { return };
    for parameter in parameters {
        let is_id = parameter["name"] == "userId" || parameter["name"] == "id";
        if parameter["in"] == "path" && is_id && parameter["schema"]["type"] == "integer" {
            parameter["schema"] =
                json!({"type": "integer", "format": "int64", "minimum": 1, "maximum": super::params::MAX_ID});
        }
        if parameter["name"] == "model" && parameter["in"] == "path" {
            parameter["schema"] =
                json!({"type": "string", "minLength": 1, "maxLength": 256, "pattern": validate::LINE_PATTERN});
        }
        if parameter["name"] == "requestId" {
            parameter["schema"]["format"] = json!("uuid");
        }
        if parameter["in"] == "query" {
            parameter["schema"] = without_null(parameter["schema"].take());
            if parameter["schema"]["type"] == "array" {
                parameter["schema"]["minItems"] = json!(1);
                parameter["schema"]["uniqueItems"] = json!(true);
            }
        }
    }
}

fn without_null(mut schema: Value) -> Value {
    let null = json!("null");
    if let Some(types) = schema["type"].as_array_mut() {
        types.retain(|kind| *kind != null);
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    let alternatives = schema["oneOf"].as_array().cloned().unwrap_or_default();
    let mut rest = alternatives.into_iter().filter(|alternative| alternative["type"] != null);
    match (rest.next(), rest.next()) {
        (Some(only), None) => only,
        _ => schema,
    }
}

/// An answer of the HTTP layer to what it does not read to its end, before there is a request to answer.
fn bare(description: &str) -> Value {
    json!({"description": format!("{description} This one has no body, and the connection ends with it.")})
}

fn problem(description: &str) -> Value {
    json!({
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    })
}
