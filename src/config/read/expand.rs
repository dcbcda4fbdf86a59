//! Replaces `${VAR}` and `${VAR:-default}` in texts. It happens after YAML was read, so that no value of a variable
//! can break the file or add a key to it.

use std::collections::HashMap;

use serde_json::Value;

use super::Environment;
use crate::config::error::{Path, Problems, Segment};

/// Bytes of text after all replacements.
const MOST_TEXT: usize = 16 << 20;

/// The texts that had a variable in them, as they stand in the file: what they became may be a secret.
pub(super) type Expanded = HashMap<Path, String>;

/// Replaces the variables in every text of the value, and notes those that are not set.
pub(super) fn expand(value: &mut Value, env: &Environment<'_>, problems: &mut Problems) -> Expanded {
    let mut walk = Walk { env, problems, path: Path::default(), expanded: Expanded::new(), room: MOST_TEXT };
    walk.value(value);
    walk.expanded
}

struct Walk<'a> {
    env: &'a Environment<'a>,
    problems: &'a mut Problems,
    path: Path,
    expanded: Expanded,
    room: usize,
}

impl Walk<'_> {
    fn value(&mut self, value: &mut Value) {
        match value {
            Value::String(text) if text.contains("${") => self.text(text),
            Value::Array(list) => {
                for (index, element) in list.iter_mut().enumerate() {
                    self.step(Segment::Index(index), element);
                }
            }
            Value::Object(group) => {
                for (key, element) in group.iter_mut() {
                    self.step(Segment::Key(key.clone()), element);
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, segment: Segment, value: &mut Value) {
        self.path.push(segment);
        self.value(value);
        self.path.pop();
    }

    fn text(&mut self, text: &mut String) {
        let (result, mistakes) = replace(text, self.env);
        for mistake in mistakes {
            self.problems.add(self.path.clone(), mistake);
        }
        let Some(room) = self.room.checked_sub(result.len()) else {
            self.problems.add(self.path.clone(), format!("makes the configuration longer than {MOST_TEXT} bytes"));
            return;
        };
        self.room = room;
        self.expanded.insert(self.path.clone(), std::mem::replace(text, result));
    }
}

/// The text with its variables replaced, and what is wrong with it.
fn replace(text: &str, env: &Environment<'_>) -> (String, Vec<String>) {
    let mut result = String::with_capacity(text.len());
    let mut mistakes = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        if let Some(before) = before.strip_suffix('$') {
            result.push_str(before);
            result.push_str("${");
            rest = &from[2..];
            continue;
        }
        result.push_str(before);
        let Some(end) = from.find('}') else {
            mistakes.push("has a `${` without its `}` (for a literal `${` write `$${`)".to_owned());
            return (result, mistakes);
        };
        match lookup(&from[2..end], env) {
            Ok(value) => result.push_str(&value),
            Err(mistake) => mistakes.push(mistake),
        }
        rest = &from[end + 1..];
    }
    result.push_str(rest);
    (result, mistakes)
}

/// The value of `NAME` or `NAME:-default`.
fn lookup(reference: &str, env: &Environment<'_>) -> Result<String, String> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    if !is_name {
        return Err("has a `${...}` that names no variable: write ${NAME} or ${NAME:-default}".to_owned());
    }
    if default.is_some_and(|default| default.contains("${")) {
        return Err(format!("has a default for {name} that is itself a variable: a default must be plain text"));
    }
    match (env(name), default) {
        // As in a shell: with `:-`, empty is as good as not set.
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "needs the environment variable {name}, which is not set (${{{name}:-}} allows it to be empty)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "KEY" => Some("se: cret # ${KEY} \"'\n- x".to_owned()),
            "EMPTY" => Some(String::new()),
            "HOST" => Some("db".to_owned()),
            "LONG" => Some("x".repeat(1 << 20)),
            _ => None,
        }
    }

    fn replaced(text: &str) -> String {
        let (result, mistakes) = replace(text, &env);
        assert_eq!(mistakes, [""; 0], "{text}");
        result
    }

    #[test]
    fn variables_are_replaced_wherever_they_stand() {
        assert_eq!(replaced("${HOST}"), "db");
        assert_eq!(replaced("postgres://${HOST}:${PORT:-5432}/x"), "postgres://db:5432/x");
        assert_eq!(replaced("${EMPTY}"), "");
        assert_eq!(replaced("${EMPTY:-default}"), "default");
        assert_eq!(replaced("${UNSET:-}"), "");
        assert_eq!(replaced("${UNSET:-a:-b}"), "a:-b");
        assert_eq!(replaced("${HOST:-x}é${HOST}"), "dbédb");
    }

    #[test]
    fn a_dollar_is_only_special_before_a_brace() {
        assert_eq!(replaced("$HOST $ $$ {HOST} }"), "$HOST $ $$ {HOST} }");
        assert_eq!(replaced("$${HOST} ${HOST}"), "${HOST} db");
        assert_eq!(replaced("$${"), "${");
    }

    #[test]
    fn a_value_is_not_read_again() {
        assert_eq!(replaced("${KEY}"), "se: cret # ${KEY} \"'\n- x");
    }

    #[test]
    fn every_mistake_is_noted_with_what_to_write() {
        let mistakes = |text| replace(text, &env).1;
        assert_eq!(
            mistakes("${NOT_SET} ${NEITHER}"),
            [
                "needs the environment variable NOT_SET, which is not set (${NOT_SET:-} allows it to be empty)",
                "needs the environment variable NEITHER, which is not set (${NEITHER:-} allows it to be empty)",
            ]
        );
        for text in ["${}", "${1A}", "${A B}", "${A-b}", "${:-x}", "${É}"] {
            assert_eq!(mistakes(text).len(), 1, "{text}");
        }
        assert!(mistakes("${HOST")[0].contains("without its `}`"));
        assert!(mistakes("${A:-${HOST}}")[0].contains("itself a variable"));
    }

    #[test]
    fn what_a_text_was_is_remembered_by_its_place() {
        let mut value = json!({"a": ["x", "${HOST}"], "b": {"${HOST}": 1}});
        let mut problems = Problems::default();
        let expanded = expand(&mut value, &env, &mut problems);
        assert!(problems.is_empty());
        assert_eq!(value, json!({"a": ["x", "db"], "b": {"${HOST}": 1}}), "keys are not replaced");
        assert_eq!(expanded, HashMap::from([(Path::from("a").index(1), "${HOST}".to_owned())]));
    }

    #[test]
    fn a_long_value_many_times_is_refused() {
        let mut value = json!(vec!["${LONG}"; 100]);
        let mut problems = Problems::default();
        expand(&mut value, &env, &mut problems);
        assert!(!problems.is_empty());
        let length: usize = value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::len).sum();
        assert!(length < MOST_TEXT + 100 * "${LONG}".len());
    }
}
