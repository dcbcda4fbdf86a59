//! From YAML to a JSON value, within bounds that no configuration reaches.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::config::error::{ConfigError, Path, Problems, Segment};

/// Values in a file, those that aliases repeat included.
const MOST_VALUES: usize = 100_000;

/// Bytes of text in all values, those that aliases repeat included.
const MOST_TEXT: usize = 8 << 20;

/// Opening brackets in a file. The parser's time grows with the square of those that are open at once, and it reads all
/// before it refuses any. Which ones are open only a parser knows, so all count, those in quotes and comments too.
const MOST_BRACKETS: usize = 20_000;

/// Integral floats up to here are integers without loss.
const EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

/// Reads the text. What is not YAML ends here; keys that are set twice are noted, and the first one counts.
pub(super) fn read(text: &str, problems: &mut Problems) -> Result<Value, ConfigError> {
    if text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count() > MOST_BRACKETS {
        return Err(ConfigError {
            path: Path::default().to_string(),
            message: format!("has more than {MOST_BRACKETS} brackets: write lists and groups in lines of their own"),
        });
    }
    let mut builder = Builder { problems, path: Path::default(), values: 0, text: 0 };
    let value = Node(&mut builder).deserialize(serde_yaml::Deserializer::from_str(text));
    let value = value.map_err(|error| explain(&error, text))?;
    // A text that says nothing leaves everything at its default; which files may say nothing is not decided here.
    Ok(if value.is_null() { Value::Object(Map::new()) } else { value })
}

fn explain(error: &serde_yaml::Error, text: &str) -> ConfigError {
    let message = error.to_string();
    let Some(place) = error.location() else {
        return ConfigError { path: Path::default().to_string(), message: format!("is not valid YAML: {message}") };
    };
    let (line, column) = (place.line(), place.column());
    let message = message.replacen(&format!(" at line {line} column {column}"), "", 1);
    let is_variable = text.lines().nth(line.saturating_sub(1)).is_some_and(|line| line.contains("${"));
    let hint = if is_variable { " (between { } or [ ], a text with ${...} must be in quotes)" } else { "" };
    ConfigError {
        path: format!("line {line}, column {column}"),
        message: format!("is not valid YAML: {message}{hint}"),
    }
}

struct Builder<'a> {
    problems: &'a mut Problems,
    path: Path,
    values: usize,
    text: usize,
}

impl Builder<'_> {
    fn count<E: Error>(&mut self, text: usize) -> Result<(), E> {
        self.values += 1;
        self.text += text;
        if self.values > MOST_VALUES || self.text > MOST_TEXT {
            return Err(E::custom("too many values, counting what aliases repeat"));
        }
        Ok(())
    }
}

/// Reads one value, with everything in it.
struct Node<'a, 'b>(&'a mut Builder<'b>);

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.0.count(0)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.0.count(0)?;
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.0.count(0)?;
        Ok(Value::from(value))
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Value, E> {
        self.0.problems.add(self.0.path.clone(), "is a number that is far too small");
        Ok(Value::Null)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Value, E> {
        self.0.problems.add(self.0.path.clone(), "is a number that is far too large");
        Ok(Value::Null)
    }

    #[allow(clippy::cast_possible_truncation, reason = "integral and within the range in which it is exact")]
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.0.count(0)?;
        if value.fract() == 0.0 && value.abs() < EXACT_INTEGER {
            return Ok(Value::from(value as i64));
        }
        Ok(Number::from_f64(value).map_or_else(
            || {
                self.0.problems.add(self.0.path.clone(), "is not a finite number");
                Value::Null
            },
            Value::Number,
        ))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.0.count(value.len())?;
        Ok(Value::from(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.0.count(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.0.count(0)?;
        let mut list = Vec::new();
        loop {
            self.0.path.push(Segment::Index(list.len()));
            let next = seq.next_element_seed(Node(self.0))?;
            self.0.path.pop();
            let Some(next) = next else { break };
            list.push(next);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.0.count(0)?;
        let mut group = Map::new();
        // A key is read as it is written, so that `5h`, `5` and `true` are the same kind of thing.
        while let Some(key) = map.next_key::<String>()? {
            self.0.count(key.len())?;
            self.0.path.push(Segment::Key(key.clone()));
            let value = map.next_value_seed(Node(self.0))?;
            if group.contains_key(&key) {
                self.0.problems.add(self.0.path.clone(), "is set twice: keep one of them");
            } else {
                group.insert(key, value);
            }
            self.0.path.pop();
        }
        Ok(Value::Object(group))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(A::Error::custom("a tag (`!name`) has no meaning here: remove it, or put the text in quotes"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Value {
        let mut problems = Problems::default();
        let value = read(text, &mut problems).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        value
    }

    fn refusal(text: &str) -> ConfigError {
        read(text, &mut Problems::default()).unwrap_err()
    }

    #[test]
    fn values_are_read_as_they_are_written() {
        assert_eq!(
            value("a: 1\nb: 1.5\nc: 1.0\nd: true\ne: ~\nf:\ng: '1'\nh: [x, {y: z}]\n5: 5\ntrue: t\nzone: 06:30\n"),
            json!({"a": 1, "b": 1.5, "c": 1, "d": true, "e": null, "f": null, "g": "1", "h": ["x", {"y": "z"}],
                   "5": 5, "true": "t", "zone": "06:30"})
        );
        assert_eq!(value("a: &x {b: 1}\nc: *x\n"), json!({"a": {"b": 1}, "c": {"b": 1}}));
    }

    #[test]
    fn a_file_without_settings_is_a_group_without_settings() {
        for text in ["", "\n", "# only a comment\n", "---\n", "~", "{}"] {
            assert_eq!(value(text), json!({}), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_yaml_is_refused_with_line_and_column() {
        for (text, path) in [
            ("a: 1\nb: : 2\n", "line 2, column 4"),
            ("a: [1, 2\n", "line 2, column 1"),
            ("a: 1\n\tb: 2\n", "line 2, column 1"),
            ("a: \"x\n", "line 2, column 1"),
            ("a: *nothing\n", "line 1, column 4"),
        ] {
            let error = refusal(text);
            assert_eq!(error.path, path, "{error}");
            assert!(error.message.starts_with("is not valid YAML: "), "{error}");
        }
        assert!(refusal("a: {b: ${C}}\n").message.ends_with("must be in quotes)"));
        assert!(refusal("a: 1\n---\nb: 2\n").message.contains("more than one document"));
        assert!(refusal("a: !secret canary\n").message.contains("a tag"));
        assert!(refusal("? [a, b]\n: 1\n").path.starts_with("line 1"));
    }

    #[test]
    fn keys_that_are_set_twice_are_all_noted() {
        let mut problems = Problems::default();
        let value = read("a: 1\nb: {c: 1, c: 2}\na: 2\nd: [{e: 1, e: 1}]\n", &mut problems).unwrap();
        assert_eq!(value["a"], json!(1));
        let paths: Vec<_> = problems.paths().map(ToString::to_string).collect();
        assert_eq!(paths, ["b.c", "a", "d[0].e"]);
    }

    #[test]
    fn numbers_that_cannot_be_kept_are_noted() {
        let mut problems = Problems::default();
        read("a: .inf\nb: [.nan]\nc: 99999999999999999999\nd: -99999999999999999999\n", &mut problems).unwrap();
        let paths: Vec<_> = problems.paths().map(ToString::to_string).collect();
        assert_eq!(paths, ["a", "b[0]", "c", "d"]);
    }

    #[test]
    fn bombs_are_refused_at_once() {
        let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..20 {
            let before = level - 1;
            aliases += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 10].join(", "));
        }
        let repeated = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 5_000].join(","));
        for bomb in [
            aliases,
            repeated,
            "a: &a [*a]\n".to_owned(),
            "[".repeat(1 << 20),
            "[".repeat(MOST_BRACKETS),
            "[\"]\", ".repeat(MOST_BRACKETS),
            "[\"]\", ".repeat(100_000),
            "{a: ".repeat(MOST_BRACKETS),
            "- ".repeat(1 << 19),
            "? ".repeat(1 << 19),
            format!("a: [{}]\n", "1,".repeat(1 << 19)),
        ] {
            let start = Instant::now();
            read(&bomb, &mut Problems::default()).unwrap_err();
            let start_of_bomb: String = bomb.chars().take(10).collect();
            assert!(start.elapsed() < Duration::from_secs(60), "{start_of_bomb} took {:?}", start.elapsed());
        }
    }
}
