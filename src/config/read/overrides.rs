//! Settings that come from the environment, because operators of other gateways know them there.

use serde_json::{Map, Value};

use super::Environment;
use super::expand::expand;
use crate::config::DEFAULT_NODE_NAME;
use crate::config::error::{Path, Problems};

const MODEL_GROUP_LIMITS: &str = "ENABLE_MODEL_RATE_LIMIT";
const FAIL_OPEN: &str = "MODEL_RATE_LIMIT_FAIL_OPEN";

/// Puts what the environment says into the value, over what the file says.
pub(super) fn apply(value: &mut Value, env: &Environment<'_>, problems: &mut Problems) {
    let switch = switch(MODEL_GROUP_LIMITS, env);
    set(value, "budgets", "model_group_limits", switch.map(|on| on.map(Value::Bool)), problems);
    let fail_open = self::switch(FAIL_OPEN, env);
    let fail_open = fail_open.map(|open| open.map(|open| Value::from(if open { "open" } else { "closed" })));
    set(value, "budgets", "on_authority_failure", fail_open, problems);

    if value.get("node").is_none_or(|node| node.is_object() && node.get("name").is_none()) {
        let mut name = Value::from(DEFAULT_NODE_NAME);
        expand(&mut name, env, problems);
        set(value, "node", "name", Some(Ok(name)), problems);
    }
}

fn switch(variable: &str, env: &Environment<'_>) -> Option<Result<bool, String>> {
    match env(variable)?.to_ascii_lowercase().as_str() {
        // `VARIABLE=${VARIABLE:-}` in a compose file is how people leave it alone.
        "" => None,
        "true" | "1" => Some(Ok(true)),
        "false" | "0" => Some(Ok(false)),
        _ => {
            Some(Err(format!("is overruled by the environment variable {variable}, which must be true, false, 1 or 0")))
        }
    }
}

fn set(root: &mut Value, group: &str, key: &str, value: Option<Result<Value, String>>, problems: &mut Problems) {
    match value {
        None => {}
        Some(Err(message)) => problems.add(Path::from(group).key(key), message),
        Some(Ok(value)) => {
            if let Some(root) = root.as_object_mut()
                && let Some(group) = root.entry(group).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
            {
                group.insert(key.to_owned(), value);
            }
        }
    }
}
