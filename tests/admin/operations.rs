//! Every operation of the OpenAPI document, ready to be asked for: what is tried on all of them is tried on new ones too.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

static DOCUMENT: LazyLock<Value> = LazyLock::new(tollgate::admin::openapi);

/// One operation.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    pub method: &'static str,
    /// With its parameters in braces.
    pub path: &'static str,
    node: &'static Value,
}

/// All of them.
pub fn all() -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, node) in item.as_object().unwrap() {
            found.push(Operation { method, path, node });
        }
    }
    assert!(found.len() > 50, "{}", found.len());
    found
}

impl Operation {
    pub fn method(&self) -> String {
        self.method.to_uppercase()
    }

    pub fn id(&self) -> &'static str {
        self.node["operationId"].as_str().unwrap()
    }

    pub fn reads(&self) -> bool {
        self.method == "get"
    }

    /// Whether it takes a user's key rather than an admin token.
    pub fn is_mine(&self) -> bool {
        self.node["security"][0].get("userKey").is_some()
    }

    pub fn has_body(&self) -> bool {
        self.node.get("requestBody").is_some()
    }

    /// Its path with something in each place: what there is, as far as the first user of a test goes.
    pub fn filled(&self) -> String {
        self.filled_but("", "")
    }

    /// The same, with this in the place of one parameter.
    pub fn filled_but(&self, name: &str, value: &str) -> String {
        let mut path = self.path.to_owned();
        for parameter in self.parameters("path") {
            let usual = match parameter.as_str() {
                "axis" => "user",
                "name" => "first",
                "model" => "m1",
                "requestId" => "01890000-0000-7000-8000-000000000001",
                _ => "1",
            };
            let value = if parameter == name { value } else { usual };
            path = path.replace(&format!("{{{parameter}}}"), value);
        }
        assert!(!path.contains('{'), "{path}");
        path
    }

    /// The same, with these in the places of its parameters, in their order.
    pub fn filled_with(&self, values: &[String]) -> String {
        let names = self.parameters("path");
        assert_eq!(names.len(), values.len(), "{}", self.path);
        let fill = |path: String, (name, value): (&String, &String)| path.replace(&format!("{{{name}}}"), value);
        names.iter().zip(values).fold(self.path.to_owned(), fill)
    }

    /// The names of its parameters in the path, the query or the headers.
    pub fn parameters(&self, place: &str) -> Vec<String> {
        let all = self.node["parameters"].as_array().cloned().unwrap_or_default();
        all.iter()
            .filter(|parameter| parameter["in"] == place)
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// A body with all its fields, each text of which is this one.
    pub fn body(&self, text: &str) -> Option<Value> {
        let content = self.node["requestBody"]["content"].as_object()?;
        let schema = content.get("application/json").or_else(|| content.values().next())?;
        Some(sample(&schema["schema"], text, 0))
    }
}

/// Something of this schema, more or less.
fn sample(schema: &Value, text: &str, depth: usize) -> Value {
    if depth > 6 {
        return Value::Null;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        return sample(DOCUMENT.pointer(reference.trim_start_matches('#')).unwrap(), text, depth + 1);
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        if let Some(of) = schema[several].as_array().and_then(|of| of.iter().find(|one| one["type"] != "null")) {
            return sample(of, text, depth + 1);
        }
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or_default();
    match kind {
        "object" => {
            let empty = Map::new();
            let properties = schema["properties"].as_object().unwrap_or(&empty);
            properties.iter().map(|(name, schema)| (name.clone(), sample(schema, text, depth + 1))).collect()
        }
        "array" => json!([sample(&schema["items"], text, depth + 1)]),
        "integer" | "number" => json!(1),
        "boolean" => json!(true),
        _ => json!(text),
    }
}
