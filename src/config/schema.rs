//! The JSON Schema of the configuration, generated from its types, and a guide through it.

use std::collections::BTreeSet;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value;

use super::error::{Path, Segment};
use super::notation::{self, Entry};
use super::types::Config;

/// A reference to a definition starts with this.
const DEFINITION: &str = "#/$defs/";

/// Lets a pattern accept a text that has a variable in it.
const OR_VARIABLE: &str = r"|\$\{";

/// The JSON Schema (draft 2020-12) of the configuration file.
#[must_use]
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_deserialize().with_transform(RecursiveTransform(polish));
    settings.into_generator().into_root_schema_for::<Config>().to_value()
}

/// Makes the generated schema fit for editors, which see the file as it is written.
fn polish(schema: &mut Schema) {
    // The lines of a doc comment are wrapped for the source, not for the reader of the schema.
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    // A text with a variable is not yet what it will be. The notations check it when it is.
    if let Some(Value::String(pattern)) = schema.get_mut("pattern") {
        pattern.push_str(OR_VARIABLE);
    }
}

/// The schema as `tollgate schema` prints it and `docs/config.schema.json` has it.
#[must_use]
pub fn schema_text() -> String {
    format!("{:#}\n", schema())
}

/// What the schema says about one place in the file: every alternative, with references followed.
pub(super) struct Place<'a> {
    root: &'a Value,
    alternatives: Vec<&'a Value>,
    definitions: Vec<&'a str>,
}

impl<'a> Place<'a> {
    /// The place of the whole file.
    pub(super) fn root(schema: &'a Value) -> Self {
        let mut place = Self { root: schema, alternatives: Vec::new(), definitions: Vec::new() };
        place.add(schema);
        place
    }

    /// The place that a path leads to; without alternatives where the schema does not know it.
    pub(super) fn at(schema: &'a Value, path: &Path) -> Self {
        path.segments().iter().fold(Self::root(schema), |place, segment| place.child(segment))
    }

    /// The place one step further.
    pub(super) fn child(&self, segment: &Segment) -> Self {
        let mut child = Self { root: self.root, alternatives: Vec::new(), definitions: Vec::new() };
        for alternative in &self.alternatives {
            let next = match segment {
                Segment::Key(key) => alternative
                    .get("properties")
                    .and_then(|properties| properties.get(key))
                    .or_else(|| alternative.get("additionalProperties").filter(|schema| schema.is_object())),
                Segment::Index(_) => alternative.get("items"),
            };
            if let Some(next) = next {
                child.add(next);
            }
        }
        child
    }

    fn add(&mut self, schema: &'a Value) {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix(DEFINITION))
            && let Some(definition) = self.root.get("$defs").and_then(|definitions| definitions.get(name))
        {
            self.definitions.push(name);
            self.add(definition);
        }
        for keyword in ["anyOf", "oneOf", "allOf"] {
            for alternative in schema.get(keyword).and_then(Value::as_array).into_iter().flatten() {
                self.add(alternative);
            }
        }
        self.alternatives.push(schema);
    }

    /// The notation of a value here, when it has one.
    pub(super) fn notation(&self) -> Option<&'static Entry> {
        notation::ALL.iter().find(|entry| self.definitions.contains(&entry.name))
    }

    /// The JSON types that a value may have here; none where any is allowed.
    pub(super) fn types(&self) -> BTreeSet<&'a str> {
        let types = self.alternatives.iter().filter_map(|alternative| alternative.get("type"));
        types
            .flat_map(|types| match types {
                Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
                other => Vec::from_iter(other.as_str()),
            })
            .collect()
    }

    /// The only texts that are allowed here; none where others are too.
    pub(super) fn choices(&self) -> Vec<&'a str> {
        let lists = self.alternatives.iter().filter_map(|alternative| alternative.get("enum"));
        let listed = lists.filter_map(Value::as_array).flatten();
        let single = self.alternatives.iter().filter_map(|alternative| alternative.get("const"));
        listed.chain(single).filter_map(Value::as_str).collect()
    }

    /// The keys that are known here.
    pub(super) fn keys(&self) -> Vec<&'a str> {
        let groups = self.alternatives.iter().filter_map(|alternative| alternative.get("properties"));
        groups.filter_map(Value::as_object).flat_map(|group| group.keys().map(String::as_str)).collect()
    }

    /// The description of this place: of its field, not of its type, where both have one.
    pub(super) fn description(&self) -> Option<&'a str> {
        self.alternatives.iter().rev().find_map(|alternative| alternative.get("description")).and_then(Value::as_str)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    const REGENERATE: &str = "docs/config.schema.json is not what the types say: \
                              run `cargo run -- schema > docs/config.schema.json`";

    #[test]
    fn the_committed_schema_is_the_one_of_the_types() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/config.schema.json");
        let committed = std::fs::read_to_string(file).unwrap_or_default();
        let committed: Option<Value> = serde_json::from_str(&committed).ok();
        assert!(committed == Some(schema()), "{REGENERATE}");
    }

    #[test]
    fn every_group_refuses_unknown_keys_and_every_setting_is_described() {
        fn walk(schema: &Value, groups: &mut usize) {
            if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
                *groups += 1;
                assert_eq!(schema["additionalProperties"], json!(false), "{schema:#}");
                for (key, property) in properties {
                    assert!(property.get("description").is_some(), "{key} has no description: {property:#}");
                }
            }
            schema.get("$defs").and_then(Value::as_object).into_iter().flatten().for_each(|(_, s)| walk(s, groups));
        }
        let mut groups = 0;
        walk(&schema(), &mut groups);
        assert!(groups > 15, "{groups}");
    }

    #[test]
    fn durations_and_sizes_show_how_they_are_written_and_their_defaults() {
        let schema = schema();
        for name in ["Duration", "Size"] {
            let definition = &schema["$defs"][name];
            assert!(definition["pattern"].is_string() && definition["examples"].is_array(), "{definition:#}");
        }
        assert_eq!(schema["$defs"]["ServerTimeouts"]["properties"]["header"]["default"], json!("10s"));
        assert_eq!(schema["$defs"]["Server"]["properties"]["max_request_body"]["default"], json!("32MiB"));
        assert_eq!(schema["$defs"]["Provider"]["properties"]["cost_multiplier"]["default"], json!(1));
        assert_eq!(schema["$defs"]["Node"]["properties"]["name"]["default"], json!("${HOSTNAME:-node}"));
        assert_eq!(schema["$defs"]["Provider"]["required"], json!(["name", "dialects", "base_url"]));
    }

    #[test]
    fn an_editor_accepts_variables_where_texts_are() {
        let schema = schema();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let file = json!({"server": {"listen": "${LISTEN}", "max_request_body": "${SIZE:-1MiB}"},
                          "database": {"url": "${DATABASE_URL}"}, "shutdown": {"grace": "${GRACE}s"}});
        assert!(validator.is_valid(&file));
        assert!(!validator.is_valid(&json!({"shutdown": {"grace": "60"}})));
        assert!(!validator.is_valid(&json!({"shutdown": {"grace": 60}})));
    }

    #[test]
    fn every_notation_that_the_schema_names_is_checked() {
        let schema = schema();
        for entry in notation::ALL {
            assert!(schema["$defs"].get(entry.name).is_some(), "{} is not in the schema", entry.name);
        }
    }

    #[test]
    fn what_is_checked_by_a_notation_also_satisfies_its_pattern() {
        let schema = schema();
        for entry in notation::ALL {
            let definition = &schema["$defs"][entry.name];
            let validator = jsonschema::validator_for(definition).unwrap();
            for example in definition["examples"].as_array().unwrap() {
                assert!(validator.is_valid(example), "{}: {example}", entry.name);
                if !example.as_str().is_some_and(|text| text.contains("${")) {
                    assert_eq!((entry.check)(example), Ok(()), "{}: {example}", entry.name);
                }
            }
        }
    }
}
